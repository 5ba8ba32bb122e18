"""The staged file of a job: checked rows on disk, waiting to be published.

It holds every row of the job, whatever options a video wants of it. Its bytes are a function of
the rows alone, so that its sha256 names them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from batchembed.core.model import JobKey
from batchembed.core.states import Staged
from batchembed.dataset.checks import BrokenAnswerError, check_rows
from batchembed.dataset.files import Files, sha256_of
from batchembed.dataset.rows import CheckedRows
from batchembed.errors import DatasetError, StorageError

__all__ = [
    "BrokenAnswerError",
    "StagedDamagedError",
    "StagedFiles",
    "check_rows",
    "read_staged",
    "staged_name",
    "write_staged",
]

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BATCH_ROWS = 8_192


class StagedDamagedError(DatasetError):
    """A staged file is missing, or not the one that was written: its rows must be fetched again."""


def staged_name(job_key: JobKey) -> str:
    """The name of a job's file in the staging folder."""
    return f"{job_key}.arrow"


def write_staged(
    rows: CheckedRows, folder: Path, job_key: JobKey, *, files: Files | None = None
) -> Staged:
    """Write rows to the staging folder; they are on disk when this returns.

    Raises:
        StorageError: they can't be written.
    """
    files = files or Files()
    final = folder / staged_name(job_key)
    temporary = folder / f"{final.name}.tmp"
    try:
        with files.create(temporary) as file:
            hashed = _Hashed(file)
            with pa.ipc.new_file(hashed, rows.table.schema) as writer:
                writer.write_table(rows.table, max_chunksize=_BATCH_ROWS)
        files.rename(temporary, final)
        files.sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            files.remove(temporary)
        raise StorageError(
            f"{final} can't be written: {error}; what is committed stays, run again once it can"
        ) from error
    return Staged(file=final.name, rows=rows.rows, sha256=hashed.sha256.hexdigest())


class _Hashed(io.RawIOBase):
    """Writes to a file, and hashes what it is given: a disk that loses some of it is found out."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def read_staged(folder: Path, staged: Staged) -> pa.Table:
    """The rows of a staged file, once its sha256 is seen to be right.

    Raises:
        StagedDamagedError: it is missing or damaged.
    """
    return StagedFiles(folder).read(staged)


class StagedFiles:
    """The staging folder as a publish sees it: a file that stays as it is, is hashed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._right: dict[str, tuple[str, int, int, int, int]] = {}

    def names(self) -> frozenset[str]:
        """The files there are."""
        if not self.folder.is_dir():
            return frozenset()
        return frozenset(path.name for path in self.folder.iterdir())

    def read(self, staged: Staged) -> pa.Table:
        """The rows of a staged file, once its sha256 is seen to be right. They are in memory.

        Raises:
            StagedDamagedError: it is missing or damaged.
        """
        path = self.folder / staged.file
        try:
            content = self._content(path, staged.sha256)
            # From memory: Arrow would read a file in threads of its own, which takes three times as long.
            return pa.ipc.open_file(pa.py_buffer(content)).read_all()
        except OSError as error:
            raise StagedDamagedError(
                f"{path} can't be read: {error}; its rows are fetched again"
            ) from error
        except pa.ArrowInvalid as error:
            raise StagedDamagedError(f"{path} is no Arrow file: {error}") from error

    def is_right(self, name: str, sha256: str) -> bool:
        """Whether a file has these bytes.

        Raises:
            OSError: it can't be read.
        """
        path = self.folder / name
        return self._right.get(name) == _seen(sha256, path.stat()) or sha256_of(path) == sha256

    def remove(self, name: str, sha256: str, files: Files) -> bool:
        """Remove a file if it has these bytes, and no other, as of a later retrieval; whether it did.

        Raises:
            OSError: it can't be read, or removed.
        """
        if not self.is_right(name, sha256):
            return False
        files.remove(self.folder / name)
        return True

    def _content(self, path: Path, sha256: str) -> bytes:
        with path.open("rb", buffering=0) as file:
            seen = _seen(sha256, os.fstat(file.fileno()))
            content = file.readall()
        if self._right.get(path.name) != seen:
            if hashlib.sha256(content).hexdigest() != sha256:
                raise StagedDamagedError(f"{path} is damaged: its rows are fetched again")
            self._right[path.name] = seen
        return content


def _seen(sha256: str, found: os.stat_result) -> tuple[str, int, int, int, int]:
    """What is another tuple once a file has been written to or replaced."""
    return sha256, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

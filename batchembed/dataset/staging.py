"""The staged file of a job: checked rows on disk, waiting to be published.

It holds every row of the job, whatever options a video wants of it. What names it is the sha256
of its rows, not of its bytes: versions of Arrow write the same rows as different bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from batchembed.core.model import JobKey
from batchembed.core.states import Staged
from batchembed.dataset.checks import BrokenAnswerError, check_rows
from batchembed.dataset.files import Files
from batchembed.dataset.rows import CheckedRows, rows_schema, rows_sha256
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
            file.write(_content(rows.table))
        files.rename(temporary, final)
        files.sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            files.remove(temporary)
        raise StorageError(
            f"{final} can't be written: {error}; what is committed stays, run again once it can"
        ) from error
    return Staged(file=final.name, rows=rows.rows, sha256=rows_sha256(rows.table))


def _content(table: pa.Table) -> memoryview:
    """The bytes of a staged file, made in memory.

    Arrow would write to an open file in many small steps, and wait for Python's lock at each.
    """
    measure = pa.MockOutputStream()
    _write(table, measure)
    content = pa.allocate_buffer(measure.size())
    _write(table, pa.FixedSizeBufferWriter(content))
    return memoryview(content)


def _write(table: pa.Table, sink: pa.NativeFile) -> None:
    with sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)


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
            return self._read(path, staged.sha256)
        except OSError as error:
            raise StagedDamagedError(
                f"{path} can't be read: {error}; its rows are fetched again"
            ) from error

    def is_right(self, name: str, sha256: str) -> bool:
        """Whether a file is there, can be read, and has these rows."""
        path = self.folder / name
        try:
            if self._right.get(name) != _seen(sha256, path.stat()):
                self._read(path, sha256)
        except (OSError, StagedDamagedError):
            return False
        return True

    def remove(self, name: str, sha256: str, files: Files) -> bool:
        """Remove a file if it has these rows, and no other, as of a later retrieval; whether it did.

        Raises:
            OSError: it can't be removed.
        """
        if not self.is_right(name, sha256):
            return False
        files.remove(self.folder / name)
        return True

    def _read(self, path: Path, sha256: str) -> pa.Table:
        with path.open("rb", buffering=0) as file:
            seen = _seen(sha256, os.fstat(file.fileno()))
            content = file.readall()
        table = _parsed(content, path)
        if self._right.get(path.name) != seen:
            # An earlier version named it by its bytes.
            if rows_sha256(table) != sha256 != hashlib.sha256(content).hexdigest():
                raise StagedDamagedError(f"{path} is damaged: its rows are fetched again")
            self._right[path.name] = seen
        return table


def _parsed(content: bytes, path: Path) -> pa.Table:
    """The rows that bytes are, whatever bytes: every place of them may be looked at.

    Raises:
        StagedDamagedError: they are none.
    """
    try:
        # From memory: Arrow would read a file in threads of its own, which takes three times as long.
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise StagedDamagedError(
            f"{path} is no Arrow file: {error}; its rows are fetched again"
        ) from error
    if not _has_rows(table):
        raise StagedDamagedError(f"{path} has no rows of segments: they are fetched again")
    return table


def _has_rows(table: pa.Table) -> bool:
    """Whether a table has the columns of a staged file, and no nulls."""
    vectors = table.schema.types[-1] if table.schema.types else pa.null()
    if not isinstance(vectors, pa.FixedSizeListType) or vectors.list_size < 1:
        return False
    if not table.schema.equals(rows_schema(vectors.list_size)):
        return False
    values = [chunk.values for chunk in cast("list[Any]", table["embedding"].chunks)]
    return not any(each.null_count for each in (*table.columns, *values))


def _seen(sha256: str, found: os.stat_result) -> tuple[str, int, int, int, int]:
    """What is another tuple once a file has been written to or replaced."""
    return sha256, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

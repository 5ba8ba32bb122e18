"""The folder where videos wait for their embedding, under names of ours."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from batchembed.engine.refusal import Refusal, unavailable
from batchembed.engine.tasks.results import sync_folder

_COPY_CHUNK = 1 << 20
#: What the spool's own files are called; whatever else is there is somebody's.
_OWN_NAME = re.compile(r"[0-9a-f]{24}")
#: What an upload leaves free on the disk, for the results of those before it.
RESERVE_BYTES = 256 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Spool:
    """Takes files in durably. Its methods block, and may raise `OSError`."""

    def __init__(
        self,
        folder: Path,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[Path], int] = _free_bytes,
    ) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes

    def require_room(self, size_bytes: int) -> None:
        """Refuse what would fill the disk.

        Raises:
            Refusal: 503.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        free = self._free_bytes(self._folder)
        if free < size_bytes + self._reserve_bytes:
            raise unavailable(
                f"The disk has {free:,} bytes left: too few for {size_bytes:,} and the "
                f"{self._reserve_bytes:,} that are kept free. Try again when there is room."
            )

    def open(self) -> SpoolWriter:
        """A new file, to be written piece by piece."""
        return SpoolWriter(self.new_path())

    def new_path(self) -> Path:
        """A name for a new file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / secrets.token_hex(12)

    def copy(self, file: BinaryIO) -> str:
        """Take a whole file in, or nothing of it. Returns its path."""
        path = self.new_path()
        with contextlib.ExitStack() as undo:
            undo.callback(discard, str(path))
            with path.open("xb") as sink:
                shutil.copyfileobj(file, sink, _COPY_CHUNK)
                sink.flush()
                os.fsync(sink.fileno())
            sync_folder(self._folder)
            undo.pop_all()
        return str(path)

    def keep_only(self, names: Collection[str]) -> None:
        """Remove every other file of ours: of uploads that a kill cut off, and of tasks that ended.

        What can't be removed stays.
        """
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if _OWN_NAME.fullmatch(path.name) and path.name not in names:
                    with contextlib.suppress(OSError):
                        discard(str(path))


class SpoolWriter:
    """One file on its way in: hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("xb")

    def write(self, data: bytes | bytearray) -> None:
        """Add a piece.

        Raises:
            Refusal: 503, the disk is full.
        """
        self._digest.update(data)
        self.size_bytes += len(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from error

    def finish(self) -> str:
        """Make the file durable. Returns the sha256 of its bytes, in hex."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _no_room(error) from error
        self._file.close()
        sync_folder(self.path.parent)
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Remove the file, whether or not it is finished."""
        with contextlib.suppress(OSError):  # what can't be flushed goes anyway
            self._file.close()
        discard(str(self.path))


def discard(path: str) -> None:
    """Remove a file of the spool, if it is still there."""
    Path(path).unlink(missing_ok=True)


def _no_room(error: OSError) -> Refusal | OSError:
    if error.errno in _FULL:
        return unavailable("The disk is full. Try again when there is room.")
    return error

"""The files that a run is asked to leave: whole or not at all, and refused before anything is sent."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from batchembed.errors import OutputRefusedError, StorageError

#: Of the disk, not of the path.
_DISK = {errno.ENOSPC, errno.EIO, errno.EDQUOT}


def require_writable(path: Path) -> None:
    """See that a file can be put at `path`, by putting an empty one beside it for a moment.

    Raises:
        OutputRefusedError: it can't be put there.
        StorageError: the disk is full or broken.
    """
    if path.is_dir():
        raise OutputRefusedError(f"{path} is a folder: name a file in it")
    # A rename would put a plain file where a device was.
    if path.exists() and not path.is_file():
        raise OutputRefusedError(f"{path} is no plain file: name another path")
    beside = _beside(path)
    try:
        beside.touch(mode=0o600, exist_ok=False)
        beside.unlink()
    except OSError as error:
        kind = StorageError if error.errno in _DISK else OutputRefusedError
        raise kind(f"{path} can't be written: {error.strerror}; name another path") from error


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file at `path`, or where it links to: a reader sees the old bytes or the new ones.

    Raises:
        StorageError: it can't be written; what was there stays.
    """
    beside = _beside(path)
    try:
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path.resolve())
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error


def _beside(path: Path) -> Path:
    # The dot and the ending keep it from those who read the folder, such as node exporter.
    return path.resolve().with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")

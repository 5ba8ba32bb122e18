"""One run at a time: a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from batchembed.errors import LockedError, StorageError


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold `path` for the length of a run.

    Raises:
        LockedError: another process holds it.
        StorageError: the file can't be made, or its file system knows no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"the lock {path} can't be made: {error.strerror}; see to its folder, its disk and its "
            "permissions, then run again"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            by = f" by process {holder}" if holder.isdigit() else ""
            raise LockedError(
                f"another run holds this output{by} ({path}): wait for it, and run again"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{path} can't be locked: {error.strerror}; its file system must have locks that "
                "die with their holder: take another folder, on a local disk"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise StorageError(
                f"the lock {path} can't be written: {error.strerror}; see to its disk, then run again"
            ) from error
        yield
    finally:
        os.close(descriptor)

"""Which file it is: opening a source safely, its identity for a cache, and the hash of its bytes."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import stat
from io import FileIO
from pathlib import PurePath

from batchembed.core.model import FileIdentity
from batchembed.core.problems import Reason
from batchembed.media.unreadable import UnreadableVideoError, broken, missing, no_access

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


def open_regular(path: str, *, shown: str | None = None) -> FileIO:
    """Open a regular, non-empty file for reading, unbuffered; links are followed.

    A pipe or a device is opened without waiting and refused. `shown` is the path as a person wrote
    it, for what to write in its place.

    Raises:
        UnreadableVideoError: there is no such file, or it can't be opened, or is something else.
    """
    name = PurePath(path).name or path
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _refusal(name, error) from error
    except ValueError as error:  # a NUL, or a character that no file name can have
        raise missing(f"{name!r} is no name of a file") from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size > 0:
        return FileIO(descriptor)
    os.close(descriptor)
    if stat.S_ISREG(found.st_mode):
        raise broken(f"{name} is empty")
    if stat.S_ISDIR(found.st_mode):
        raise no_access(f"{name} is a folder", _instead_of_folder(shown))
    raise no_access(f"{name} is a pipe or a device", "name a regular file")


def _instead_of_folder(shown: str | None) -> str:
    if shown is None:
        return "name a file in it"
    within = glob.escape(shown.rstrip("/"))  # a folder of a[1] is not one of a1
    return f"name a file, or write `glob: {within}/**/*.mp4`"


def _refusal(name: str, error: OSError) -> UnreadableVideoError:
    if error.errno in _GONE:
        return missing(f"there is no {name}")
    if error.errno == errno.ELOOP:
        return no_access(f"{name} is a loop of symbolic links", "name the file itself")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return no_access(f"permission denied for {name}", "let this user read it (chmod, chown)")
    if error.errno == errno.ENXIO:
        return no_access(f"{name} is a socket or a device", "name a regular file")
    return no_access(f"{name}: {error.strerror}", "check the disk, then run again")


def identify(path: str, *, shown: str | None = None) -> FileIdentity | Reason:
    """The identity of a regular, non-empty file, or why there is none; `shown` as `open_regular`."""
    try:
        with open_regular(path, shown=shown) as file:
            found = os.fstat(file.fileno())
    except UnreadableVideoError as error:
        return error.reason
    return identity_of(path, found)


def identity_of(path: str, found: os.stat_result) -> FileIdentity:
    """The identity of a file whose `stat` was just taken."""
    return FileIdentity(
        path=path,
        dev=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
    )


def sha256_file(path: str) -> str:
    """sha256, in hex, of the file's bytes, read as a stream.

    Take the identity before and after: only if both are equal does it name these bytes.

    Raises:
        UnreadableVideoError: it can't be opened, or an error while reading.
    """
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _refusal(PurePath(path).name, error) from error

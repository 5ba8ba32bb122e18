"""A dataset in a folder: names are linked and renamed, and last once their folder is synced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from batchembed.dataset.files import Files
from batchembed.dataset.storage import COMMITS, GROUPS, INCOMING, META, Lock
from batchembed.errors import DatasetError


class Folder:
    """A `Storage`. `root` need not exist yet."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root = root
        self.files = files or Files()
        self.filesystem: fs.FileSystem = fs.LocalFileSystem()

    @property
    def location(self) -> str:
        return str(self.root)

    def named(self, key: str) -> str:
        return str(self.root / key)

    def path(self, key: str) -> str:
        return str(self.root / key)

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def open(self, key: str) -> pa.NativeFile:
        return pa.OSFile(str(self.root / key), "r")

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        found = {}
        for key in keys:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                seen = (self.root / key).stat()
                if stat.S_ISREG(seen.st_mode):
                    found[key] = seen.st_size
        return found

    def names(self, folder: str) -> list[str]:
        return [path.name for path in _files(self.root / folder)]

    def everything(self) -> Iterator[tuple[str, int]]:
        yield from _below(self.root, "")

    def is_foreign(self) -> bool:
        if not self.root.exists():
            return False
        meta, incoming = self.root / META, self.root / INCOMING
        if any(path != meta for path in self.root.iterdir()):
            return True
        below = meta.rglob("*") if meta.is_dir() else ()
        return any(path.is_file() and path.parent != incoming for path in below)

    def prepare(self) -> None:
        for folder in (COMMITS, GROUPS, INCOMING):
            self.files.make_folder(self.root / folder)

    def require_writable(self) -> None:
        if not os.access(self.root, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(self.root).f_flag & os.ST_RDONLY
            why = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(why, os.strerror(why), str(self.root))

    def hold(self, lock: Lock) -> AbstractContextManager[None]:
        return lock(self.root / META / "lock")

    def confirm_held(self) -> None:
        """A lock dies with its holder, and not before."""

    def is_held(self) -> bool | None:
        """Whether another process has the lock's file locked."""
        try:
            descriptor = os.open(self.root / META / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            # Shared and let go at once: only a run that begins in this very moment would notice.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return False

    def scratch(self, staging: Path) -> Path:  # noqa: ARG002  on the dataset's own file system
        return self.root / INCOMING

    def place(self, temporary: Path, key: str) -> None:
        final = self.root / key
        self.files.make_folder(final.parent)
        if not final.parent.resolve().is_relative_to(self.root.resolve()):
            raise DatasetError(
                f"{final.parent} leads out of the dataset: remove the link that is there"
            )
        self.files.rename(temporary, final)

    def put(self, key: str, content: bytes) -> None:
        temporary = self._beside(key)
        self.files.write(temporary, content)
        self.files.rename(temporary, self.root / key)

    def create(self, key: str, content: bytes) -> None:
        temporary = self._beside(key)
        try:
            self.files.write(temporary, content)
            self.files.link(temporary, self.root / key)
        finally:
            with contextlib.suppress(OSError):  # a later sweep removes it
                self.files.remove(temporary)

    def _beside(self, key: str) -> Path:
        # Two runs may begin at once: neither is to write into the other's.
        return self.root / INCOMING / f"{Path(key).name}.{secrets.token_hex(4)}.tmp"

    def move(self, old: str, new: str) -> None:
        self.files.rename(self.root / old, self.root / new)

    def settle(self, folders: Iterable[str]) -> None:
        for folder in sorted(set(folders), reverse=True):
            self.files.sync_folder(self.root / folder)
            if not folder:  # its own name, too
                self.files.sync_folder(self.root.parent)

    def remove(self, key: str) -> None:
        self.files.remove(self.root / key)

    def own_files(self, *, exact: bool) -> Iterator[tuple[str, bool]]:  # noqa: ARG002  none is young
        """Who else is at work would be seen. Links are not followed."""
        meta = (self.root / INCOMING, self.root / GROUPS)
        own = (folder for folder in meta if folder.is_dir())
        for folder in (*own, self.root, *_partitions(self.root)):
            # Whoever only looks may do so beside a run that removes it in this moment.
            with contextlib.suppress(FileNotFoundError):
                yield from ((self._key(path), False) for path in _files(folder))

    def prune(self, partition_keys: Collection[str]) -> None:
        for folder in _partitions(self.root):
            keys = (each.partition("=")[0] for each in folder.relative_to(self.root).parts)
            if all(key in partition_keys for key in keys) and not any(folder.iterdir()):
                self.files.remove_folder(folder)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(each.path) for each in entries if each.is_file(follow_symlinks=False))


def _partitions(folder: Path) -> Iterator[Path]:
    """The partitions below `folder`, inner before outer. One that goes meanwhile has none."""
    try:
        with os.scandir(folder) as entries:
            inner = sorted(
                each.path
                for each in entries
                if "=" in each.name and each.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return
    for path in inner:
        yield from _partitions(Path(path))
        yield Path(path)


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Every file below `folder`, its name after `prefix`, and its bytes; not what goes meanwhile."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda each: each.name)
    for each in found:
        with contextlib.suppress(FileNotFoundError):
            if each.is_dir(follow_symlinks=False):
                yield from _below(Path(each.path), f"{prefix}{each.name}/")
            elif each.is_file():
                yield f"{prefix}{each.name}", each.stat().st_size

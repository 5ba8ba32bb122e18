"""The few file operations that a dataset is made of: the seam at which tests break them.

Each is atomic or durable as its docstring says. They raise OSError; callers turn it into a
StorageError. A file whose fsync failed is never synced again: it is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

_BLOCK_BYTES = 1 << 20


class Files:
    """The file system, one method for each operation."""

    @contextlib.contextmanager
    def create(self, path: Path) -> Iterator[BinaryIO]:
        """An empty file to write to, replacing another; on disk when the block ends well."""
        with path.open("wb") as file:
            yield file
            file.flush()
            self.sync(file)

    def write(self, path: Path, content: bytes) -> None:
        """Make a file of `content`, on disk when this returns. Not atomic: for temporary names."""
        with self.create(path) as file:
            file.write(content)

    def sync(self, file: BinaryIO) -> None:
        """Bring an open file's bytes to the disk."""
        os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Bring a folder's names to the disk."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def make_folder(self, path: Path) -> None:
        """Make a folder, and those above it."""
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its final name, replacing what had it."""
        old.replace(new)

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name, if nothing has it yet.

        Raises:
            FileExistsError: something has it.
        """
        new.hardlink_to(old)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()


def sha256_of_file(file: pa.NativeFile) -> str:
    """sha256, in hex, of what an open file of Arrow has from where it stands."""
    sha256 = hashlib.sha256()
    block = bytearray(_BLOCK_BYTES)
    while read := file.readinto(cast("Any", block)):  # the stubs take it for bytes
        sha256.update(memoryview(block)[:read])
    return sha256.hexdigest()


def sha256_of(path: Path) -> str:
    """sha256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""An object as an open file: read in ranges, as far as it is asked for."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import fs

from batchembed.core.model import ObjectIdentity, StoreOptions
from batchembed.errors import StoreMissingError
from batchembed.stores.failures import no_bucket, translated
from batchembed.stores.filesystem import filesystem, lacks_bucket
from batchembed.stores.location import Location

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ObjectFile(io.RawIOBase):
    """An object, unbuffered: each read is a request. To be used by one thread at a time.

    Attributes:
        identity: what the store said of it when it was opened.
    """

    def __init__(self, location: Location, options: StoreOptions) -> None:
        """Open it: one request.

        Raises:
            StoreError: it is not there, or can't be opened.
        """
        super().__init__()
        self.location = location
        self.options = options
        store = filesystem(location, options)
        try:
            with translated(location):
                self._file = store.open_input_file(location.path)
                self.identity = _identity(store, self._file, location)
        except StoreMissingError as error:
            if lacks_bucket(store, location):
                raise no_bucket(location) from error
            raise
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Say where the next read begins. Nothing is asked of the store."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.identity.size_bytes}
        at = start[whence] + offset
        if at < 0:
            raise ValueError(f"{at} is before the beginning")
        self._at = at
        return at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, as far as the object goes.

        Raises:
            StoreError: it can't be read.
        """
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.identity.size_bytes - self._at))
        if wanted:
            with translated(self.location):
                self._file.seek(self._at)
                wanted = int(self._file.readinto(view[:wanted]))
            self._at += wanted
        return wanted

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            self._file.close()
        super().close()


def identify(location: Location, options: StoreOptions) -> ObjectIdentity:
    """What the store says of an object now.

    Raises:
        StoreError: it is not there, or can't be opened.
    """
    with ObjectFile(location, options) as file:
        return file.identity


def _identity(store: fs.FileSystem, file: pa.NativeFile, location: Location) -> ObjectIdentity:
    said: Any = file.metadata() or {}  # its types are not those that it has
    tag = next((value.decode() for name, value in said.items() if name.lower() == "etag"), "")
    if not tag:
        tag = f"written {store.get_file_info(location.path).mtime_ns}"
    return ObjectIdentity(path=location.uri, tag=tag, size_bytes=file.size())

"""A dataset on an object store: parts are streamed there, everything else is put, on a condition."""

from __future__ import annotations

import contextlib
import errno
import io
import posixpath
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from batchembed.core.model import StoreOptions
from batchembed.dataset.files import Files
from batchembed.dataset.lease import LEASE, TTL_S, Lease, is_in_force
from batchembed.dataset.object_calls import ObjectCalls
from batchembed.dataset.storage import GROUPS, INCOMING, META, Lock
from batchembed.errors import StorageError, StoreError, StoreMissingError
from batchembed.stores.failures import translated
from batchembed.stores.file import ObjectFile
from batchembed.stores.filesystem import filesystem
from batchembed.stores.location import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: What no record names, and is younger than this, may be the work of a writer that goes on
#: somewhere: no publish takes so long between its first part and its record.
SAFE_AGE = timedelta(hours=1)
#: Arrow asks for 64 KiB at a time, and each request is a journey.
_READ_BYTES = 2 << 20
#: At most so much of a part is on its way at once, in memory.
_SENT_BYTES = 32 << 20
_BLOCK_BYTES = 4 << 20


class Objects:
    """A `Storage`. What it has lasts once the store has answered, and folders are but names.

    Whatever can't be done, beside what a key alone explains, is a StoreError. While `hold` is
    in force, what only the one writer may do is not done without the lease.
    """

    def __init__(
        self,
        location: Location,
        options: StoreOptions,
        store: ObjectStore,
        *,
        files: Files | None = None,
        ttl_s: float = TTL_S,
        safe_age: timedelta = SAFE_AGE,
    ) -> None:
        self.files = files or Files()
        self.filesystem = filesystem(location, options)
        self._options = options
        self._calls = ObjectCalls(store, location)
        self._ttl_s = ttl_s
        self._safe_age = safe_age
        self._lease: Lease | None = None

    @property
    def location(self) -> str:
        return self._calls.location.uri

    def named(self, key: str) -> str:
        return self._calls.at(key).uri

    def path(self, key: str) -> str:
        return self._calls.at(key).path

    # -- reading

    def read(self, key: str) -> bytes:
        return self._calls.get(key)

    def open(self, key: str) -> pa.NativeFile:
        """Read in ranges, as far as it is asked for."""
        try:
            file = ObjectFile(self._calls.at(key), self._options)
        except StoreMissingError as error:
            raise FileNotFoundError(errno.ENOENT, str(error), self.named(key)) from error
        return pa.PythonFile(io.BufferedReader(file, _READ_BYTES), "r")

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """Of more than one, by the pages of a listing."""
        wanted = set(keys)
        if len(wanted) == 1:
            with contextlib.suppress(FileNotFoundError):
                return {key: self._calls.head(key).bytes for key in wanted}
        if len(wanted) <= 1:
            return {}
        above = posixpath.commonpath([posixpath.dirname(key) for key in wanted])
        found = self._calls.below(above)
        return {each.key: each.bytes for each in found if each.key in wanted}

    def names(self, folder: str) -> list[str]:
        _, found = self._calls.directly_in(folder)
        return sorted(posixpath.basename(each.key) for each in found)

    def everything(self) -> Iterator[tuple[str, int]]:
        return ((each.key, each.bytes) for each in self._calls.below(""))

    def is_foreign(self) -> bool:
        if self._calls.location.key and self.sizes([""]):
            raise NotADirectoryError(errno.ENOTDIR, "an object is there", self.location)
        folders, objects = self._calls.directly_in("")
        if objects or any(folder != META for folder in folders):
            return True
        below = self._calls.below(META) if folders else ()
        return any(posixpath.dirname(each.key) != INCOMING for each in below)

    # -- the one writer

    def prepare(self) -> None:
        """There is nothing to make."""

    def require_writable(self) -> None:
        """Whoever writes takes the lease first, and learns it then."""

    @contextlib.contextmanager
    def hold(self, lock: Lock) -> Iterator[None]:  # noqa: ARG002  a local file tells no other machine
        with Lease(self._calls, self.location, ttl_s=self._ttl_s) as self._lease:
            try:
                yield
            finally:
                self._lease = None

    def confirm_held(self) -> None:
        if self._lease is not None:
            self._lease.confirm()

    def is_held(self) -> bool:
        try:
            return is_in_force(self._calls.state(LEASE), datetime.now(UTC))
        except FileNotFoundError:
            return False

    def _require_lease(self) -> None:
        if self._lease is not None:
            self._lease.require()

    # -- writing

    def scratch(self, staging: Path) -> Path:
        return staging / "incoming"

    def place(self, temporary: Path, key: str) -> None:
        """In pieces, each with its checksum; it is not there before all of them are."""
        where = self._calls.at(key)
        with translated(where), self.filesystem.open_output_stream(where.path) as stream:
            for number, block in enumerate(_blocks(temporary), 1):
                stream.write(block)
                if number % (_SENT_BYTES // _BLOCK_BYTES) == 0:
                    stream.flush()
        sent, there = temporary.stat().st_size, self._calls.head(key).bytes
        if sent != there:
            raise StoreError(
                f"{where.uri} has {there} bytes instead of {sent}: it is not published, run again"
            )
        self.files.remove(temporary)

    def put(self, key: str, content: bytes) -> None:
        self._calls.put(key, content)

    def create(self, key: str, content: bytes) -> None:
        self._require_lease()
        try:
            self._calls.create(key, content)
        except FileExistsError:
            # The answer to a first attempt may have been lost, and not what it made.
            if self._calls.get(key) != content:
                raise

    def move(self, old: str, new: str) -> None:
        self._require_lease()
        self._calls.copy(old, new)
        self._calls.delete(old)

    def settle(self, folders: Iterable[str]) -> None:
        """What is there lasts."""

    def remove(self, key: str) -> None:
        self._require_lease()
        self._calls.delete(key)

    def own_files(self, *, exact: bool) -> Iterator[tuple[str, bool]]:
        safe = (self._calls.now() if exact else datetime.now(UTC)) - self._safe_age
        found = (each for each in self._calls.below("") if _is_own(each.key))
        return ((each.key, each.written_at >= safe) for each in found)

    def prune(self, partition_keys: Collection[str]) -> None:
        """There are no folders that could be empty."""


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}; run again") from error


def _is_own(key: str) -> bool:
    """Whether it is directly in the dataset, in a partition, or where a publish works."""
    folder = posixpath.dirname(key)
    return folder in {INCOMING, GROUPS} or all("=" in each for each in folder.split("/") if each)

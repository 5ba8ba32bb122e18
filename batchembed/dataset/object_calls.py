"""What a dataset asks of an object store, one request each; what goes wrong is told in its words."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from batchembed.dataset.lease import State
from batchembed.dataset.storage import INCOMING
from batchembed.stores.failures import store_error
from batchembed.stores.location import Location

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutResult, UpdateVersion
    from obstore.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object, as a listing has it. `written_at` is by the store's clock, in whole seconds."""

    key: str
    bytes: int
    written_at: datetime


class ObjectCalls:
    """Requests about the objects below a location, named by their keys there.

    Raises, by every method, beside what it says itself:
        StoreError: the store gives no answer, or refuses; it says what to do.
    """

    def __init__(self, store: ObjectStore, location: Location) -> None:
        self._store = store
        self.location = location

    def at(self, key: str) -> Location:
        """Where a key is; `""` is the whole."""
        return self.location.child(key) if key else self.location

    def get(self, key: str) -> bytes:
        """An object's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.state(key).content

    def state(self, key: str) -> State:
        """An object as it is now.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key):
            answer = self._store.get(self.at(key).key)
            content, meta = bytes(answer.bytes()), answer.meta
        return State(content=content, version=_version(meta), written_at=meta["last_modified"])

    def head(self, key: str) -> Found:
        """What the store says of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key):
            return self._found(self._store.head(self.at(key).key))

    def put(self, key: str, content: bytes) -> None:
        """Make an object, or replace it."""
        with self._told(key):
            self._store.put(self.at(key).key, content)

    def create(self, key: str, content: bytes) -> UpdateVersion:
        """Make an object where there is none. A first attempt whose answer was lost may have.

        Raises:
            FileExistsError: there is one, or another is being made.
        """
        with self._told(key):
            return _version(self._store.put(self.at(key).key, content, mode="create"))

    def update(self, key: str, content: bytes, version: UpdateVersion) -> UpdateVersion:
        """Replace an object in this state. A first attempt whose answer was lost may have.

        Raises:
            FileExistsError: it is in another, or gone.
        """
        with self._told(key):
            return _version(self._store.put(self.at(key).key, content, mode=version))

    def copy(self, old: str, new: str) -> None:
        """Give an object's bytes a second name, replacing what had it.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(old):
            self._store.copy(self.at(old).key, self.at(new).key)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._told(key), contextlib.suppress(FileNotFoundError):
            self._store.delete(self.at(key).key)

    def below(self, folder: str) -> Iterator[Found]:
        """Every object below a folder, page by page, in no order."""
        with self._told(folder):
            for page in self._store.list(prefix=self.at(folder).key or None):
                yield from map(self._found, page)

    def directly_in(self, folder: str) -> tuple[list[str], list[Found]]:
        """The keys of the folders, and the objects, directly in a folder."""
        with self._told(folder):
            page = self._store.list_with_delimiter(prefix=self.at(folder).key or None)
        folders = [self._key(each) for each in page["common_prefixes"]]
        return folders, [self._found(each) for each in page["objects"]]

    def now(self) -> datetime:
        """The store's clock, by an object that is made for it: it is what wrote all times here."""
        key = f"{INCOMING}/clock.{secrets.token_hex(4)}.tmp"
        self.put(key, b"")
        found = self.head(key)
        self.delete(key)
        return found.written_at

    def _found(self, meta: ObjectMeta) -> Found:
        return Found(
            key=self._key(meta["path"]), bytes=meta["size"], written_at=meta["last_modified"]
        )

    def _key(self, path: str) -> str:
        above = self.location.key
        return path.removeprefix(f"{above}/") if above else path

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        where = self.at(key)
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise FileExistsError(errno.EEXIST, "there is one already", where.uri) from error
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise store_error(error, where) from error
            raise FileNotFoundError(errno.ENOENT, "there is no such object", where.uri) from error
        except BaseError as error:
            raise store_error(error, where) from error


def _version(said: PutResult | ObjectMeta) -> UpdateVersion:
    version: UpdateVersion = {}
    if said["e_tag"] is not None:
        version["e_tag"] = said["e_tag"]
    if said["version"] is not None:
        version["version"] = said["version"]
    return version

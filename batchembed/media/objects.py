"""Videos on object stores: probed by ranged reads, and read to their end as one version."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from batchembed.core.model import Facts, ObjectIdentity, ObjectSource
from batchembed.core.problems import Reason
from batchembed.errors import (
    StoreAccessError,
    StoreAwayError,
    StoreError,
    StoreMissingError,
    VideoChangedError,
)
from batchembed.media.probe import probe_file
from batchembed.media.unreadable import UnreadableVideoError, broken, denied, missing, no_access
from batchembed.stores.file import ObjectFile, identify
from batchembed.stores.location import location_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Of each request while headers are looked for, and while the whole is sent.
_PROBED_BYTES = 256 << 10
_SENT_BYTES = 8 << 20
#: A slow store is no broken video: its own client gives up before.
_TIMEOUT_S = 120.0


def unreadable(error: StoreError) -> UnreadableVideoError:
    """What a store's refusal is to one video.

    Raises:
        StoreError: the same, where no other video will fare better: the store is away, or takes
            none of the credentials.
    """
    match error:
        case StoreAwayError() | StoreAccessError(refused=True):
            raise error
        case StoreMissingError():
            return missing(str(error))
        case StoreAccessError():
            return denied(str(error))
        case _:
            return no_access(str(error), "look at the bucket, then run again")


@contextlib.contextmanager
def _told_of_the_video() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise unreadable(error) from error


def identify_object(source: ObjectSource) -> ObjectIdentity | Reason:
    """The identity of an object that is not empty, or why there is none. One request.

    Raises:
        StoreError: as `unreadable` says.
    """
    try:
        with _told_of_the_video():
            identity = identify(location_of(source.uri), source.stores)
        _require_content(identity)
    except UnreadableVideoError as error:
        return error.reason
    return identity


def probe_object(source: ObjectSource) -> tuple[ObjectIdentity, Facts | Reason]:
    """What an object is, and what its headers and its first frame tell.

    Raises:
        UnreadableVideoError: it is not there, is empty, or can't be read.
        StoreError: as `unreadable` says.
    """
    with _told_of_the_video(), ObjectFile(location_of(source.uri), source.stores) as raw:
        _require_content(raw.identity)
        try:
            with io.BufferedReader(raw, _PROBED_BYTES) as file:
                size = raw.identity.size_bytes
                return raw.identity, probe_file(file, size, timeout_s=_TIMEOUT_S)
        except UnreadableVideoError as error:
            return raw.identity, error.reason


def open_object(source: ObjectSource, identity: ObjectIdentity | None) -> io.BufferedReader:
    """The object, to be sent from its beginning to its end.

    Its reads raise `StoreError`, and `VideoChangedError` in place of its last bytes if it was
    written meanwhile: what has broken off makes no task.

    Raises:
        UnreadableVideoError: it is not there, is empty, or can't be read.
        StoreError: as `unreadable` says.
        VideoChangedError: it is not the one that was probed.
    """
    with _told_of_the_video():
        raw = _OneVersion(location_of(source.uri), source.stores)
    with contextlib.ExitStack() as undo:
        undo.callback(raw.close)
        _require_content(raw.identity)
        if identity is not None and raw.identity != identity:
            raise VideoChangedError(raw.location.name, None)
        undo.pop_all()
    return io.BufferedReader(raw, _SENT_BYTES)


class _OneVersion(ObjectFile):
    """An object whose end is given only if it is still the one that was opened."""

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As of any object.

        Raises:
            VideoChangedError: it has changed.
        """
        try:
            read = super().readinto(buffer)
        except (StoreAwayError, StoreAccessError):
            raise
        except StoreError as error:  # such as a range that it no longer has
            self._require_unchanged()
            raise error from None
        if self.tell() == self.identity.size_bytes:
            self._require_unchanged()
        return read

    def _require_unchanged(self) -> None:
        try:
            same = identify(self.location, self.options) == self.identity
        except StoreMissingError:
            same = False
        if not same:
            raise VideoChangedError(self.location.name, None)


def _require_content(identity: ObjectIdentity) -> None:
    if not identity.size_bytes:
        raise broken(f"{identity.path} is empty")

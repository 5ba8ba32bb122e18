"""A video wherever it is kept, on a disk or on a store: which one it is, and how it is opened."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import BinaryIO

from batchembed.core.model import (
    FileIdentity,
    FileSource,
    Identity,
    ObjectIdentity,
    ObjectSource,
    ReadSource,
    address,
)
from batchembed.core.problems import Reason
from batchembed.errors import VideoChangedError
from batchembed.media.identity import identify, identity_of, open_regular
from batchembed.media.objects import identify_object, open_object


def identify_source(source: ReadSource) -> Identity | Reason:
    """The identity of a video's file or object as it is now, or why there is none. It blocks.

    Raises:
        StoreError: a store that no video can be read from.
    """
    if isinstance(source, ObjectSource):
        return identify_object(source)
    return identify(source.path, shown=source.shown)


def open_source(source: ReadSource, identity: Identity | None) -> BinaryIO:
    """The file or object, if it is the one that was read. It blocks.

    Raises:
        UnreadableVideoError: it can't be opened, or is no file.
        VideoChangedError: it is another, or has changed.
        StoreError: a store that no video can be read from.
    """
    match source, identity:
        case ObjectSource(), ObjectIdentity() | None:
            return open_object(source, identity)
        case FileSource(path=path), FileIdentity() | None:
            file = open_regular(path)
            if identity is not None and identity_of(path, os.fstat(file.fileno())) != identity:
                file.close()
                raise VideoChangedError(PurePosixPath(path).name, None)
            return file
        case _:
            raise VideoChangedError(address(source), None)

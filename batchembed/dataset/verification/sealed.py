"""Checks the files that carry their own sha256: `dataset.json` and the records.

Every bit of such a file is bound: it is canonical JSON, so that there is one way to write what it
says, and it has the sha256 of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

from batchembed.core.keys import Json, canonical_json, digest
from batchembed.core.verification import Finding
from batchembed.dataset.schema import FORMAT
from batchembed.dataset.storage import Storage
from batchembed.errors import DatasetError

RESTORE = "restore it from a backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A file's object without its `sha256`, and that; `told` is None where it has none."""

    content: dict[str, Any]
    told: object
    sha256: str  #: of the content's canonical JSON


def read_bytes(storage: Storage, key: str, what: str) -> bytes | Finding:
    """A file's bytes, or why there are none.

    Raises:
        StoreError: the store can't be reached: that says nothing about the file.
    """
    try:
        return storage.read(key)
    except FileNotFoundError:
        return Finding(code="file_missing", file=key, message=f"{what} is missing", hint=RESTORE)
    except OSError as error:
        return unreadable(key, what, error)


def unreadable(key: str, what: str, error: OSError) -> Finding:
    """The disk, or its permissions, let nobody read it."""
    return Finding(
        code="file_unreadable",
        file=key,
        message=f"{what} can't be read: {error.strerror or error}",
        hint="see to its disk and its permissions",
    )


def unseal(key: str, content: bytes) -> Sealed | Finding:
    """The file's object, once its bytes are seen to be the one way to write it.

    A `told` that is no sha256 of the content is for the caller to judge.
    """
    try:
        found = msgspec.json.decode(content)
        if not isinstance(found, dict):
            return _damaged(key, "it is no JSON object")
        written = canonical_json(cast("Json", found)).encode() + b"\n"
        told = found.pop("sha256", None)
        sha256 = digest(cast("Json", found))
    except (ValueError, RecursionError) as error:  # a DecodeError is a ValueError
        return _damaged(key, f"it is no JSON: {error}")
    if written != content:
        return _damaged(key, "its bytes are not those that were written")
    return Sealed(content=found, told=told, sha256=sha256)


def wrong_sha256(storage: Storage, key: str, sealed: Sealed) -> Finding | None:
    """Whether the file is not what its own sha256 says.

    Raises:
        DatasetError: it is whole, and of a newer version of batchembed.
    """
    version = sealed.content.get("format")
    if sealed.told == sealed.sha256:
        if isinstance(version, int) and version > FORMAT:
            raise DatasetError(
                f"{storage.named(key)} has format {version}, and this version of batchembed knows {FORMAT}: "
                "upgrade batchembed"
            )
        return None
    return _damaged(key, "its sha256 is not the one it tells")


def _damaged(key: str, why: str) -> Finding:
    return Finding(code="file_damaged", file=key, message=f"{why}: it is damaged", hint=RESTORE)

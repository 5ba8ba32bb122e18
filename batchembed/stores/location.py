"""Places on object stores: `s3://bucket/key` and its like, taken apart and put together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

#: Those that are proven; the others go to pyarrow as they are.
S3 = "s3"
SCHEMES = (S3, "gs", "abfs", "abfss")

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_BUCKET = re.compile(r"[\w.@-]+", re.ASCII)
#: How other tools write options, and keys, behind a URI.
_OPTIONS = re.compile(r"\?\w+=")


class LocationError(ValueError):
    """The text is no place on an object store; the message says why, without what may be secret.

    Attributes:
        hint: what to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place on an object store: an object, or all that begins with `key` and a slash.

    `key` is taken as it is written: nothing in it is decoded. It is empty for a whole bucket.
    """

    scheme: str
    bucket: str  #: with `@account...` behind it on Azure
    key: str

    @property
    def uri(self) -> str:
        """As it is written."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    @property
    def path(self) -> str:
        """As `pyarrow.fs` names it: bucket and key."""
        container = self.bucket.partition("@")[0]
        return f"{container}/{self.key}" if self.key else container

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.key.rpartition("/")[2] or self.bucket

    def child(self, name: str) -> Location:
        """What is called `name`, with or without slashes, below it."""
        return replace(self, key=f"{self.key}/{name}" if self.key else name)


def is_uri(text: str) -> bool:
    """Whether the text is written like a URI, of an object store or not."""
    return _URI.fullmatch(text) is not None


def location_of(uri: str) -> Location:
    """The place that a URI names. One slash at its end says nothing.

    Raises:
        LocationError: it is of another scheme, names no bucket, has credentials or options in it,
            or a key that no store takes.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise LocationError("this is no URI of an object store", "such as s3://bucket/folder")
    scheme, bucket, key = match.group(1).lower(), match.group(2), match.group(3) or ""
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise LocationError(f"{scheme}:// is no object store that is known here", f"use {known}")
    if ":" in bucket or ("@" in bucket and scheme in {S3, "gs"}):
        raise LocationError(
            "the URI has credentials in it",
            "take them out: they come from the environment or from a profile",
        )
    if _OPTIONS.search(uri):
        raise LocationError(
            "the URI has options behind a question mark",
            "write endpoint_url and region under `stores`; credentials come from the environment",
        )
    if not _BUCKET.fullmatch(bucket):
        what = f"{bucket[:80]!r} is no name of a bucket" if bucket else "the URI names no bucket"
        raise LocationError(what, f"such as {scheme}://bucket/folder; stars may stand behind it")
    named = key.removesuffix("/")
    if key and any(part in {"", ".", ".."} for part in named.split("/")):
        raise LocationError(
            "the key has an empty part, or . or .., which mean nothing on a store",
            "write the key as the store lists it",
        )
    return Location(scheme=scheme, bucket=bucket, key=named)

"""Object stores as file systems of pyarrow: one of each kind a process, shared by its threads."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from urllib.parse import urlsplit

from pyarrow import fs

from batchembed.core.model import StoreOptions
from batchembed.stores.failures import translated
from batchembed.stores.location import S3, Location

#: An address that takes no connection, and a server that says nothing, are given up for good after
#: so many seconds, three times over.
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
ATTEMPTS = 3


def filesystem(location: Location, options: StoreOptions) -> fs.FileSystem:
    """The file system in which `location.path` is. Nothing is asked of the store yet.

    Credentials come from pyarrow's own chain: variables, profile, the machine's role. `options`
    are complete (`stores.options.completed`), and are those of S3 alone.

    Raises:
        StoreError: pyarrow can't make it.
    """
    with translated(location):
        if location.scheme == S3:
            return _s3(options)
        return _of_uri(f"{location.scheme}://{location.bucket}")


def lacks_bucket(store: fs.FileSystem, location: Location) -> bool:
    """Whether it is the whole bucket that is not there; False where that can't be told."""
    bucket = replace(location, key="").path
    with contextlib.suppress(OSError):  # whoever may read an object need not see its bucket
        return store.get_file_info(bucket).type is fs.FileType.NotFound
    return False


@functools.lru_cache(maxsize=16)
def _s3(options: StoreOptions) -> fs.FileSystem:
    url = urlsplit(options.endpoint_url or "https://")
    return fs.S3FileSystem(
        endpoint_override=url.netloc or None,
        scheme="http" if url.scheme == "http" else "https",
        region=options.region,
        anonymous=options.anonymous,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


@functools.lru_cache(maxsize=16)
def _of_uri(uri: str) -> fs.FileSystem:
    found, _ = fs.FileSystem.from_uri(uri)
    return found

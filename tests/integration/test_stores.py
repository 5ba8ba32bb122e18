"""Object stores, against a server on loopback: how they are reached, and what their refusals become."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pyarrow import fs

from batchembed.core.model import StoreOptions
from batchembed.errors import (
    StoreAccessError,
    StoreAwayError,
    StoreError,
    StoreMissingError,
)
from batchembed.stores.failures import translated
from batchembed.stores.filesystem import filesystem
from batchembed.stores.location import location_of
from batchembed.stores.objects import object_store
from batchembed.stores.options import completed
from tests.support.s3 import Bucket

pytestmark = pytest.mark.slow


def options() -> StoreOptions:
    return completed(StoreOptions(), os.environ)


def read(uri: str) -> bytes:
    location = location_of(uri)
    with translated(location):
        stream: Any = filesystem(location, options()).open_input_file(location.path)
        with stream:
            content: bytes = stream.read()
            return content


def test_an_object_is_found_by_the_usual_variables(s3: Bucket) -> None:
    uri = s3.put("a folder/ü?.bin", b"content")

    assert read(uri) == b"content"
    assert s3.keys() == ["a folder/ü?.bin"]


def test_both_clients_reach_the_same_bucket(s3: Bucket) -> None:
    location = location_of(s3.uri("made"))

    object_store(location, options()).put(location.key, b"by obstore", mode="create")

    assert read(location.uri) == b"by obstore"


def test_a_stopped_server_is_away_and_comes_back_with_its_data(s3: Bucket) -> None:
    uri = s3.put("kept", b"content")
    s3.server.stop()
    try:
        with pytest.raises(StoreAwayError, match=r"s3://bucket-\d+/kept gives no answer"):
            read(uri)
    finally:
        s3.server.start()

    assert read(uri) == b"content"


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (403, "AccessDenied", StoreAccessError, "permission denied for s3://"),
        (403, "InvalidAccessKeyId", StoreAccessError, "permission denied for s3://"),
        (400, "ExpiredToken", StoreAccessError, "refuses the credentials"),
        (404, "NoSuchKey", StoreMissingError, "there is no s3://"),
        (503, "SlowDown", StoreAwayError, "gives no answer"),
        (301, "PermanentRedirect", StoreError, "in another region: set stores.s3.region"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_refusal_says_what_to_do(
    s3: Bucket, status: int, code: str, kind: type[StoreError], says: str
) -> None:
    """A HEAD has no body: of some refusals only the status is known."""
    uri = s3.put("refused", b"content")
    s3.server.refuse(f"/{s3.name}/refused", status, code)

    with pytest.raises(kind, match=says) as caught:
        read(uri)
    assert type(caught.value) is kind


def test_a_cut_connection_is_tried_again(s3: Bucket) -> None:
    location = location_of(s3.uri("part"))
    s3.server.forget_asked()
    s3.server.cut(f"/{s3.name}/part")

    with filesystem(location, options()).open_output_stream(location.path) as stream:
        stream.write(b"x" * (12 << 20))

    puts = [asked.status for asked in s3.server.asked() if asked.method == "PUT"]
    assert sorted(puts) == [0, 200, 200]
    assert len(s3.get("part")) == 12 << 20


def test_a_bucket_that_is_not_there_is_named(s3: Bucket) -> None:
    location = location_of("s3://no-such-bucket/folder")

    with pytest.raises(StoreMissingError, match="no bucket no-such-bucket"), translated(location):
        filesystem(location, options()).get_file_info(fs.FileSelector(location.path))


def test_one_file_system_serves_a_whole_process(s3: Bucket) -> None:
    one, other = location_of(s3.uri("a")), location_of("s3://another/b")

    assert filesystem(one, options()) is filesystem(other, options())

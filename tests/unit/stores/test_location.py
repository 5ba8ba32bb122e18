"""Places on object stores: what is taken as it is written, and what is refused."""

from __future__ import annotations

import pytest

from batchembed.stores.location import Location, LocationError, is_uri, location_of


def test_a_key_is_taken_as_it_is_written() -> None:
    location = location_of("s3://bucket/a b/100%25 ü#1?.mp4")

    assert location == Location(scheme="s3", bucket="bucket", key="a b/100%25 ü#1?.mp4")
    assert location.uri == "s3://bucket/a b/100%25 ü#1?.mp4"
    assert location.path == "bucket/a b/100%25 ü#1?.mp4"
    assert location.name == "100%25 ü#1?.mp4"


@pytest.mark.parametrize("uri", ["s3://bucket", "S3://bucket", "s3://bucket/"])
def test_a_whole_bucket_has_no_key(uri: str) -> None:
    assert location_of(uri) == Location(scheme="s3", bucket="bucket", key="")


def test_what_is_below_a_place_is_joined_by_a_slash() -> None:
    assert location_of("gs://b").child("a/x").uri == "gs://b/a/x"
    assert location_of("gs://b/p/").child("a").uri == "gs://b/p/a"


def test_an_azure_container_is_named_without_its_account() -> None:
    location = location_of("abfs://films@account.dfs.core.windows.net/a.mp4")

    assert location.path == "films/a.mp4"
    assert location.uri == "abfs://films@account.dfs.core.windows.net/a.mp4"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3:///a.mp4", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3://b*/a.mp4", "no name of a bucket"),
        ("s3://bucket/a//b.mp4", "empty part"),
        ("s3://bucket/../b.mp4", "empty part"),
        ("s3://bucket//", "empty part"),
        ("ftp://host/a.mp4", "ftp:// is no object store"),
        ("videos/a.mp4", "no URI"),
        ("s3://bucket/a.mp4?region=eu-west-1", "options behind a question mark"),
    ],
)
def test_what_names_no_place_is_refused(uri: str, message: str) -> None:
    with pytest.raises(LocationError, match=message) as caught:
        location_of(uri)
    assert caught.value.hint


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAX:cafe9d51@bucket/a.mp4",
        "s3://AKIAX@bucket/a.mp4",
        "gs://me:cafe9d51@bucket/a.mp4",
        "abfs://films:cafe9d51@account/a.mp4",
        "s3://bucket/a.mp4?access_key=cafe9d51",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(LocationError) as caught:
        location_of(uri)
    assert "cafe9d51" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/k", True),
        ("http://h", True),
        ("a.mp4", False),
        ("C:\\a.mp4", False),
        ("a:b", False),
    ],
)
def test_only_a_scheme_and_slashes_make_a_uri(text: str, expected: bool) -> None:
    assert is_uri(text) is expected

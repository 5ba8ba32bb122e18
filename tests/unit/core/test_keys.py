"""Identity: what is the same job, and what is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchembed.core.keys import (
    canonical_json,
    idempotency_key,
    job_key,
    object_content,
    unsigned_url,
    upload_name,
    url_content,
)
from batchembed.core.model import Content, JobKey, ObjectIdentity, Parameters

CONTENT = Content(kind="sha256", digest="ab" * 32)
PARAMETERS = Parameters(model_name="local-v1", video_clip_length=6, video_embedding_scope=("clip",))


def test_six_is_written_like_six_point_zero() -> None:
    assert canonical_json({"b": 6.0, "a": [1.5, "é", None]}) == '{"a":[1.5,"é",null],"b":6}'
    assert canonical_json(1e300) == "1e+300"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_has_no_place_in_json(number: float) -> None:
    with pytest.raises(ValueError, match="no place"):
        canonical_json([number])


def test_six_and_six_point_zero_are_one_job() -> None:
    assert job_key(CONTENT, PARAMETERS) == job_key(
        CONTENT, replace(PARAMETERS, video_clip_length=6.0)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model_name": "marengo3.0"},
        {"video_clip_length": 5},
        {"video_embedding_scope": ("clip", "video")},
        {"video_start_offset_sec": 0.0, "video_end_offset_sec": 6.0},
    ],
    ids=["model", "clip length", "scope", "offsets"],
)
def test_another_parameter_is_another_job(change: dict[str, object]) -> None:
    other = replace(PARAMETERS, **change)  # type: ignore[arg-type]

    assert job_key(CONTENT, other) != job_key(CONTENT, PARAMETERS)


def test_another_content_is_another_job() -> None:
    other = replace(CONTENT, digest="cd" * 32)

    assert job_key(other, PARAMETERS) != job_key(CONTENT, PARAMETERS)


def test_a_job_key_is_what_it_was() -> None:
    # Pinned: another value would submit, and pay for, everything anew.
    assert job_key(CONTENT, PARAMETERS) == (
        "809f678b63058df7e2f22db35d5f99d38e6af8059010b290f82f1343c4391062"
    )


def test_a_new_signature_leaves_a_url_the_same_content() -> None:
    signed = url_content("https://user:secret@example.com/a.mp4?signature=1#t")

    assert signed == url_content("https://example.com/a.mp4?signature=2")
    assert signed.weak
    assert signed != url_content("https://example.com/b.mp4")


@pytest.mark.parametrize(
    "signed",
    [
        "https://b.example/a.mp4?id=1&X-Amz-Signature=s&X-Amz-Date=2026",
        "https://b.example/a.mp4?Expires=9&id=1&Signature=s&Key-Pair-Id=k",
        "https://b.example/a.mp4?AWSAccessKeyId=k&Expires=9&Signature=s&id=1",
        "https://u:p@b.example/a.mp4?sv=1&se=9&sp=r&sr=b&sig=s&id=1#t=3",
    ],
    ids=["S3", "CloudFront", "S3 of old", "Azure"],
)
def test_a_signature_is_not_identity_and_the_rest_of_a_query_is(signed: str) -> None:
    assert unsigned_url(signed) == "https://b.example/a.mp4?id=1"
    assert url_content(signed) != url_content("https://b.example/a.mp4?id=2")


@pytest.mark.parametrize(
    "name", ["se", "st", "sp", "sr", "ss", "sv", "expires", "policy", "key-pair-id"]
)
def test_a_name_that_belongs_to_a_signature_is_identity_where_there_is_none(name: str) -> None:
    first, second = (f"https://b.example/get?show=7&{name}={number}" for number in (1, 2))

    assert unsigned_url(first) == first
    assert url_content(first) != url_content(second)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("se=1&Signature=s&Expires=9", "se=1"),
        ("expires=1&sig=s&se=9", "expires=1"),
        ("expires=1&X-Amz-Signature=s&X-Amz-Expires=9", "expires=1"),
    ],
)
def test_only_the_names_of_the_signature_that_stands_there_go(query: str, kept: str) -> None:
    assert unsigned_url(f"https://b.example/get?{query}") == f"https://b.example/get?{kept}"


def test_an_object_is_known_by_what_its_store_says_of_it() -> None:
    identity = ObjectIdentity(path="s3://films/a.mp4", tag='"ab12"', size_bytes=3)
    content = object_content(identity)

    assert (content.kind, content.weak, content.source_sha256) == ("object", True, None)
    assert content == object_content(replace(identity))
    others = (
        replace(identity, path="s3://films/b.mp4"),
        replace(identity, tag='"ab13"'),
        replace(identity, size_bytes=4),
    )
    assert len({content, *map(object_content, others)}) == 4


def test_an_upload_carries_dataset_job_and_attempt_in_its_name() -> None:
    assert upload_name("d" * 32, JobKey("k" * 64), 2, ".mp4") == f"bb1-{'d' * 8}-{'k' * 16}-2.mp4"


def test_an_idempotency_key_changes_with_the_attempt_alone() -> None:
    first = idempotency_key("d", JobKey("k"), 1)

    assert first == idempotency_key("d", JobKey("k"), 1)
    assert first != idempotency_key("d", JobKey("k"), 2)

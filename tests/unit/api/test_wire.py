"""Requests and answers as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from batchembed.api import wire
from batchembed.api.models import (
    PageInfo,
    TaskError,
    TasksListResponse,
    TasksStatusResponse,
    VideoEmbeddingMetadata,
    VideoEmbeddingTask,
)
from batchembed.errors import AnswerError, NotReadyError


def test_segments_come_with_their_vectors_packed() -> None:
    body = (
        b'{"status": "ready", "video_embedding": {"segments": ['
        b'{"start_offset_sec": 0, "end_offset_sec": 6, "embedding_scope": "clip", "new": {},'
        b' "float": [1, -0.1, 1e-46, 1e39]}, {"float": []}, {}]}}'
    )

    first, second, third = wire.segments(body)

    assert first.float_ is not None
    assert first.float_.dtype == np.float32
    assert first.float_.tolist() == [1.0, float(np.float32(-0.1)), 0.0, float("inf")]
    assert second.float_ is not None
    assert second.float_.size == 0
    assert third.float_ is None


@pytest.mark.parametrize("vector", ["7", '"no"', "[null]", '["1"]', "[[1]]", "[NaN]", "[1e400]"])
def test_a_vector_that_is_none_is_an_error_of_ours(vector: str) -> None:
    body = f'{{"video_embedding": {{"segments": [{{"float": {vector}}}]}}}}'.encode()

    with pytest.raises(AnswerError):
        list(wire.segments(body))


@pytest.mark.parametrize("body", [b'{"status": "ready"}', b'{"video_embedding": {}}'])
def test_an_answer_without_segments_has_none(body: bytes) -> None:
    assert list(wire.segments(body)) == []


def test_an_answer_about_another_task_has_no_segments_for_this_one() -> None:
    body = b'{"_id": "t2", "status": "ready", "video_embedding": {"segments": [{"float": [1]}]}}'

    with pytest.raises(AnswerError, match="about another task, t2"):
        list(wire.segments(body, task_id="t1"))
    assert len(list(wire.segments(body, task_id="t2"))) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"_id": "t1", "status": "processing"}', "the task is 'processing'"),
        (
            b'{"status": "processing", "video_embedding": {"segments": [{"float": [1]}]}}',
            "the task is 'processing'",
        ),
        (b'{"code": "accepted", "message": "wait"}', "neither segments nor a status"),
        (b'{"video_embedding": null}', "neither segments nor a status"),
    ],
    ids=["no segments", "some of the segments", "words of another kind", "nothing"],
)
def test_an_answer_before_its_time_is_told_from_a_broken_one(body: bytes, told: str) -> None:
    with pytest.raises(NotReadyError, match=told):
        list(wire.segments(body, task_id="t1"))


def test_an_answer_that_says_neither_whose_nor_how_it_is_has_its_segments() -> None:
    body = b'{"video_embedding": {"segments": [{"float": [1]}, {}]}}'

    assert len(list(wire.segments(body, task_id="t1"))) == 2
    # That there are none is told, too.
    assert list(wire.segments(b'{"video_embedding": {"segments": []}}', task_id="t1")) == []


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[" * 100_000, b'{"status": 5}', b"\xff", b'{"_id": NaN}']
)
def test_an_answer_that_cannot_be_read_is_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(AnswerError):
        wire.read(body, TasksStatusResponse)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("created_at", '""'),
        ("created_at", "1700000000"),
        ("status", "3"),
        ("model_name", "[]"),
        ("video_embedding", '"none"'),
        ("video_embedding", '{"metadata": 5}'),
        ("error", "[1]"),
        ("warnings", "[1, null]"),
        ("_id", "7"),
    ],
)
def test_what_cannot_be_read_of_a_listed_task_hides_no_other(name: str, odd: str) -> None:
    other = '{"_id": "t2", "status": "ready", "created_at": "2026-01-02T03:04:05Z"}'
    told = {"_id": '"t1"', "status": '"ready"', name: odd}
    first = ", ".join(f'"{key}": {value}' for key, value in told.items())
    body = (
        f'{{"data": [{{{first}}}, {other}, 5], "page_info": {{"total_results": 3, "page": "1"}}}}'
    )

    page = wire.read_listing(body.encode())

    assert page.data is not None
    assert [task.id for task in page.data] == [None if name == "_id" else "t1", "t2"]
    assert page.data[0].status == (None if name == "status" else "ready")
    assert page.data[1] == wire.read(other.encode(), VideoEmbeddingTask)
    assert page.page_info == PageInfo(total_results=3)


def test_of_the_metadata_of_a_listed_task_is_read_what_can_be() -> None:
    body = (
        b'{"data": [{"_id": "t1", "video_embedding": {"metadata": {"input_filename": "a.mp4",'
        b' "duration": "12", "video_embedding_scope": ["clip", 5]}}}]}'
    )

    (task,) = wire.read_listing(body).data or [VideoEmbeddingTask()]

    assert task.video_embedding is not None
    assert task.video_embedding.metadata == VideoEmbeddingMetadata(input_filename="a.mp4")


@pytest.mark.parametrize("body", [b"", b"[]", b'"no"', b'{"data": [}'])
def test_what_is_no_page_of_a_listing_is_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(AnswerError):
        wire.read_listing(body)


def test_a_listing_whose_tasks_are_no_list_has_none() -> None:
    assert wire.read_listing(b'{"data": {"a": 1}, "page_info": 4}') == TasksListResponse()


def test_times_of_a_listing_are_written_in_utc() -> None:
    query = wire.list_query(
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        ended_at=None,
        status="ready",
        page=2,
        page_limit=50,
    )

    assert query == [
        ("started_at", "2026-01-02T03:04:05Z"),
        ("status", "ready"),
        ("page", "2"),
        ("page_limit", "50"),
    ]


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (b'{"code": 500, "message": "internal"}', TaskError(code="500", message="internal")),
        (b'{"code": null, "message": 1.5}', TaskError(message="1.5")),
        (b'{"code": true, "at": [1]}', TaskError(code="true")),
        (b"500", "500"),
        (b'"torn"', "torn"),
    ],
)
def test_a_reason_is_read_as_text_whatever_scalar_it_is(told: bytes, read: TaskError | str) -> None:
    task = b'{"_id": "t1", "status": "failed", "error": %s, "warnings": [%s]}' % (told, told)

    status = wire.read(task, TasksStatusResponse)
    listing = wire.read(b'{"data": [%s], "page_info": {"page": 1}}' % task, TasksListResponse)

    assert (status.id, status.error, status.warnings) == ("t1", read, [read])
    assert listing.data is not None
    assert listing.data[0].error == read


@pytest.mark.parametrize(
    "body", [b'{"status": 1}', b'{"error": 5, "status": 1}', b'{"error": {"code": []}}', b"7", b"{"]
)
def test_what_is_no_answer_is_none_however_it_tells_an_error(body: bytes) -> None:
    with pytest.raises(AnswerError, match="can't be read"):
        wire.read(body, TasksStatusResponse)

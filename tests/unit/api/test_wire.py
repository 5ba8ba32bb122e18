"""Requests and answers as pure functions."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchembed.api import wire
from batchembed.api.models import TasksStatusResponse
from batchembed.errors import AnswerError


def test_segments_are_read_one_at_a_time() -> None:
    body = (
        b'{"status": "ready", "video_embedding": {"segments": [{"float": [1]}, {"float": "no"}]}}'
    )
    segments = wire.segments(body)

    assert next(segments).float_ == [1.0]
    with pytest.raises(AnswerError, match="VideoSegment"):
        next(segments)


@pytest.mark.parametrize("body", [b'{"status": "ready"}', b'{"video_embedding": {}}'])
def test_an_answer_without_segments_has_none(body: bytes) -> None:
    assert list(wire.segments(body)) == []


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[" * 100_000, b'{"status": 5}', b"\xff", b'{"_id": NaN}']
)
def test_an_answer_that_cannot_be_read_is_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(AnswerError):
        wire.read(body, TasksStatusResponse)


def test_every_form_of_a_file_becomes_an_upload(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")

    forms = [
        b"film",
        io.BytesIO(b"film"),
        path,
        str(path),
        ("b.mov", b"film"),
        ("b.mov", b"film", "video/quicktime"),
    ]
    uploads = [wire.as_upload(form) for form in forms]

    assert [upload.file.read() for upload in uploads] == [b"film"] * 6
    assert [upload.filename for upload in uploads] == [
        "upload",
        "upload",
        "a.mp4",
        "a.mp4",
        "b.mov",
        "b.mov",
    ]
    assert uploads[-1].content_type == "video/quicktime"
    for upload in uploads:
        upload.file.close()


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

"""The dataset's side files: every video with its outcome, every failure, every task.

One JSON object a line. `videos.jsonl` and `failures.jsonl` say nothing that differs from build to
build; task ids and times are in `tasks.jsonl` alone, and why a video is pending in the run's report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.problems import Reason
from batchembed.core.states import Entry

VIDEOS, FAILURES, TASKS = "videos.jsonl", "failures.jsonl", "tasks.jsonl"


def side_files(outcomes: Iterable[VideoOutcome], entries: Iterable[Entry]) -> dict[str, bytes]:
    """The content of each side file, by name."""
    videos = tuple(outcomes)
    return {
        VIDEOS: _lines(video_line(video) for video in videos),
        FAILURES: _lines(
            failure_line(video, reason)
            for video in videos
            if video.outcome in {Outcome.REJECTED, Outcome.FAILED}
            for reason in video.reasons
        ),
        TASKS: _lines(_task_line(entry) for entry in sorted(entries, key=_by_key)),
    }


def video_line(video: VideoOutcome) -> dict[str, Any]:
    """A video of the manifest, whatever its outcome, with its facts and rows."""
    # Why a run did not end it differs from run to run: each would make a record to say so.
    reasons = () if video.outcome is Outcome.PENDING else video.reasons
    return {
        "video_id": video.video.video_id,
        "source": video.video.source.shown,
        "outcome": video.outcome,
        "rows": video.rows,
        "job_key": video.job_key,
        "source_sha256": None if video.content is None else video.content.source_sha256,
        "facts": None if video.facts is None else asdict(video.facts),
        "options_absent": list(video.options_absent),
        "skip": video.video.skip,
        "reasons": [_reason(reason) for reason in reasons],
        "warnings": [_reason(reason) for reason in video.warnings],
    }


def failure_line(video: VideoOutcome, reason: Reason) -> dict[str, Any]:
    """One reason why a video is not in the dataset."""
    return {
        "video_id": video.video.video_id,
        "source": video.video.source.shown,
        "outcome": video.outcome,
        **_reason(reason),
    }


def _reason(reason: Reason) -> Mapping[str, Any]:
    return asdict(reason)


def _task_line(entry: Entry) -> dict[str, Any]:
    moment = entry.submitted_at
    return {
        "job_key": entry.job_key,
        "task_id": entry.task_id,
        "attempt": entry.attempt,
        "submitted_at": None
        if moment is None
        else datetime.fromtimestamp(moment, tz=UTC).isoformat(timespec="milliseconds"),
        "rows": {} if entry.staged is None else dict(entry.staged.rows),
    }


def _by_key(entry: Entry) -> str:
    return entry.job_key


def _lines(objects: Iterable[Mapping[str, Any]]) -> bytes:
    encoder = msgspec.json.Encoder()
    return b"".join(encoder.encode(each) + b"\n" for each in objects)

"""A run's report as JSON; `schemas/run-report.schema.json` describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batchembed.core.failures import way_out
from batchembed.core.outcome import VideoOutcome
from batchembed.core.run_report import Parked, RunReport
from batchembed.report.accounts import Account, class_of, in_doubt, lost
from batchembed.report.expiry import expires_at
from batchembed.report.moments import rfc3339

VERSION = 1


def report_dict(report: RunReport) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "version": VERSION,
        "run_id": report.run_id,
        "began_at": rfc3339(report.began_at),
        "manifest": report.manifest,
        "name": report.name,
        "engine": report.engine,
        "model_name": report.model_name,
        "dataset": {
            "path": report.dataset,
            "dataset_id": report.dataset_id,
            "record": report.record,
            "published": report.published,
            "rows": report.rows,
        },
        "counts": {str(outcome): n for outcome, n in report.counts.items()},
        "kept": list(report.kept),
        "submitted": report.submitted,
        "submitted_sec": report.submitted_sec,
        "adopted": report.adopted,
        "collected_sec": report.collected_sec,
        "cost": report.cost,
        "currency": report.currency,
        "requests": dict(report.requests),
        "parked": None if report.parked is None else _parked(report.parked),
        "lost": _account(lost(report)),
        "in_doubt": _account(in_doubt(report)),
        "wall_s": report.wall_s,
        "videos": [_video(video, report.engine) for video in report.videos],
        "warnings": list(report.warnings),
        "halted": report.halted,
        "exit_code": int(report.exit_code),
    }


def _parked(parked: Parked) -> dict[str, Any]:
    return {
        "why": parked.why,
        "until": None if parked.until is None else rfc3339(parked.until),
    }


def _account(account: Account) -> dict[str, Any]:
    return {
        "tasks": account.tasks,
        "video_sec": account.seconds,
        "unmeasured": account.unmeasured,
        "cost": account.cost,
    }


def _video(video: VideoOutcome, engine: str) -> dict[str, Any]:
    entry, failure = video.entry, class_of(video)
    expires = expires_at(entry, engine)
    return {
        "video_id": video.video.video_id,
        "source": video.video.source.shown,
        "outcome": str(video.outcome),
        "rows": video.rows,
        "job_key": video.job_key,
        "state": None if entry is None else str(entry.state),
        "attempt": None if entry is None else entry.attempt,
        "task_id": None if entry is None else entry.task_id,
        "expires_at": None if expires is None else rfc3339(expires),
        "class": None if failure is None else str(failure),
        "way_out": None
        if failure is None
        else way_out(failure, video.reasons[0] if video.reasons else None),
        "reasons": [asdict(reason) for reason in video.reasons],
        "warnings": [asdict(reason) for reason in video.warnings],
        "options_absent": list(video.options_absent),
    }

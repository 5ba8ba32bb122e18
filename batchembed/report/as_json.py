"""A run's report as JSON; `schemas/run-report.schema.json` describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batchembed.core.outcome import VideoOutcome
from batchembed.core.run_report import RunReport

VERSION = 1


def report_dict(report: RunReport) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "version": VERSION,
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
        "collected_sec": report.collected_sec,
        "wall_s": report.wall_s,
        "videos": [_video(video) for video in report.videos],
        "warnings": list(report.warnings),
        "halted": report.halted,
        "exit_code": int(report.exit_code),
    }


def _video(video: VideoOutcome) -> dict[str, Any]:
    entry = video.entry
    return {
        "video_id": video.video.video_id,
        "source": video.video.source.shown,
        "outcome": str(video.outcome),
        "rows": video.rows,
        "job_key": video.job_key,
        "task_id": None if entry is None else entry.task_id,
        "reasons": [asdict(reason) for reason in video.reasons],
        "warnings": [asdict(reason) for reason in video.warnings],
        "options_absent": list(video.options_absent),
    }

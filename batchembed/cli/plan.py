"""`batchembed plan`: what a run would submit, wait for, and leave alone."""

from __future__ import annotations

import concurrent.futures
from collections import Counter
from typing import Any

import click

from batchembed.cli.options import Read, format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.state import Remembered, remembered
from batchembed.core.model import EngineKind, Video
from batchembed.core.plan import Submit, decide
from batchembed.core.segments import window
from batchembed.report.text import printable
from batchembed.runner.survey import Surveyed, survey


@click.command("plan")
@manifest_options
@state_option
@click.option("--retry", type=click.Choice(["failed"]), help="Plan failed videos again.")
@format_option
def command(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    state_dir: str | None,
    retry: str | None,
    output_format: str,
) -> None:
    """Say what `run` would do. Probes and hashes what it has to; sends and writes nothing."""
    asked = read(manifest, overrides, engine)
    planned = _plan(asked, remembered(asked.manifest, state_dir), retry_failed=retry == "failed")
    counts = Counter(line["action"] for line in planned)
    minutes = sum(line["seconds"] or 0.0 for line in planned if line["action"] == "submit") / 60
    if output_format == "json":
        print_json({"counts": counts, "minutes_to_submit": round(minutes, 3), "videos": planned})
        return
    for line in planned:
        why = f": {line['why']}" if line["why"] else ""
        click.echo(printable(f"{line['action']:8} {line['video_id']}{why}"))
    told = ", ".join(f"{n} {action}" for action, n in sorted(counts.items())) or "no videos"
    click.echo(f"plan: {told}; {minutes:.1f} minutes of video to submit")


def _plan(asked: Read, before: Remembered, *, retry_failed: bool) -> list[dict[str, Any]]:
    def survey_one(video: Video) -> Surveyed:
        return survey(video, before.known, asked.manifest, asked.profile)

    videos = asked.manifest.videos
    with concurrent.futures.ThreadPoolExecutor(asked.manifest.concurrency.probes) as pool:
        found = pool.map(survey_one, [video for video in videos if video.skip is None])
        told = iter(found)
        seen: set[str] = set()
        return [
            _skipped(video)
            if video.skip is not None
            else _line(next(told), asked, before, seen, retry_failed=retry_failed)
            for video in videos
        ]


def _skipped(video: Video) -> dict[str, Any]:
    return {"video_id": video.video_id, "action": "skip", "why": video.skip, "seconds": None}


def _line(
    found: Surveyed, asked: Read, before: Remembered, seen: set[str], *, retry_failed: bool
) -> dict[str, Any]:
    line: dict[str, Any] = {
        "video_id": found.video.video_id,
        "action": "reject",
        "why": "",
        "seconds": None,
    }
    job = found.job
    if job is None:
        line["why"] = "; ".join(reason.message for reason in found.reasons)
        return line
    if job.job_key in seen:
        return {**line, "action": "skip", "why": "the same content and parameters as another"}
    seen.add(job.job_key)
    action = decide(
        before.entries.get(job.job_key),
        idempotent=asked.manifest.engine.kind is EngineKind.LOCAL,
        retry_failed=retry_failed,
    )
    line["action"] = type(action).__name__.lower()
    line["why"] = getattr(action, "why", "")
    if isinstance(action, Submit) and job.facts is not None:
        whole = window(
            job.facts.duration_sec,
            job.parameters.video_start_offset_sec,
            job.parameters.video_end_offset_sec,
        )
        line["seconds"] = (whole.end_ms - whole.start_ms) / 1000
    return line

"""`batchembed show`: the whole history of one video."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import click

from batchembed.cli.options import Read, format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.selection import no_such_video, the_video
from batchembed.cli.standing import (
    class_of,
    job_dict,
    moment,
    next_step,
    outcome_of,
    reasons_of,
)
from batchembed.cli.state import Remembered, remembered, warn
from batchembed.core.failures import way_out
from batchembed.core.model import JobKey, Video
from batchembed.dataset.publish import Dataset, RowSpec
from batchembed.dataset.record import Part, read_group
from batchembed.report.moments import length
from batchembed.report.text import many, printable
from batchembed.runner.foresee import Foreseen


@click.command("show")
@manifest_options
@click.argument("video")
@state_option
@format_option
def command(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    video: str,
    state_dir: str | None,
    output_format: str,
) -> None:
    """Show the whole history of VIDEO: facts, job, every move of it, the parts with its rows.

    VIDEO is a video's id; one that the manifest no longer names is found in ledger and dataset.
    """
    asked = read(manifest, overrides, engine)
    before = remembered(asked.manifest, state_dir)
    warn(before)
    told = show(asked, before, video, now=time.time())
    if output_format == "json":
        print_json(told)
        return
    for line in _text(told):
        click.echo(printable(line))


def show(asked: Read, before: Remembered, video_id: str, *, now: float) -> dict[str, Any]:
    """Everything that `show` says, as `docs/json.md` describes it.

    Raises:
        UsageError: nobody knows such a video.
        StorageError: ledger or dataset can't be read.
    """
    video = the_video(asked.manifest.videos, video_id)
    each = None if video is None else _foreseen(asked, before, video)
    published = _published(before.dataset, video_id)
    jobs = dict.fromkeys(before.jobs_of(video_id))
    if published is not None:
        jobs[published[0].job_key] = None
    if each is not None and each.entry is not None:
        jobs[each.entry.job_key] = None
    if each is None and not jobs:
        raise no_such_video(asked.manifest.videos, video_id)
    return {
        "version": 1,
        "video_id": video_id,
        "in_manifest": video is not None,
        **_standing(asked, before, each, now),
        "history": _history(before, jobs),
        "rows": None if published is None else dict(published[0].rows),
        "parts": [] if published is None else [_part(part) for part in published[1]],
    }


def _foreseen(asked: Read, before: Remembered, video: Video) -> Foreseen:
    alone = replace(asked.manifest, videos=(video,))
    return before.foresee(alone, asked.profile)[0]


def _standing(asked: Read, before: Remembered, each: Foreseen | None, now: float) -> dict[str, Any]:
    """What the manifest and the ledger say of the video now."""
    found = None if each is None else each.found
    facts = None if found is None else found.facts
    failure = None if each is None else class_of(each)
    reasons = () if each is None else reasons_of(each)
    entry = None if each is None else each.entry
    return {
        "source": None if each is None else each.video.source.shown,
        "written_at": None if each is None else str(each.video.place),
        "parameters": None if each is None else asdict(each.video.parameters),
        "facts": None if facts is None else asdict(facts),
        "outcome": None if each is None else outcome_of(each),
        "next": None if each is None else next_step(each, asked.manifest, lacking=before.lacking),
        "class": None if failure is None else str(failure),
        "reasons": [
            {**asdict(reason), "way_out": None if failure is None else way_out(failure, reason)}
            for reason in reasons
        ],
        "warnings": [] if entry is None else [asdict(warning) for warning in entry.warnings],
        "job": None if entry is None else job_dict(entry, asked.manifest.engine.kind, now),
    }


def _history(before: Remembered, jobs: Mapping[JobKey, None]) -> list[dict[str, Any]]:
    """Every move of every job that the video has been, in order of time."""
    moves = [(job_key, move) for job_key in jobs for move in before.history(job_key)]
    return [
        {
            "at": moment(move.at),
            "run_id": move.run_id,
            "job_key": job_key,
            "state": str(move.state),
            "attempt": move.attempt,
            "task_id": move.task_id,
            "reason": None if move.reason is None else asdict(move.reason),
        }
        for job_key, move in sorted(moves, key=lambda told: told[1].at)
    ]


def _published(dataset: Dataset | None, video_id: str) -> tuple[RowSpec, tuple[Part, ...]] | None:
    """The video's rows in the last record, and the parts that hold some of them."""
    record = None if dataset is None else dataset.last()
    if dataset is None or record is None:
        return None
    for group in record.groups:
        for spec in read_group(dataset.storage, group):
            if spec.video_id == video_id:
                parts = (part for part in group.parts if _holds(part, spec))
                return spec, tuple(parts)
    return None


def _holds(part: Part, spec: RowSpec) -> bool:
    """Whether a part of the video's group has rows of an option that is published of it."""
    option = dict(part.partition).get("embedding_option")
    return option is None or option in spec.published


def _part(part: Part) -> dict[str, Any]:
    return {
        "path": part.path,
        "rows": part.rows,
        "bytes": part.bytes,
        "sha256": part.sha256,
    }


def _text(told: Mapping[str, Any]) -> Iterator[str]:
    yield from _now(told)
    for reason in told["reasons"]:
        yield f"  {told['class'] or 'reason'}: {reason['message']} [{reason['code']}]"
        if reason["way_out"]:
            yield f"    -> {reason['way_out']}"
    for warning in told["warnings"]:
        yield f"  warning: {warning['message']} [{warning['code']}]"
    for move in told["history"]:
        yield _move(move)
    if told["rows"] is not None:
        rows = ", ".join(f"{n:,} {option}" for option, n in told["rows"].items())
        yield f"  rows: {rows}, in {many(len(told['parts']), 'part')}:"
    for part in told["parts"]:
        yield f"    {part['path']} ({many(part['rows'], 'row')} in all)"


def _now(told: Mapping[str, Any]) -> Iterator[str]:
    state = f": {told['outcome']}, next: {told['next']}" if told["in_manifest"] else ""
    yield f"{told['video_id']}{state}"
    if not told["in_manifest"]:
        yield "  the manifest no longer names it"
    for key in ("source", "written_at"):
        if told[key] is not None:
            yield f"  {key.replace('_', ' ')}: {told[key]}"
    for key in ("parameters", "facts"):
        if told[key] is not None:
            given = (
                f"{name} {_value(value)}" for name, value in told[key].items() if value is not None
            )
            yield f"  {key}: {', '.join(given)}"
    if told["job"] is not None:
        yield from _job(told["job"])


def _job(job: Mapping[str, Any]) -> Iterator[str]:
    task = f", task {job['task_id']}" if job["task_id"] else ""
    yield f"  job: {job['job_key']}"
    yield f"  {job['state']} for {length(job['age_s'])}, attempt {job['attempt']}{task}"
    if job["expires_at"] is not None:
        yield f"  its results expire at {job['expires_at']}"


def _move(move: Mapping[str, Any]) -> str:
    task = f" task {move['task_id']}" if move["task_id"] else ""
    why = f": {move['reason']['message']} [{move['reason']['code']}]" if move["reason"] else ""
    run = f" in run {move['run_id']}" if move["run_id"] else ""
    return (
        f"  {move['at']}  {move['state']}{task}, attempt {move['attempt']}, "
        f"job {move['job_key'][:12]}{run}{why}"
    )


def _value(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)

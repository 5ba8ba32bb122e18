"""`batchembed status`: where every video stands, from the ledger alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from batchembed.cli.options import Read, format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.standing import (
    is_in_flight,
    job_dict,
    moment,
    next_step,
    outcome_of,
    reasons_of,
)
from batchembed.cli.state import Remembered, remembered
from batchembed.core.forecast import HOLD_BACK, SUBMIT
from batchembed.core.model import Manifest, VideoId
from batchembed.core.states import State
from batchembed.report.expiry import WARN_S
from batchembed.report.moments import come_back, length
from batchembed.report.text import many, printable
from batchembed.runner.foresee import Foreseen
from batchembed.runner.planning import drops

#: Steps that take no work.
_IDLE = {"nothing", "skip", "reject", HOLD_BACK}
_STAGED = "its rows are in the state folder: name the video again to publish them"


@click.command("status")
@manifest_options
@state_option
@format_option
def command(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    state_dir: str | None,
    output_format: str,
) -> None:
    """Show each video's state, age and expiry. Opens no video, asks no service."""
    asked = read(manifest, overrides, engine)
    before = remembered(asked.manifest, state_dir)
    foreseen = before.foresee(asked.manifest, asked.profile)
    told = status(asked, before, foreseen, now=time.time())
    if output_format == "json":
        print_json(told)
        return
    for line in _text(told):
        click.echo(printable(line))


def status(
    asked: Read, before: Remembered, foreseen: Sequence[Foreseen], *, now: float
) -> dict[str, Any]:
    """Everything that `status` says, as `docs/json.md` describes it."""
    manifest = asked.manifest
    held = _held_back(asked, before, foreseen, now)
    videos = [_video(each, manifest, before, held, now) for each in foreseen]
    kept, dropped = _rows_of_earlier_runs(before, manifest, foreseen)
    others = _others(before, foreseen, manifest, now)
    record = None if before.dataset is None else before.dataset.last()
    blocked = before.block if before.block is not None and before.block.until > now else None
    return {
        "version": 1,
        "now": moment(now),
        "counts": Counter(line["outcome"] for line in videos),
        "next": Counter(line["next"] for line in videos) + Counter(drop=len(dropped)),
        "in_doubt": sum(line["in_doubt"] for line in (*videos, *others)),
        "dataset": {
            "path": manifest.output.path,
            "record": None if record is None else record.number,
            "rows": 0 if record is None else record.rows,
        },
        "blocked": None
        if blocked is None
        else {"why": blocked.why, "until": moment(blocked.until)},
        "warnings": [
            *(() if before.warning is None else (before.warning,)),
            *_expiring([*videos, *others]),
            *(() if blocked is None else (_blocked(blocked.until, now),)),
        ],
        "videos": videos,
        "others": others,
        "kept": kept,
        "dropped": dropped,
    }


def _held_back(
    asked: Read, before: Remembered, foreseen: Sequence[Foreseen], now: float
) -> Mapping[VideoId, str]:
    """Videos that the next run may not submit, and why."""
    planner = before.planner(asked.manifest, asked.profile, now=now)
    planned = planner.forecast((each.video, each.found) for each in foreseen).videos
    return {VideoId(each.video_id): each.why for each in planned if each.action == HOLD_BACK}


def _video(
    each: Foreseen,
    manifest: Manifest,
    before: Remembered,
    held: Mapping[VideoId, str],
    now: float,
) -> dict[str, Any]:
    step = next_step(each, manifest, lacking=before.lacking)
    why = each.video.skip or "; ".join(reason.message for reason in reasons_of(each))
    if step == SUBMIT and each.video.video_id in held:
        step, why = HOLD_BACK, held[each.video.video_id]
    return {
        "video_id": each.video.video_id,
        "outcome": outcome_of(each),
        **job_dict(each.entry, manifest.engine.kind, now),
        "next": step,
        "why": why or None,
    }


def _others(
    before: Remembered, foreseen: Sequence[Foreseen], manifest: Manifest, now: float
) -> list[dict[str, Any]]:
    """What is paid for, not in the dataset, and no longer any video of the manifest."""
    named = {each.entry.job_key for each in foreseen if each.entry is not None}
    return [
        {"video_id": before.names.get(key), **job_dict(entry, manifest.engine.kind, now)}
        for key, entry in before.entries.items()
        if key not in named and (is_in_flight(entry) or entry.state is State.STAGED)
    ]


def _rows_of_earlier_runs(
    before: Remembered, manifest: Manifest, foreseen: Sequence[Foreseen]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that the next record keeps though nobody asks for them now, and those that go."""
    if before.dataset is None:
        return [], []
    specs = before.dataset.specs()
    going = {each.video_id for each in drops(manifest, specs)}
    asked = {
        each.video.video_id
        for each in foreseen
        if each.video.skip is None and (each.found is None or not each.found.unread)
    }
    rows = [{"video_id": spec.video_id, "rows": spec.published_rows} for spec in specs]
    return (
        [each for each in rows if each["video_id"] not in asked | going],
        [each for each in rows if each["video_id"] in going],
    )


def _expiring(jobs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    left = [line["expires_in_s"] for line in jobs if line["expires_in_s"] is not None]
    soon = [each for each in left if 0 < each < WARN_S]
    if soon:
        yield (
            f"the service deletes the results of {many(len(soon), 'task')} soon, the first in "
            f"{length(min(soon))}: run before then, or they are paid for in vain"
        )
    gone = sum(each <= 0 for each in left)
    if gone:
        yield (
            f"the results of {many(gone, 'task')} are older than the seven days that the service "
            "keeps them: run now, what is still there is collected"
        )


def _blocked(until: float, now: float) -> str:
    return f"the service takes no creates for now: {come_back(until, now)}"


def _text(told: Mapping[str, Any]) -> Iterator[str]:
    for line in told["videos"]:
        yield _line(line, line["outcome"])
    for line in told["others"]:
        why = _STAGED if line["state"] == State.STAGED else None
        yield _line({"next": "nothing", "why": why, **line}, "removed")
    for line in told["kept"]:
        yield f"{'kept':9} {line['video_id']}  {many(line['rows'], 'row')} of earlier runs"
    for line in told["dropped"]:
        yield f"{'drop':9} {line['video_id']}  its {many(line['rows'], 'row')} go: on_removed: drop"
    for warning in told["warnings"]:
        yield f"warning: {warning}"
    dataset = told["dataset"]
    counted = ", ".join(f"{n} {outcome}" for outcome, n in sorted(told["counts"].items()))
    steps = ", ".join(
        f"{n} to {_words(step)}" for step, n in sorted(told["next"].items()) if step not in _IDLE
    )
    what = (
        "no dataset yet"
        if dataset["record"] is None
        else f"record {dataset['record']}, {dataset['rows']:,} rows"
    )
    yield f"next run: {steps or 'nothing to do'}"
    yield f"status: {counted or 'no videos'}; {what} in {dataset['path']}"


def _line(line: Mapping[str, Any], outcome: str) -> str:
    parts = [f"{outcome:9} {line['video_id'] or line['job_key']}"]
    if line["state"] is not None:
        task = f" task {line['task_id']}" if line["task_id"] else ""
        parts.append(f"{line['state']}{task} for {length(line['age_s'])}")
    if line["in_doubt"]:
        parts.append(f"in doubt since {line['unknown_since'] or line['since']}")
    if line["expires_in_s"] is not None:
        hours = line["expires_in_s"] / 3600
        parts.append(f"expires in {hours:.1f} h" if hours > 0 else f"expired {-hours:.1f} h ago")
    if line["next"] not in _IDLE:
        parts.append(f"next: {_words(line['next'])}")
    if line["why"]:
        parts.append(line["why"])
    return "  ".join(parts)


def _words(step: str) -> str:
    return step.replace("_", " ")

"""`batchembed plan`: what a run would submit, wait for, and leave alone, and what that would cost."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import click

from batchembed.cli.options import (
    Read,
    format_option,
    limit_option,
    manifest_options,
    only_option,
    read,
    retry_option,
    state_option,
)
from batchembed.cli.problems import print_json
from batchembed.cli.running import require_output
from batchembed.cli.selection import chosen, require_retry
from batchembed.cli.state import Remembered, remembered, require_dataset_in_its_place, warn
from batchembed.core.forecast import HOLD_BACK, SUBMIT, Amount, Forecast, plan_line
from batchembed.core.model import EngineKind, JobKey, Video, VideoId
from batchembed.core.quota import DAY_S
from batchembed.report.text import printable
from batchembed.runner.foresee import Foreseen
from batchembed.runner.planning import drops
from batchembed.runner.survey import Surveyed, survey


@click.command("plan")
@manifest_options
@state_option
@retry_option
@only_option
@limit_option
@format_option
def command(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    state_dir: str | None,
    retry: str | None,
    only: tuple[str, ...],
    limit: int | None,
    output_format: str,
) -> None:
    """Say what `run` would do. Probes and hashes what it has to; sends and writes nothing."""
    asked = read(manifest, overrides, engine)
    videos = chosen(asked.manifest.videos, only)
    require_output(asked)
    require_dataset_in_its_place(asked.manifest, state_dir)
    before = remembered(asked.manifest, state_dir)
    warn(before)
    require_retry(retry, before.entries.values())
    foreseen = _forecast(asked, before, retry=retry, only=videos, limit=limit)
    hosted = asked.manifest.engine.kind is EngineKind.TWELVELABS
    if output_format == "json":
        print_json(_as_dict(foreseen, hosted=hosted))
        return
    for each in foreseen.videos:
        why = f": {each.why}" if each.why else ""
        click.echo(printable(f"{each.action:9} {each.video_id}{why}"))
    click.echo(plan_line(foreseen, hosted=hosted))


def _forecast(
    asked: Read,
    before: Remembered,
    *,
    retry: str | None,
    only: Collection[VideoId],
    limit: int | None,
) -> Forecast:
    manifest = asked.manifest
    wanted = [video for video in manifest.videos if not only or video.video_id in only]

    def survey_one(video: Video) -> Surveyed:
        return survey(video, before.known, manifest, asked.profile)

    named = [video for video in wanted if video.skip is None]
    with concurrent.futures.ThreadPoolExecutor(manifest.concurrency.probes) as pool:
        found = dict(
            zip((video.video_id for video in named), pool.map(survey_one, named), strict=True)
        )
    planner = replace(
        before.planner(manifest, asked.profile, now=time.time()),
        retry=retry,
        limit=limit,
        named=_jobs(before.foresee(asked.manifest, asked.profile)) if only else (),
        dropped=drops(manifest, () if before.dataset is None else before.dataset.specs()),
    )
    return planner.forecast((video, found.get(video.video_id)) for video in wanted)


def _jobs(foreseen: Iterable[Foreseen]) -> frozenset[JobKey]:
    found = (each.found for each in foreseen)
    return frozenset(
        each.job.job_key for each in found if each is not None and each.job is not None
    )


def _as_dict(foreseen: Forecast, *, hosted: bool) -> dict[str, Any]:
    submit = foreseen.submit
    return {
        "version": 1,
        "counts": foreseen.counts,
        "minutes_to_submit": round(submit.video_sec / 60, 3),
        "submit": _amount(submit),
        "held_back": _amount(foreseen.held_back),
        "in_flight_unnamed": foreseen.unnamed,
        "requests": {"create": submit.tasks, "others": foreseen.others} if hosted else None,
        "cost": None
        if foreseen.cost is None
        else {
            "amount": foreseen.cost,
            "currency": foreseen.currency,
            "price_per_minute": foreseen.price_per_minute,
        },
        "days_at_quota": round(foreseen.lasts_s / DAY_S, 3),
        "videos": [
            {
                "video_id": each.video_id,
                "action": each.action,
                "why": each.why,
                "seconds": each.video_sec if each.action in {SUBMIT, HOLD_BACK} else None,
            }
            for each in foreseen.videos
        ],
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "videos": amount.tasks,
        "minutes": round(amount.video_sec / 60, 3),
        "unknown_length": amount.unmeasured,
    }

"""`batchembed failures`: every video that was rejected or failed, why, and the way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from batchembed.cli.options import format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.standing import class_of, moment, outcome_of, reasons_of
from batchembed.cli.state import remembered, warn
from batchembed.core.failures import FailureClass, is_transient, way_out
from batchembed.report.text import many, printable
from batchembed.runner.foresee import Foreseen


@click.command("failures")
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
    """List what was rejected or failed: class, code, the service's words, what to do.

    From what earlier runs left: opens no video, asks no service.
    """
    asked = read(manifest, overrides, engine)
    before = remembered(asked.manifest, state_dir)
    warn(before)
    told = failures(before.foresee(asked.manifest, asked.profile))
    if output_format == "json":
        print_json(told)
        return
    for line in _text(told):
        click.echo(printable(line))


def failures(foreseen: Sequence[Foreseen]) -> dict[str, Any]:
    """Everything that `failures` says, as `docs/json.md` describes it."""
    failed = [
        _failure(each, failure) for each in foreseen if (failure := class_of(each)) is not None
    ]
    return {
        "version": 1,
        "counts": Counter(line["class"] for line in failed),
        "unread": sum(each.outcome is None for each in foreseen),
        "failures": failed,
    }


def _failure(each: Foreseen, failure: FailureClass) -> dict[str, Any]:
    entry, reasons = each.entry, reasons_of(each)
    return {
        "video_id": each.video.video_id,
        "source": each.video.source.shown,
        "outcome": outcome_of(each),
        "class": str(failure),
        "transient": failure not in {FailureClass.REJECTED, FailureClass.LOST}
        and any(is_transient(reason.code) for reason in reasons),
        "reasons": [{**asdict(reason), "way_out": way_out(failure, reason)} for reason in reasons],
        "job_key": None if entry is None else entry.job_key,
        "task_id": None if entry is None else entry.task_id,
        "attempt": None if entry is None else entry.attempt,
        "since": None if entry is None else moment(entry.updated_at),
    }


def _text(told: Mapping[str, Any]) -> Iterator[str]:
    for line in told["failures"]:
        kind = f"{line['class']}, transient" if line["transient"] else line["class"]
        task = f" (task {line['task_id']})" if line["task_id"] else ""
        yield f"{line['video_id']}  {kind}{task}"
        for reason in line["reasons"]:
            yield f"    {reason['code']}: {reason['message']}"
            # A code's hint may say more than its way out, and says it of this very video.
            for way in dict.fromkeys(way for way in (reason["hint"], reason["way_out"]) if way):
                yield f"    -> {way}"
    if told["unread"]:
        n = told["unread"]
        yield f"{many(n, 'file')} {'is' if n == 1 else 'are'} not read yet: `batchembed validate` reads"
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(told["counts"].items()))
    yield f"failures: {counted or 'none'}"

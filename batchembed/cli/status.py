"""`batchembed status`: where every video stands, from the ledger alone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click

from batchembed.cli.options import format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.state import remembered
from batchembed.report.text import printable
from batchembed.runner.foresee import Foreseen, foresee


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
    """Show each video's state as earlier runs left it. Opens no video, asks no service."""
    asked = read(manifest, overrides, engine)
    before = remembered(asked.manifest, state_dir)
    foreseen = foresee(asked.manifest, asked.profile, before.entries, before.known)
    lines = [_line(each) for each in foreseen]
    counts = Counter(line["outcome"] for line in lines)
    record = None if before.dataset is None else before.dataset.last()
    dataset = {
        "path": asked.manifest.output.path,
        "record": None if record is None else record.number,
        "rows": 0 if record is None else record.rows,
    }
    if output_format == "json":
        print_json({"counts": counts, "dataset": dataset, "videos": lines})
        return
    for line in lines:
        details = [line["state"], line["task_id"], line["since"], line["why"]]
        told = "  ".join(str(detail) for detail in details if detail)
        click.echo(printable(f"{line['outcome']:9} {line['video_id']}  {told}".rstrip()))
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "no videos"
    what = "no dataset yet" if record is None else f"record {record.number}, {record.rows:,} rows"
    click.echo(f"status: {told}; {what} in {dataset['path']}")


def _line(each: Foreseen) -> dict[str, Any]:
    entry, found = each.entry, each.found
    reasons = () if found is None else found.reasons
    if entry is not None and entry.reason is not None:
        reasons = (*reasons, entry.reason)
    return {
        "video_id": each.video.video_id,
        "outcome": "new" if each.outcome is None else str(each.outcome),
        "state": None if entry is None else str(entry.state),
        "task_id": None if entry is None else entry.task_id,
        "since": None
        if entry is None
        else datetime.fromtimestamp(entry.updated_at, tz=UTC).isoformat(timespec="seconds"),
        "why": each.video.skip or "; ".join(reason.message for reason in reasons) or None,
    }

"""`batchembed gc`: removes what no current record of a dataset names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from batchembed.cli.options import dataset_argument, format_option
from batchembed.cli.problems import print_json
from batchembed.core.model import StoreOptions
from batchembed.dataset.garbage import Garbage, collect_garbage, list_garbage
from batchembed.dataset.places import storage_at
from batchembed.report.text import many, printable
from batchembed.store.lock import run_lock
from batchembed.stores.options import completed


@click.command("gc")
@dataset_argument("dataset")
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
@format_option
@click.pass_obj
def command(env: Mapping[str, str], *, dataset: str, dry_run: bool, output_format: str) -> None:
    """Remove from DATASET what its current record does not name.

    Parts, lists of videos and temporary files that interrupted publishes left. Every run does the
    same when it begins; files that batchembed did not make are never touched, and on a store none
    that is younger than an hour: a run may be about to publish it.
    """
    storage = storage_at(dataset, completed(StoreOptions(), env))
    if dry_run:
        found = list_garbage(storage)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            found = collect_garbage(storage, lock=run_lock, scratch=Path(scratch))
    if output_format == "json":
        print_json(_dict(found, storage.location, dry_run=dry_run))
        return
    for line in _text(found, storage.location, dry_run=dry_run):
        click.echo(printable(line))


def _dict(found: Garbage, path: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "version": 1,
        "dataset": {"path": path, "record": found.record},
        "dry_run": dry_run,
        "bytes": found.bytes,
        "files": [{"path": key, "bytes": size} for key, size in found.files],
        "young": [{"path": key, "bytes": size} for key, size in found.young],
        "run_at_work": found.at_work,
    }


def _text(found: Garbage, path: str, *, dry_run: bool) -> Iterator[str]:
    if found.record is None:
        named = f"{path} has no record yet"
    else:
        named = f"record {found.record} of {path} names everything else"
    if found.young:
        size = sum(size for _, size in found.young)
        named = (
            f"{many(len(found.young), 'file')}, {many(size, 'byte')}, that no record names may not "
            f"go yet: younger than an hour, a run may be about to publish "
            f"{'them' if found.young[1:] else 'it'}; run gc again in an hour; {named}"
        )
    if found.at_work:
        yield "note: a run is at work, so this may be off: what it is about to publish is listed too"
    for key, size in found.files:
        yield f"{size:>15,}  {key}"
    if not found.files:
        yield f"gc: nothing to remove{' yet' if found.young else ''}; {named}"
        return
    done = "would remove" if dry_run else "removed"
    yield f"gc: {done} {many(len(found.files), 'file')}, {many(found.bytes, 'byte')}; {named}"

"""`batchembed verify`: holds a dataset's files against its records, down to the last bit."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from batchembed.cli.options import format_option
from batchembed.cli.problems import print_json
from batchembed.core.model import StoreOptions
from batchembed.core.verification import Finding, Verification
from batchembed.dataset.places import storage_at
from batchembed.dataset.verification.sources import check_sources
from batchembed.dataset.verification.verify import Looked, verify
from batchembed.errors import ExitCode, InputMissingError, UsageError
from batchembed.report.text import many, printable
from batchembed.runner.cross_check import cross_check
from batchembed.store.home import state_home
from batchembed.store.inspect import InspectedLedger, inspect
from batchembed.stores.location import is_uri
from batchembed.stores.options import completed

#: Notices of one code: more are told in one line.
_ALIKE = 5


@click.command("verify")
@click.argument("dataset")
@click.option(
    "--deep", is_flag=True, help="Hash the source files again: needs --manifest or --sources."
)
@click.option(
    "--manifest",
    type=click.Path(dir_okay=False, readable=False),
    metavar="FILE",
    help="The manifest: its folder has the sources, and the ledger to compare with.",
)
@click.option(
    "--sources",
    type=click.Path(file_okay=False, readable=False),
    metavar="FOLDER",
    help="What the sources' relative paths are relative to, if not the manifest's folder.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, readable=False),
    metavar="FOLDER",
    help="Where the state is, if not in .batchembed beside the manifest, or beside the dataset.",
)
@format_option
@click.pass_obj
def command(
    env: Mapping[str, str],
    dataset: str,
    *,
    deep: bool,
    manifest: str | None,
    sources: str | None,
    state_dir: str | None,
    output_format: str,
) -> ExitCode:
    """Check all of DATASET, a folder or a URI; exit with 4, and say where, if anything is wrong.

    Records, parts, rows and vectors are held against each other and their sha256; no manifest and
    no ledger is needed. A ledger is compared where --manifest or --state-dir names one, or where
    one lies beside the dataset. Nothing is changed.
    """
    if not dataset:
        raise UsageError("DATASET is empty: name the folder of output.path, or its URI")
    if deep and manifest is None and sources is None:
        raise UsageError("--deep needs to know where the sources are: give --manifest or --sources")
    for named in (manifest, sources, state_dir):
        if named is not None and not os.path.exists(named):  # noqa: PTH110  False where it may not be looked at
            raise InputMissingError(f"{named} can't be found: correct the path")
    storage = storage_at(dataset, completed(StoreOptions(), env))
    began = time.monotonic()
    with progress_on(sys.stderr) as shown:
        looked = verify(storage, shown("parts"))
        if deep:
            folder = Path(sources) if sources is not None else Path(manifest or "").parent
            looked = _deep(looked, folder, shown("sources"))
    ledger = _ledger(dataset, manifest, state_dir, looked.verification.dataset_id)
    if ledger is not None:
        is_named = manifest is not None or state_dir is not None
        inspected = inspect(ledger)
        if inspected is not None:
            about = _about_ledger(looked, ledger, inspected, is_named=is_named)
            looked = _with(looked, about)
        elif is_named:
            looked = _with(looked, [_no_ledger(ledger)])
        ledger = None if inspected is None or inspected.unread is not None else ledger
    found, elapsed_s = looked.verification, time.monotonic() - began
    if output_format == "json":
        print_json(verification_dict(found, storage.location, ledger, elapsed_s=elapsed_s))
    else:
        for line in _text(found, storage.location, ledger, elapsed_s=elapsed_s):
            click.echo(printable(line))
    return ExitCode.DIFFERENCE if found.faults else ExitCode.OK


def verification_dict(
    found: Verification, location: str, ledger: Path | None, *, elapsed_s: float
) -> dict[str, Any]:
    """Everything that `verify` says, as `docs/json.md` describes it."""
    return {
        "version": 1,
        "dataset": {
            "path": location,
            "dataset_id": found.dataset_id,
            "model_name": found.model_name,
            "record": found.record,
        },
        "checked": {**asdict(found.checked), "ledger": None if ledger is None else str(ledger)},
        "elapsed_s": round(elapsed_s, 3),
        "faults": [_dict(each) for each in found.faults],
        "notices": [_dict(each) for each in found.notices],
    }


def _dict(finding: Finding) -> dict[str, Any]:
    told = asdict(finding)
    del told["is_fault"]
    return told


def _deep(looked: Looked, folder: Path, progress: Callable[[int, int], None]) -> Looked:
    found = check_sources(looked.specs, folder, progress)
    checked = replace(looked.verification.checked, sources=found.hashed, sources_known=found.known)
    verification = replace(looked.verification, checked=checked)
    return _with(replace(looked, verification=verification), found.findings)


def _with(looked: Looked, more: Iterable[Finding]) -> Looked:
    verification = looked.verification
    findings = (*verification.findings, *more)
    return replace(looked, verification=replace(verification, findings=findings))


def _ledger(
    dataset: str, manifest: str | None, state_dir: str | None, dataset_id: str | None
) -> Path | None:
    """Where the ledger of the dataset is, if it has one; None where nothing says so."""
    if dataset_id is None:
        return None
    beside = manifest
    if beside is None and not is_uri(dataset):
        beside = str(Path(dataset).absolute())
    if beside is None and state_dir is None:
        return None
    return state_home(beside or "", state_dir, dataset_id).ledger


def _no_ledger(ledger: Path) -> Finding:
    return Finding(
        code="ledger_missing",
        file=str(ledger),
        message="there is no ledger of this dataset: none was compared",
        is_fault=False,
    )


def _about_ledger(
    looked: Looked, ledger: Path, inspected: InspectedLedger, *, is_named: bool
) -> Iterator[Finding]:
    for fault in inspected.faults:
        yield Finding(
            code="ledger_damaged",
            file=str(ledger),
            message=fault,
            hint="keep a copy of it, for it knows what was paid for, and restore it from a backup; "
            "where there is none, move it aside: the next run takes from the dataset what that has",
        )
    if inspected.unread is not None:
        yield Finding(
            code="ledger_unread",
            file=str(ledger),
            message=f"it was not compared: {inspected.unread}",
            is_fault=False,
        )
    if inspected.entries is not None:
        number = looked.verification.record or 0
        yield from cross_check(
            str(ledger), inspected.entries, looked.specs, number, is_named=is_named
        )


def _text(
    found: Verification, location: str, ledger: Path | None, *, elapsed_s: float
) -> Iterator[str]:
    yield from map(str, found.faults)
    told: Counter[str] = Counter()
    for notice in found.notices:
        told[notice.code] += 1
        if told[notice.code] <= _ALIKE:
            yield str(notice)
    for code, count in told.items():
        if count > _ALIKE:
            yield f"notice: and {count - _ALIKE} more [{code}]"
    checked = found.checked
    counted = [many(checked.records, "record"), many(checked.parts, "part")]
    counted += [many(checked.rows, "row"), many(checked.bytes, "byte")]
    if checked.sources_known:
        counted.append(f"{checked.sources} of {many(checked.sources_known, 'source')}")
    if ledger is not None:
        counted.append("the ledger")
    verdict = many(len(found.faults), "fault") if found.faults else "sound"
    yield f"verify: {verdict}: {', '.join(counted)} checked in {elapsed_s:.1f} s; {location}"


@contextlib.contextmanager
def progress_on(stream: TextIO) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """What shows, at a terminal, how far each step is."""
    if not stream.isatty():
        yield lambda _: lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, console=Console(file=stream), transient=True) as bars:

        def step(what: str) -> Callable[[int, int], None]:
            task = bars.add_task(what, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield step

"""`batchembed run`: carry a manifest as far as it goes, and say how far that was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from batchembed.cli.options import Read, format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.progress import listener_for
from batchembed.cli.services import open_service, require_service
from batchembed.cli.streams import quietly
from batchembed.cli.versions import engine_facts
from batchembed.core.model import EngineKind, Manifest
from batchembed.core.run_report import RunReport
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.errors import ExitCode, SignalledError
from batchembed.report.as_json import report_dict
from batchembed.report.text import summary
from batchembed.runner import run as runner
from batchembed.runner.listen import Listener
from batchembed.store.home import Home, make_home, state_home


@click.command("run")
@manifest_options
@state_option
@click.option(
    "--retry", type=click.Choice(["failed"]), help="Submit failed and lost videos once more."
)
@format_option
@click.pass_obj
def command(
    env: Mapping[str, str],
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    state_dir: str | None,
    retry: str | None,
    output_format: str,
) -> int:
    """Submit what is owed, wait for it, and publish the dataset. Run it again at any time."""
    asked = read(manifest, overrides, engine)
    key = require_service(asked.manifest, env)
    dataset, warnings = _open_dataset(asked)
    home = state_home(asked.manifest.file, state_dir, dataset.dataset_id)
    make_home(home)
    with listener_for(sys.stderr) as listener:
        report = asyncio.run(
            _run(
                asked,
                dataset,
                home,
                listener,
                open_service=functools.partial(open_service, asked.manifest, home, key),
                retry_failed=retry == "failed",
                warnings=warnings,
            )
        )
    _keep(report, home)
    with quietly(sys.stdout):
        if output_format == "json":
            print_json(report_dict(report))
        else:
            click.echo(summary(report, python=sys.executable), nl=False)
    return report.exit_code


def _open_dataset(asked: Read) -> tuple[Dataset, tuple[str, ...]]:
    manifest = asked.manifest
    identity = DatasetIdentity(
        model_name=manifest.model_name,
        dimension=asked.profile.dimension,
        engine=_engine(manifest),
    )
    root = Path(manifest.output.path)
    dataset = Dataset.open_or_create(root, identity=identity, new_id=lambda: secrets.token_hex(16))
    differing = dataset.engine_differences
    warnings = (
        (
            (
                f"the dataset was begun with another {', '.join(differing)}: new vectors may differ in "
                "their last bits from those in it"
            ),
        )
        if differing
        else ()
    )
    return dataset, warnings


def _engine(manifest: Manifest) -> dict[str, str]:
    if manifest.engine.kind is EngineKind.LOCAL:
        return engine_facts()
    return {"base_url": manifest.engine.base_url or ""}


async def _run(
    asked: Read,
    dataset: Dataset,
    home: Home,
    listener: Listener,
    *,
    open_service: runner.ServiceOpener,
    retry_failed: bool,
    warnings: tuple[str, ...],
) -> RunReport:
    stop = asyncio.Event()
    with _draining(stop) as signals:
        report = await runner.run(
            runner.Setting(
                manifest=asked.manifest,
                profile=asked.profile,
                dataset=dataset,
                home=home,
                open_service=open_service,
                listener=listener,
                clock=time.time,
                stop=stop,
                retry_failed=retry_failed,
                warnings=warnings,
            )
        )
    return replace(report, exit_code=ExitCode(128 + signals[0])) if signals else report


@contextlib.contextmanager
def _draining(stop: asyncio.Event) -> Iterator[list[int]]:
    """SIGINT and SIGTERM drain the run; a second one ends it at once."""
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    received: list[int] = []

    def take(number: int) -> None:
        received.append(number)
        if len(received) > 1 and running is not None:
            running.cancel()
        stop.set()

    handled = (signal.SIGINT, signal.SIGTERM)
    for number in handled:
        loop.add_signal_handler(number, take, number)
    try:
        yield received
    except asyncio.CancelledError:
        if not received:
            raise
        raise SignalledError(received[0]) from None
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _keep(report: RunReport, home: Home) -> None:
    """Leave the report in the state folder, under the run's time."""
    name = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%fZ.json")
    try:
        (home.runs / name).write_bytes(msgspec.json.encode(report_dict(report)))
    except OSError as error:  # the run itself is done, and what it did is in ledger and dataset
        click.echo(f"batchembed: the report can't be kept in {home.runs}: {error}", err=True)

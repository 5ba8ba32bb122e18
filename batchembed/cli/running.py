"""Runs the loop in a process: its signals, its dataset, its names."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from batchembed.cli.options import Read
from batchembed.cli.state import require_dataset_in_its_place
from batchembed.cli.versions import engine_facts
from batchembed.core.model import EngineKind, Manifest
from batchembed.core.run_report import RunReport
from batchembed.dataset.identity import require_usable
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.errors import ExitCode, SignalledError
from batchembed.runner.listen import Listener, Warned
from batchembed.runner.run import run
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import Stop


def new_run_id(now: float) -> str:
    """A run's name: its beginning in UTC, and six hex digits, such as 20261126T021000Z-1a2b3c."""
    began = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{began}-{secrets.token_hex(3)}"


def open_dataset(asked: Read, state_dir: str | None) -> tuple[Dataset, tuple[str, ...]]:
    """The manifest's dataset, made where there is none, and what to warn of.

    Raises:
        OutputRefusedError, StorageError: it can't be used.
        UsageError: what its object store needs is not installed.
    """
    manifest = asked.manifest
    require_dataset_in_its_place(manifest, state_dir)
    identity = DatasetIdentity(
        model_name=manifest.model_name,
        dimension=asked.profile.dimension,
        engine=_engine(manifest),
    )
    dataset = Dataset.open_or_create(
        storage_at(manifest.output.path, manifest.stores),
        identity=identity,
        new_id=lambda: secrets.token_hex(16),
    )
    differing = dataset.engine_differences
    if not differing:
        return dataset, ()
    return dataset, (
        (
            f"the dataset was begun with another {', '.join(differing)}: new vectors may differ in "
            "their last bits from those in it"
        ),
    )


def paid_place(manifest: Manifest) -> str | None:
    """Where a dataset is whose tasks cost money; None where they are free."""
    return None if manifest.engine.kind is EngineKind.LOCAL else manifest.output.path


def require_output(asked: Read) -> None:
    """See that a run would take the manifest's output. Nothing is changed there.

    Raises:
        OutputRefusedError, StorageError: it would not.
        UsageError: what its object store needs is not installed.
    """
    manifest = asked.manifest
    identity = DatasetIdentity(
        model_name=manifest.model_name, dimension=asked.profile.dimension, engine={}
    )
    require_usable(storage_at(manifest.output.path, manifest.stores), identity)


def _engine(manifest: Manifest) -> dict[str, str]:
    if manifest.engine.kind is EngineKind.LOCAL:
        return engine_facts()
    return {"base_url": manifest.engine.base_url or ""}


async def drained(make: Callable[[Stop], Setting], listener: Listener) -> RunReport:
    """Run the setting that `make` gives for an event; SIGINT and SIGTERM set it, and are told.

    Raises:
        SignalledError: a second signal ended the run at once.
    """
    stop = Stop()
    with _draining(stop, listener) as signals:
        report = await run(make(stop))
    if not signals:
        return report
    why = f"{signal.Signals(signals[0]).name}: the run drained; run again to go on"
    return replace(report, exit_code=ExitCode(128 + signals[0]), halted=report.halted or why)


@contextlib.contextmanager
def _draining(stop: Stop, listener: Listener) -> Iterator[list[int]]:
    """SIGINT and SIGTERM drain the run; a second one ends it at once."""
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    received: list[int] = []

    def take(number: int) -> None:
        received.append(number)
        if len(received) > 1 and running is not None:
            running.cancel()
        elif len(received) == 1:
            words = "draining: nothing more is submitted; another signal ends the run at once"
            listener.notice(Warned(message=words))
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

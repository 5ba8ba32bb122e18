"""The launcher of runs, altered: defects that tests must catch, and runs under strace.

Begun in place of `tests.support.forking`, by `altered()` as what is `inside` a launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchembed.cli import run, running
from batchembed.cli.options import Read
from batchembed.core.run_report import RunReport
from batchembed.dataset.files import Files
from batchembed.errors import LedgerError
from batchembed.runner import opening
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.support import forking
from tests.support.forking import Order

#: Variables of a traced run: strace's arguments as JSON, and the id of a dataset that it makes.
TRACE, DATASET = "TORTURE_TRACE", "TORTURE_DATASET"
STRACE = ("strace",)


def altered(*names: str) -> tuple[str, ...]:
    """What a launcher is to be inside of, to be altered."""
    return ("sh", "-c", 'exec "$2" -m tests.torture.altered "$1"', "sh", ",".join(names))


def _careless_ledger() -> None:
    """The popular setting of SQLite, under which a power cut loses transactions."""
    begin = SqliteLedger.__init__

    def careless(ledger: SqliteLedger, *args: Any, **kwargs: Any) -> None:
        begin(ledger, *args, **kwargs)
        ledger._db.execute("PRAGMA journal_mode = WAL")
        ledger._db.execute("PRAGMA synchronous = NORMAL")

    setattr(SqliteLedger, "__init__", careless)  # noqa: B010  a method, for all others


def _careless_folders() -> None:
    """No folder is synced: a file is on the disk, and its name may not be.

    Nor is a lock file left after the record: to sync it would bring every name to its disk.
    """

    def careless(_files: Files, _path: Path) -> None:
        pass

    def unlocked(_asked: Read, report: RunReport, _record: object) -> RunReport:
        return report

    setattr(Files, "sync_folder", careless)  # noqa: B010  a method, for all others
    setattr(run, "leave_lock", unlocked)  # noqa: B010  as above


def _deaf_ledger() -> None:
    """A transaction that failed is taken for done, and so is a move that finds nothing to move.

    What it lacks is not taken from the dataset's record either, which would mend it.
    """
    batch, move = SqliteLedger.batch, SqliteLedger.move

    def deaf(ledger: SqliteLedger, calls: list[Callable[[], None]]) -> None:
        with contextlib.suppress(LedgerError):
            batch(ledger, calls)

    def blind(ledger: SqliteLedger, *args: Any, **kwargs: Any) -> bool:
        return move(ledger, *args, **kwargs) or True

    async def unaware(*_args: object, **_more: object) -> None:
        pass

    setattr(opening, "recall", unaware)  # noqa: B010  a function, for all others
    setattr(SqliteLedger, "batch", deaf)  # noqa: B010  a method, for all others
    setattr(SqliteLedger, "move", blind)  # noqa: B010  a method, for all others


def _traced() -> None:
    """Runs that strace is attached to before they begin, where their environment says so."""
    be = forking._be

    def be_traced(order: Order) -> None:
        if TRACE in order.env:
            _attach(json.loads(order.env[TRACE]))
        if DATASET in order.env:
            made = SimpleNamespace(token_hex=lambda size: order.env[DATASET][: 2 * size])
            setattr(running, "secrets", made)  # noqa: B010  a module, for all others
        be(order)

    setattr(forking, "_be", be_traced)  # noqa: B010  a function, for all others


def _attach(arguments: list[str]) -> None:
    """Have this process traced; it goes on when it is."""
    tracer = subprocess.Popen(
        [*STRACE, "-f", "-qq", *arguments, "-p", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    tick = threading.Event()
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text(encoding="utf-8"):
        if tracer.poll() is not None:
            raise AssertionError("strace ended at once")
        tick.wait(0.002)


ALTERATIONS: dict[str, Callable[[], None]] = {
    "careless ledger": _careless_ledger,
    "careless folders": _careless_folders,
    "deaf ledger": _deaf_ledger,
    "traced": _traced,
}

if __name__ == "__main__":
    for name in filter(None, sys.argv[1].split(",")):
        ALTERATIONS[name]()
    forking._warm_up()
    print("ready", flush=True)  # noqa: T201  to whoever started it
    forking._Server().serve()

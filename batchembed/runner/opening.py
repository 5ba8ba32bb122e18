"""Opens, under the locks, what a verb works with that may change ledger and dataset."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from batchembed.core.model import EngineKind, JobKey, TaskId, VideoId
from batchembed.core.states import Entry
from batchembed.errors import LedgerError
from batchembed.runner.book import Book
from batchembed.runner.crew import Crew, assemble
from batchembed.runner.heal import heal
from batchembed.runner.holdings import Holdings
from batchembed.runner.listen import Warned
from batchembed.runner.observe import Observer
from batchembed.runner.recall import Lack, recall
from batchembed.runner.setting import Setting
from batchembed.runner.writing import Writing
from batchembed.store.ledger import Beginning, KnownFile, Ledger
from batchembed.store.ledger_thread import LedgerThread
from batchembed.store.lock import run_lock

#: Threads that write: one publishes, others stage.
_WRITERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A crew at work, and what the ledger knows besides its entries."""

    crew: Crew
    observer: Observer
    known: dict[str, KnownFile]  #: by path
    names: dict[JobKey, VideoId]  #: a video of each job
    write: Writing
    warnings: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def opened(setting: Setting) -> AsyncIterator[Opened]:
    """The locks held, an interrupted publish ended, the ledger in step, the service open.

    Raises:
        LockedError: another run holds the state folder, or the dataset from elsewhere.
        StorageError: ledger, staging or dataset can't be written; what is committed stays.
    """
    with (
        run_lock(setting.home.lock),
        setting.dataset.storage.hold(run_lock),
        # A thread that writes outlives whoever is cancelled: the locks are held until it has ended.
        ThreadPoolExecutor(_WRITERS, thread_name_prefix="writing") as writers,
    ):
        write = Writing(writers)
        await write(setting.home.sweep)
        await write(functools.partial(setting.dataset.finish_interrupted, setting.home.staging))
        _require_ledger(setting)
        async with LedgerThread(setting.home.ledger, run_id=setting.run_id) as ledger:
            entries, task_ids, known, names, beginning = await ledger.do(_everything)
            lack = await recall(
                ledger,
                setting.dataset,
                entries,
                beginning,
                hosted=_is_hosted(setting),
                now=setting.clock(),
                write=write,
            )
            if lack is not None:
                entries, task_ids, known, names, _ = await ledger.do(_everything)
            warnings = _told(setting, lack)
            book = Book(ledger, entries, task_ids, clock=setting.clock)
            holdings = Holdings(dataset=setting.dataset, staging=setting.home.staging)
            await heal(book, holdings, setting.manifest, write)
            observer = Observer(monotonic=setting.monotonic)
            async with setting.open_service(observer) as service:
                crew = await assemble(setting, service, book, observer, write)
                yield Opened(
                    crew=crew,
                    observer=observer,
                    known=known,
                    names=names,
                    write=write,
                    warnings=warnings,
                )


def _everything(
    ledger: Ledger,
) -> tuple[
    dict[JobKey, Entry],
    frozenset[TaskId],
    dict[str, KnownFile],
    dict[JobKey, VideoId],
    Beginning | None,
]:
    return (
        ledger.entries(),
        ledger.task_ids(),
        ledger.files(),
        ledger.names(),
        ledger.beginning(),
    )


def _is_hosted(setting: Setting) -> bool:
    return setting.manifest.engine.kind is not EngineKind.LOCAL


def _told(setting: Setting, lack: Lack | None) -> tuple[str, ...]:
    """Say at once what the ledger lacked: what follows may take its time."""
    line = None if lack is None else lack.told(hosted=_is_hosted(setting))
    if line is None:
        return ()
    setting.listener.notice(Warned(message=line))
    return (line,)


def _require_ledger(setting: Setting) -> None:
    """Refuse to go on where a ledger that knew more may still be had."""
    path, record = setting.home.ledger, setting.dataset.last()
    if record is None or not record.rows:
        return
    if path.exists() and path.stat().st_size == 0:
        raise LedgerError(
            f"the ledger {path} is empty, and the dataset is not. It knew which tasks were paid "
            "for: restore the file from a backup; where there is none, remove it, and the next run "
            "takes what is committed from the dataset, and looks for the rest at the service"
        )

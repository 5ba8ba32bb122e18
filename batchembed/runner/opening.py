"""Opens, under the locks, what a verb works with that may change ledger and dataset."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from batchembed.core.model import EngineKind, JobKey, VideoId
from batchembed.errors import LedgerError
from batchembed.runner.book import Book
from batchembed.runner.crew import Crew, assemble
from batchembed.runner.heal import heal
from batchembed.runner.observe import Observer
from batchembed.runner.setting import Setting
from batchembed.runner.writing import Writing
from batchembed.store.ledger import KnownFile
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
            entries, task_ids, known, names = await ledger.do(
                lambda open_ledger: (
                    open_ledger.entries(),
                    open_ledger.task_ids(),
                    open_ledger.files(),
                    open_ledger.names(),
                )
            )
            book = Book(ledger, entries, task_ids, clock=setting.clock)
            await heal(book, setting.dataset, setting.home.staging, write)
            observer = Observer(monotonic=setting.monotonic)
            async with setting.open_service(observer) as service:
                crew = await assemble(setting, service, book, observer, write)
                yield Opened(crew=crew, observer=observer, known=known, names=names, write=write)


def _require_ledger(setting: Setting) -> None:
    """Refuse to go on without what knew that the dataset's rows were paid for."""
    path, record = setting.home.ledger, setting.dataset.last()
    if record is None or not record.rows or setting.new_ledger:
        return
    if path.exists() and path.stat().st_size == 0:
        raise LedgerError(
            f"the ledger {path} is empty, and the dataset is not. It knew which tasks were paid "
            "for: restore the file, rather than delete it"
        )
    if not path.exists() and setting.manifest.engine.kind is not EngineKind.LOCAL:
        raise LedgerError(
            f"there is no ledger {path}, and the dataset has {record.rows:,} rows. It knew which "
            "tasks were paid for: name its folder with --state-dir, or begin a new one with "
            "--new-ledger, which pays for every video once more"
        )

"""What a verb that only looks may know of a dataset and its ledger: it makes neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from batchembed.core.model import JobKey, Manifest, VideoId
from batchembed.core.quota import Charge
from batchembed.core.states import Entry
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset
from batchembed.errors import StorageError
from batchembed.store.home import state_home
from batchembed.store.ledger import Block, KnownFile, LedgerMove
from batchembed.store.sqlite_ledger import SqliteLedger

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What earlier runs left; empty where there was none."""

    dataset: Dataset | None = None
    entries: dict[JobKey, Entry] = field(default_factory=dict)
    known: dict[str, KnownFile] = field(default_factory=dict)
    charges: tuple[Charge, ...] = ()  #: the oldest first
    block: Block | None = None  #: until when the service takes no creates, as it said
    names: dict[JobKey, VideoId] = field(default_factory=dict)  #: a video of each job
    ledger: Path | None = None

    def history(self, key: JobKey) -> tuple[LedgerMove, ...]:
        """Every move of a job, in order; read from the ledger when it is asked for.

        Raises:
            StorageError: it can't be read.
        """
        return () if self.ledger is None else _look(self.ledger, lambda ledger: ledger.history(key))

    def jobs_of(self, video_id: str) -> tuple[JobKey, ...]:
        """The jobs that a video has been, the oldest first.

        Raises:
            StorageError: they can't be read.
        """
        if self.ledger is None:
            return ()
        return _look(self.ledger, lambda ledger: ledger.jobs_of(VideoId(video_id)))


def remembered(manifest: Manifest, state_dir: str | None) -> Remembered:
    """Read the ledger of a manifest's dataset, without a lock and without a change.

    Raises:
        StorageError: ledger or dataset can't be read.
    """
    try:
        dataset = Dataset.find(storage_at(manifest.output.path))
        if dataset is None:
            return Remembered()
        ledger = state_home(manifest.file, state_dir, dataset.dataset_id).ledger
        if not ledger.exists():
            return Remembered(dataset=dataset)
    except OSError as error:
        raise StorageError(f"{error.filename} can't be read: {error.strerror}") from error
    return remembered_at(ledger, dataset)


def remembered_at(ledger: Path, dataset: Dataset) -> Remembered:
    """What a ledger that is there remembers of a dataset.

    Raises:
        StorageError: it can't be read.
    """
    return _look(
        ledger,
        lambda opened: Remembered(
            dataset=dataset,
            entries=opened.entries(),
            known=opened.files(),
            charges=opened.charges(),
            block=opened.block(),
            names=opened.names(),
            ledger=ledger,
        ),
    )


def _look(path: Path, ask: Callable[[SqliteLedger], T]) -> T:
    ledger = SqliteLedger(path, read_only=True)
    try:
        return ask(ledger)
    finally:
        ledger.close()

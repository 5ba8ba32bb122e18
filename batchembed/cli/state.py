"""What a verb that only looks may know of a dataset and its ledger: it makes neither."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batchembed.core.model import JobKey, Manifest
from batchembed.core.states import Entry
from batchembed.dataset.publish import Dataset
from batchembed.errors import StorageError
from batchembed.store.home import state_home
from batchembed.store.ledger import KnownFile, SqliteLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What earlier runs left; empty where there was none."""

    dataset: Dataset | None = None
    entries: dict[JobKey, Entry] = field(default_factory=dict)
    known: dict[str, KnownFile] = field(default_factory=dict)


def remembered(manifest: Manifest, state_dir: str | None) -> Remembered:
    """Read the ledger of a manifest's dataset, without a lock and without a change.

    Raises:
        StorageError: ledger or dataset can't be read.
    """
    try:
        dataset = Dataset.find(Path(manifest.output.path))
        if dataset is None:
            return Remembered()
        home = state_home(manifest.file, state_dir, dataset.dataset_id)
        if not home.ledger.exists():
            return Remembered(dataset=dataset)
    except OSError as error:
        raise StorageError(f"{error.filename} can't be read: {error.strerror}") from error
    ledger = SqliteLedger(home.ledger, read_only=True)
    try:
        return Remembered(dataset=dataset, entries=ledger.entries(), known=ledger.files())
    finally:
        ledger.close()

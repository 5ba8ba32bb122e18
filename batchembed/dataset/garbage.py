"""What no current record names: it is listed, and removed by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchembed.dataset.identity import no_dataset
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import Record, record_before
from batchembed.dataset.storage import Lock, Storage
from batchembed.dataset.sweep import foresee_sweep, has_sha256, unnamed, waiting_key
from batchembed.errors import StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What was found in a dataset, in the order in which it goes. Files are (key, bytes)."""

    record: int | None  #: that names none of it; None: there is no record
    files: tuple[tuple[str, int], ...]
    #: That stay for now: younger than an hour, they may be the work of a run unseen.
    young: tuple[tuple[str, int], ...]
    at_work: bool = False  #: a run was, as far as can be known: its files are among these

    @property
    def bytes(self) -> int:
        """Of all that goes."""
        return sum(size for _, size in self.files)


def collect_garbage(storage: Storage, *, lock: Lock, scratch: Path) -> Garbage:
    """Remove what no current record names, and give it. No run goes on meanwhile.

    An interrupted publish is ended as any run would end it. Names that batchembed does not give
    are left alone.

    Args:
        storage: where the dataset is.
        lock: holds a local file.
        scratch: a folder where a run might have left parts of a dataset that is no folder.

    Raises:
        InputMissingError: there is no dataset.
        LockedError: a run is at work on it.
        DatasetError: its records are damaged, or gone: nothing was removed.
        StorageError: it can't be read or written.
    """
    with _told(storage):
        _dataset(storage)
    try:
        storage.require_writable()
    except OSError as error:
        raise StorageError(
            f"nothing can be removed from {storage.location}: {error.strerror or error}; "
            "`gc --dry-run` lists what no record names"
        ) from error
    with storage.hold(lock), _told(storage):
        # Only now: a run may have ended since.
        dataset = _dataset(storage)
        record = dataset.last()
        before = record_before(storage, record)
        sides = _own_side_files(storage, record)
        going = (key for key in unnamed(storage, record, before) if key not in sides)
        sizes = storage.sizes(list(going))
        dataset.finish_interrupted(scratch)
        young = [key for key, _ in foresee_sweep(storage, record, before)]
        return _garbage(record, sizes, storage.sizes(young))


def list_garbage(storage: Storage) -> Garbage:
    """What `collect_garbage` would find. Nothing is written, and a run may go on meanwhile.

    Raises:
        InputMissingError: there is no dataset.
        DatasetError: its records are damaged, or gone.
        StorageError: it can't be read.
    """
    with _told(storage):
        dataset = _dataset(storage)
        at_work = storage.is_held() is True
        record = dataset.last()
        sides = _own_side_files(storage, record)
        found = foresee_sweep(storage, record, record_before(storage, record))
        sizes = storage.sizes([key for key, is_young in found if not is_young and key not in sides])
        young = storage.sizes([key for key, is_young in found if is_young and key not in sides])
        return _garbage(record, sizes, young, at_work=at_work or storage.is_held() is True)


def _dataset(storage: Storage) -> Dataset:
    dataset = Dataset.find(storage)
    if dataset is None:
        raise no_dataset(storage)
    return dataset


def _garbage(
    record: Record | None, files: dict[str, int], young: dict[str, int], *, at_work: bool = False
) -> Garbage:
    return Garbage(
        record=None if record is None else record.number,
        files=tuple(files.items()),
        young=tuple(young.items()),
        at_work=at_work,
    )


def _own_side_files(storage: Storage, record: Record | None) -> set[str]:
    """Those of the record that wait for their names: they get them once its publish is ended."""
    waiting = (
        (waiting_key(name, sha256), sha256)
        for name, sha256 in (() if record is None else record.side_files)
    )
    return {key for key, sha256 in waiting if has_sha256(storage, key, sha256)}


@contextlib.contextmanager
def _told(storage: Storage) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{storage.location} can't be read or written: {error.strerror or error}; see to its "
            "disk and its permissions, and run again"
        ) from error

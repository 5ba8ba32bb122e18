"""What no current record names: it is listed, and removed by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import Record, record_before
from batchembed.dataset.storage import Lock, Storage
from batchembed.dataset.sweep import is_right, unnamed, waiting_key
from batchembed.errors import InputMissingError, StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What was found in a dataset, in the order in which it goes."""

    record: int | None  #: that names none of it; None: there is no record
    files: tuple[tuple[str, int], ...]  #: (key, bytes)

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(size for _, size in self.files)


def collect_garbage(storage: Storage, *, lock: Lock, scratch: Path, dry_run: bool) -> Garbage:
    """Find, and unless `dry_run` remove, what no current record names. No run goes on meanwhile.

    An interrupted publish is ended as any run would end it. Names that batchembed does not give
    are left alone.

    Args:
        storage: where the dataset is.
        lock: holds a local file.
        scratch: a folder where a run might have left parts of a dataset that is no folder.
        dry_run: only look.

    Raises:
        InputMissingError: there is no dataset.
        LockedError: a run is at work on it.
        DatasetError: its records are damaged, or gone: nothing was removed.
        StorageError: it can't be read or written.
    """
    with _told(storage):
        if Dataset.find(storage) is None:
            raise InputMissingError(
                f"{storage.location} is no dataset of batchembed: name what a manifest has as "
                "output.path"
            )
    with storage.hold(lock), _told(storage):
        # Only now: a run may have ended since.
        dataset = Dataset.find(storage)
        record = None if dataset is None else dataset.last()
        sizes = storage.sizes(_unnamed(storage, record))
        if dataset is not None and not dry_run:
            dataset.finish_interrupted(scratch)
    return Garbage(record=None if record is None else record.number, files=tuple(sizes.items()))


def _unnamed(storage: Storage, record: Record | None) -> list[str]:
    """Without the record's own side files, which have their final names once it is ended."""
    sides = () if record is None else record.side_files
    own = {
        waiting
        for name, sha256 in sides
        if is_right(storage, waiting := waiting_key(name, sha256), sha256)
    }
    found = unnamed(storage, record, record_before(storage, record))
    return [key for key in found if key not in own]


@contextlib.contextmanager
def _told(storage: Storage) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{storage.location} can't be read or written: {error.strerror or error}; see to its "
            "disk and its permissions, and run again"
        ) from error

"""Ends a publish after its record exists, also one that was interrupted: every step may be redone."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from batchembed.dataset.files import Files, sha256_of_file
from batchembed.dataset.record import Record, part_name
from batchembed.dataset.storage import GROUPS, INCOMING, META, Storage

_PART = re.compile(r"(.+/)?part-[0-9a-f]{16}\.parquet")
_GROUP = re.compile(rf"{GROUPS}/group-[0-9a-f]{{16}}\.json")
#: Of a part that has no name yet; of a file on its way to its name, or that waits for its record.
_TEMPORARY = re.compile(r"(group-\d+-\d+|.+\.[0-9a-f]{8}([0-9a-f]{8})?)\.tmp")


def clear_incoming(storage: Storage) -> None:
    """Remove the temporary files of a publish that has no record."""
    with contextlib.suppress(FileNotFoundError):
        for name in filter(_TEMPORARY.fullmatch, storage.names(INCOMING)):
            storage.remove(f"{INCOMING}/{name}")


def clear_scratch(scratch: Path, files: Files) -> None:
    """Remove the parts of a publish that have no name yet."""
    if scratch.is_dir():
        for path in scratch.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                files.remove(path)


def waiting_key(name: str, sha256: str) -> str:
    """Where a side file is until its record exists."""
    return f"{INCOMING}/{name}.{sha256[:16]}.tmp"


def has_sha256(storage: Storage, key: str, sha256: str) -> bool:
    """Whether the file is there and has these bytes."""
    try:
        return hashlib.sha256(storage.read(key)).hexdigest() == sha256
    except FileNotFoundError:
        return False


def write_side_files(storage: Storage, side_files: Mapping[str, tuple[str, bytes]]) -> None:
    """Write side files, each `(sha256, content)`, under the temporary names of the next record."""
    for name, (sha256, content) in side_files.items():
        if not has_sha256(storage, f"{META}/{name}", sha256):
            storage.put(waiting_key(name, sha256), content)


def place_side_files(storage: Storage, record: Record) -> None:
    """Give the side files of a record their final names, where they still have temporary ones."""
    moved = False
    for name, sha256 in record.side_files:
        waiting = waiting_key(name, sha256)
        # A publish that ended before its record may have left one of other bytes.
        if has_sha256(storage, waiting, sha256):
            storage.move(waiting, f"{META}/{name}")
            moved = True
    if moved:
        storage.settle([META])


def sweep(storage: Storage, record: Record | None, before: Record | None = None) -> tuple[str, ...]:
    """Remove what no record names: temporary files, parts, group files, empty partitions.

    Only names that batchembed gives are touched, in the partitions of this dataset; in others,
    which an interrupted publish may have left, only parts whose bytes are what their name says.

    Args:
        storage: where the dataset is.
        record: the last one.
        before: the one before it. What that alone names goes at once, also from a store.

    Returns:
        The keys of what was removed.
    """
    removed = unnamed(storage, record, before)
    for key in removed:
        storage.remove(key)
    ours = _partition_keys(record, before)
    storage.prune(ours.union(*map(_keys_above, removed)))
    return removed


def unnamed(
    storage: Storage, record: Record | None, before: Record | None = None
) -> tuple[str, ...]:
    """The keys of what `sweep` would remove."""
    found = _unnamed(storage, record, before, exact=True)
    return tuple(key for key, is_young in found if not is_young)


def foresee_sweep(
    storage: Storage, record: Record | None, before: Record | None = None
) -> tuple[tuple[str, bool], ...]:
    """What no record names, and whether `sweep` leaves it for now. Nothing is changed by asking."""
    return tuple(_unnamed(storage, record, before, exact=False))


def _unnamed(
    storage: Storage, record: Record | None, before: Record | None, *, exact: bool
) -> Iterator[tuple[str, bool]]:
    named, ours = _named(record), _partition_keys(record, before)
    superseded = _named(before) - named  # nobody's work any more
    for key, is_young in storage.own_files(exact=exact):
        if key not in named and _may_go(storage, key, ours):
            yield key, is_young and key not in superseded


def _named(record: Record | None) -> set[str]:
    """The keys of the parts and group files of a record."""
    if record is None:
        return set()
    groups = (f"{GROUPS}/{group.file}" for group in record.groups)
    return {*groups, *(part.path for part in record.parts)}


def is_part(key: str) -> bool:
    """Whether a file is named as a part is."""
    return _PART.fullmatch(key) is not None


def is_ours(key: str) -> bool:
    """Whether a file is named as what a publish leaves: it goes where no record names it."""
    folder, _, name = key.rpartition("/")
    if folder == INCOMING:
        return _TEMPORARY.fullmatch(name) is not None
    return _GROUP.fullmatch(key) is not None or is_part(key)


def _may_go(storage: Storage, key: str, partition_keys: Collection[str]) -> bool:
    if not is_ours(key):
        return False
    known = all(each in partition_keys for each in _keys_above(key))
    return known or not is_part(key) or _is_what_it_is_named(storage, key)


def _partition_keys(*records: Record | None) -> set[str]:
    """Those that are known to be the dataset's."""
    return {key for record in records if record is not None for key in record.schema.partition_by}


def _keys_above(key: str) -> list[str]:
    """The partition keys in whose folders a part is."""
    return [folder.partition("=")[0] for folder in key.split("/")[:-1]]


def _is_what_it_is_named(storage: Storage, key: str) -> bool:
    """Whether a part's bytes have the sha256 that its name begins: nobody else names files so."""
    try:
        with storage.open(key) as file:
            return key.rpartition("/")[2] == part_name(sha256_of_file(file))
    except OSError:
        return False

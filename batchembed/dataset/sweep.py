"""Ends a publish after its record exists, also one that was interrupted: every step may be redone."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from batchembed.dataset.files import Files
from batchembed.dataset.record import Record
from batchembed.dataset.storage import GROUPS, INCOMING, META, Storage

_PART = re.compile(r"(.+/)?part-[0-9a-f]{16}\.parquet")
_GROUP = re.compile(rf"{GROUPS}/group-[0-9a-f]{{16}}\.json")


def clear_incoming(storage: Storage) -> None:
    """Remove the temporary files of a publish that has no record."""
    with contextlib.suppress(FileNotFoundError):
        for name in storage.names(INCOMING):
            storage.remove(f"{INCOMING}/{name}")


def clear_scratch(scratch: Path, files: Files) -> None:
    """Remove the parts of a publish that have no name yet."""
    if scratch.is_dir():
        for path in scratch.iterdir():
            files.remove(path)


def waiting_key(name: str, sha256: str) -> str:
    """Where a side file is until its record exists."""
    return f"{INCOMING}/{name}.{sha256[:16]}.tmp"


def _is_right(storage: Storage, key: str, sha256: str) -> bool:
    """Whether the file is there and has these bytes."""
    try:
        return hashlib.sha256(storage.read(key)).hexdigest() == sha256
    except FileNotFoundError:
        return False


def write_side_files(storage: Storage, side_files: Mapping[str, tuple[str, bytes]]) -> None:
    """Write side files, each `(sha256, content)`, under the temporary names of the next record."""
    for name, (sha256, content) in side_files.items():
        if not _is_right(storage, f"{META}/{name}", sha256):
            storage.put(waiting_key(name, sha256), content)


def place_side_files(storage: Storage, record: Record) -> None:
    """Give the side files of a record their final names, where they still have temporary ones."""
    moved = False
    for name, sha256 in record.side_files:
        waiting = waiting_key(name, sha256)
        # A publish that ended before its record may have left one of other bytes.
        if _is_right(storage, waiting, sha256):
            storage.move(waiting, f"{META}/{name}")
            moved = True
    if moved:
        storage.settle([META])


def sweep(storage: Storage, record: Record | None) -> tuple[str, ...]:
    """Remove what no record names: temporary files, parts, group files, empty partitions.

    Only names that batchembed gives are touched.

    Returns:
        The keys of what was removed.
    """
    named = set() if record is None else {part.path for part in record.parts}
    if record is not None:
        named.update(f"{GROUPS}/{group.file}" for group in record.groups)
    removed = [key for key in storage.leftovers() if key not in named and _is_ours(key)]
    for key in removed:
        storage.remove(key)
    storage.prune()
    return tuple(removed)


def _is_ours(key: str) -> bool:
    return key.startswith(f"{INCOMING}/") or bool(_GROUP.fullmatch(key) or _PART.fullmatch(key))

"""Checks `dataset.json` and the chain of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from batchembed.core.verification import Finding
from batchembed.dataset.identity import DatasetFile
from batchembed.dataset.record import Record, group_name, part_path, record_key
from batchembed.dataset.storage import COMMITS, DATASET_FILE, Storage
from batchembed.dataset.verification.sealed import (
    RESTORE,
    Sealed,
    read_bytes,
    unseal,
    wrong_sha256,
)

Found = Callable[[Finding], None]
T = TypeVar("T")


def check_dataset_file(storage: Storage, found: Found) -> DatasetFile | None:
    """What the dataset says it is; None where that can't be read.

    Raises:
        DatasetError: it is of a newer version of batchembed.
        StoreError: the store can't be reached.
    """
    key = DATASET_FILE
    content = read_bytes(storage, key, "the file that says which dataset this is")
    sealed = content if isinstance(content, Finding) else unseal(key, content)
    if isinstance(sealed, Finding):
        found(sealed)
        return None
    # Without its sha256 it has no other key: one flipped bit in that name does not pass for it.
    if sealed.told is None and sealed.content.keys() == set(DatasetFile.__slots__):
        found(
            Finding(
                code="dataset_file_unsealed",
                file=key,
                message="an earlier version wrote it, without its own sha256: that it is as it was "
                "written can't be seen",
                is_fault=False,
            )
        )
    else:
        wrong = wrong_sha256(storage, key, sealed)
        if wrong is not None:
            found(wrong)
            return None
    return _converted(key, sealed, DatasetFile, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The records there are."""

    number: int  #: of the last one; 0: there is none
    records: int  #: how many were read
    last: Record | None  #: None where there is none, or it is damaged


def check_records(
    storage: Storage, files: Iterable[str], about: DatasetFile | None, found: Found
) -> Chain:
    """Check every record, and that each follows from the one before.

    Args:
        storage: of the dataset.
        files: the keys of all files.
        about: what `dataset.json` says.
        found: is given each finding.

    Raises:
        DatasetError: one is of a newer version of batchembed.
        StoreError: the store can't be reached.
    """
    names = sorted(key for key in files if is_record(key))
    numbers = sorted({int(key[len(COMMITS) + 1 : -5]) for key in names})
    for key in names:
        if key != record_key(int(key[len(COMMITS) + 1 : -5])):
            found(_fault("record_misnamed", key, "no record is named so", "remove or rename it"))
    last = numbers[-1] if numbers else 0
    previous: str | None = None
    record: Record | None = None
    for number in range(1, last + 1):
        key = record_key(number)
        if number not in numbers:
            found(_fault("record_missing", key, f"record {number} is missing", RESTORE))
            previous, record = None, None
            continue
        record, sealed = _record(storage, number, found)
        if record is not None:
            _check_place(record, number, previous, about, found)
        previous = None if sealed is None else sealed.sha256
    if record is not None:
        for finding in _inside(record_key(last), record):
            found(finding)
    return Chain(number=last, records=len(numbers), last=record)


def is_record(key: str) -> bool:
    """Whether a file is named as a record is."""
    folder, _, name = key.rpartition("/")
    return folder == COMMITS and name.endswith(".json") and name[:-5].isdecimal()


def _record(storage: Storage, number: int, found: Found) -> tuple[Record | None, Sealed | None]:
    key = record_key(number)
    content = read_bytes(storage, key, f"record {number}")
    sealed = content if isinstance(content, Finding) else unseal(key, content)
    if isinstance(sealed, Finding):
        found(sealed)
        return None, None
    wrong = wrong_sha256(storage, key, sealed)
    if wrong is not None:
        found(wrong)
        return None, None
    return _converted(key, sealed, Record, found), sealed


def _check_place(
    record: Record, number: int, previous: str | None, about: DatasetFile | None, found: Found
) -> None:
    """Whether a record is the one of its number in this dataset. `previous` None: not known."""
    key = record_key(number)
    if record.number != number:
        found(
            _fault(
                "record_misnamed", key, f"it is record {record.number}", "give it its own name back"
            )
        )
        return
    if number == 1 and record.previous_sha256 is not None:
        found(_fault("record_unchained", key, "it is the first, and names one before it", RESTORE))
    if number > 1 and previous is not None and record.previous_sha256 != previous:
        message = f"it does not follow from record {number - 1}: the sha256 of that is another"
        found(_fault("record_unchained", key, message, "restore both from one backup"))
    if about is not None and record.dataset_id != about.dataset_id:
        message = f"it is of dataset {record.dataset_id}, and this is {about.dataset_id}"
        found(_fault("record_foreign", key, message, "restore this dataset's own"))
    if about is not None and about.dimension not in {None, record.dimension}:
        message = (
            f"its vectors have {record.dimension} numbers, and the dataset's {about.dimension}"
        )
        found(_fault("record_foreign", key, message, "restore this dataset's own"))


def _inside(key: str, record: Record) -> Iterator[Finding]:
    """What a record says twice, and not the same."""
    seen: set[str] = set()
    for group in record.groups:
        if group.file != group_name(group.sha256):
            yield _fault("group_misnamed", key, f"it names a group file {group.file}", RESTORE)
        for part in group.parts:
            if part.path != part_path(part.partition, part.sha256):
                message = f"it names {part.path}, which is not its partition and sha256"
                yield _fault("part_misnamed", key, message, RESTORE)
            if tuple(name for name, _ in part.partition) != record.schema.partition_by:
                message = f"{part.path} is not partitioned by {list(record.schema.partition_by)}"
                yield _fault("part_misnamed", key, message, RESTORE)
            if part.path in seen:
                yield _fault("part_twice", key, f"it names {part.path} twice", RESTORE)
            seen.add(part.path)


def _converted(key: str, sealed: Sealed, kind: type[T], found: Found) -> T | None:
    try:
        return msgspec.convert(sealed.content, kind)
    except msgspec.ValidationError as error:
        found(_fault("file_damaged", key, f"it can't be understood: {error}", RESTORE))
        return None


def _fault(code: str, key: str, message: str, hint: str) -> Finding:
    return Finding(code=code, file=key, message=message, hint=hint)

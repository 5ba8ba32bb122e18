"""Checks the small files that the last record names, and looks for files that nothing names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from batchembed.core.model import VideoId
from batchembed.core.verification import Finding
from batchembed.dataset.files import sha256_of_file
from batchembed.dataset.lease import LEASE
from batchembed.dataset.record import Group, Record, RowSpec, fingerprint, record_before, record_key
from batchembed.dataset.storage import DATASET_FILE, GROUPS, INCOMING, META, PAYER, Storage
from batchembed.dataset.sweep import foresee_sweep, has_sha256, is_ours, is_part, waiting_key
from batchembed.dataset.verification.records import Found, is_record
from batchembed.dataset.verification.sealed import RESTORE, read_bytes, unreadable

_GROUP = re.compile(r"group-[0-9a-f]{16}\.json")
#: Beside what a record names: those of the writer.
_WRITERS = frozenset({f"{META}/lock", LEASE, PAYER})


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupFile:
    """What a group file says."""

    videos: tuple[RowSpec, ...]


def check_groups(
    storage: Storage, record: Record, model_name: str | None, found: Found
) -> dict[str, tuple[RowSpec, ...]]:
    """The videos of each group whose file is right, by the file's name.

    Raises:
        StoreError: the store can't be reached.
    """
    videos: dict[str, tuple[RowSpec, ...]] = {}
    seen: dict[VideoId, str] = {}
    for group in record.groups:
        key = f"{GROUPS}/{group.file}"
        specs = _group(storage, key, group)
        if isinstance(specs, Finding):
            found(specs)
            continue
        videos[group.file] = specs
        for finding in _between(key, record, group, specs, model_name):
            found(finding)
        for spec in specs:
            if spec.video_id in seen:
                where = seen[spec.video_id]
                message = f"{where} lists this video, too"
                found(
                    Finding(code="video_twice", file=key, message=message, video_id=spec.video_id)
                )
            seen[spec.video_id] = key
    return videos


def _group(storage: Storage, key: str, group: Group) -> tuple[RowSpec, ...] | Finding:
    content = read_bytes(storage, key, "the list of a group's videos")
    if isinstance(content, Finding):
        return content
    if hashlib.sha256(content).hexdigest() != group.sha256:
        return Finding(
            code="file_damaged",
            file=key,
            message="its sha256 is not the one that the record names",
            hint=RESTORE,
        )
    try:
        return msgspec.json.decode(content, type=_GroupFile).videos
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Finding(
            code="file_damaged", file=key, message=f"it can't be understood: {error}", hint=RESTORE
        )


def _between(
    key: str,
    record: Record,
    group: Group,
    specs: Sequence[RowSpec],
    model_name: str | None,
) -> Iterator[Finding]:
    """Where a group file and the record contradict each other."""
    if (
        model_name is not None
        and fingerprint(record.schema, model_name, specs) != group.fingerprint
    ):
        message = "it does not come to the fingerprint that the record tells"
        yield Finding(code="group_differs", file=key, message=message, hint=RESTORE)
    told, listed = sum(part.rows for part in group.parts), sum(s.published_rows for s in specs)
    if told != listed:
        message = f"its videos have {listed} rows, and the parts of the record {told}"
        yield Finding(code="group_differs", file=key, message=message, hint=RESTORE)


def check_side_files(
    storage: Storage, record: Record, files: Mapping[str, int], found: Found
) -> bool:
    """Whether all side files are the record's. One that still waits for its name is.

    Raises:
        StoreError: the store can't be reached.
    """
    right = True
    for name, sha256 in record.side_files:
        finding = _side_file(storage, record, name, sha256)
        waiting = waiting_key(name, sha256)
        if finding is not None and waiting in files:
            # Where it has gone from there, a run has given it its name in this moment.
            is_waiting = has_sha256(storage, waiting, sha256)
            finding = None if is_waiting else _side_file(storage, record, name, sha256)
        if finding is not None:
            found(finding)
            right = False
    return right


def _side_file(storage: Storage, record: Record, name: str, sha256: str) -> Finding | None:
    key = f"{META}/{name}"
    content = read_bytes(storage, key, "a side file")
    if isinstance(content, Finding):
        return content
    if hashlib.sha256(content).hexdigest() == sha256:
        return None
    return Finding(
        code="file_damaged",
        file=key,
        message=f"its sha256 is not the one that record {record.number} names",
        hint=f"restore it from a backup, and {record_key(record.number + 1)} if that was lost",
    )


def check_names(storage: Storage, files: Iterable[str], found: Found) -> None:
    """Hold files against their own names, where the record that has the whole sha256 is damaged.

    Raises:
        StoreError: the store can't be reached.
    """
    for key in sorted(files):
        folder, _, name = key.rpartition("/")
        if is_part(key) or (folder == GROUPS and _GROUP.fullmatch(name)):
            fault = _misnamed(storage, key)
            if fault is not None:
                found(fault)
        elif folder == META and key not in _WRITERS | {DATASET_FILE}:
            message = "the last record is damaged, and nothing else says what it must be"
            found(_notice("file_unchecked", key, message, None))


def _misnamed(storage: Storage, key: str) -> Finding | None:
    try:
        with storage.open(key) as file:
            right = key.rpartition("-")[2].startswith(sha256_of_file(file)[:16])
    except OSError as error:
        return unreadable(key, "it", error)
    message = "its sha256 is not the one that its name begins"
    return None if right else Finding(code="file_damaged", file=key, message=message, hint=RESTORE)


def check_strangers(
    storage: Storage, record: Record | None, files: Mapping[str, int], found: Found
) -> bool:
    """Look at the files that the last record does not name; whether one is of some other record."""
    named = set(_WRITERS) | {DATASET_FILE}
    if record is not None:
        named.update(part.path for part in record.parts)
        named.update(f"{GROUPS}/{group.file}" for group in record.groups)
        named.update(f"{META}/{name}" for name, _ in record.side_files)
    strangers = sorted(files.keys() - named)
    going: dict[str, bool] = {}
    if any(map(is_ours, strangers)):
        going.update(foresee_sweep(storage, record, record_before(storage, record)))
    of_another = False
    for key in strangers:
        # Small files come and go all the time while a run is at work.
        if key in going or (is_ours(key) and not is_part(key)):
            is_young = going.get(key, True)
            finding: Finding | None = _left(key, is_young=is_young)
            of_another |= not is_young and not key.startswith(f"{INCOMING}/")
        else:
            finding = _foreign(key)
        if finding is not None:
            found(finding)
    return of_another


def _left(key: str, *, is_young: bool) -> Finding:
    """A file that a run, or `gc`, removes."""
    if key.startswith(f"{INCOMING}/"):
        message, hint = "a publish goes on, or was interrupted", "the next run ends it"
        return _notice("file_temporary", key, message, hint)
    message = "the last record does not name it"
    hint = "`batchembed gc`, or the next run, removes it"
    if is_young:
        hint = f"a run may be about to publish it; if none is, {hint} once it is an hour old"
    if not is_part(key):
        return _notice("group_orphaned", key, message, hint)
    return Finding(
        code="part_orphaned",
        file=key,
        message=f"{message}, and a plain glob reads it",
        hint=hint,
        is_fault=not is_young,
    )


def _foreign(key: str) -> Finding | None:
    """A file that nobody but a person removes."""
    if key.endswith(".parquet"):
        what = "is a link, or not where parts are" if is_part(key) else "is not of batchembed"
        return Finding(
            code="file_foreign",
            file=key,
            message=f"it {what}, and a plain glob reads it",
            hint="move it out of the dataset",
        )
    if is_record(key):
        return None
    message = "it is not of batchembed"
    if key.startswith(f"{META}/"):
        hint = "move it out; it disturbs no reader, for none looks in there"
        return _notice("file_foreign", key, message, hint)
    if key.rpartition("/")[2].startswith(("_", ".")):
        return None  # readers of a folder leave these out
    hint = "move it out: some readers stumble over it"
    return _notice("file_foreign", key, message, hint)


def _notice(code: str, key: str, message: str, hint: str | None) -> Finding:
    return Finding(code=code, file=key, message=message, hint=hint, is_fault=False)


def lost_record(
    number: int, files: Mapping[str, int], *, broken: bool, others: bool
) -> Finding | None:
    """Whether what is there shows that there was another record after this one, or a first one.

    Args:
        number: of the last record; 0: there is none.
        files: all files.
        broken: something that the last record names is gone, or not its own.
        others: there are parts or groups of some other record.
    """
    interrupted = any(key.startswith(f"{INCOMING}/") for key in files)
    # Side files get their names once there is a record.
    had_one = any(re.fullmatch(rf"{META}/[^/]+\.jsonl", key) for key in files)
    if number and not (others and broken):
        return None
    if not number and not had_one and (interrupted or not others):
        return None
    return Finding(
        code="record_missing",
        file=record_key(number + 1),
        message="what there is was published with another record than the last one that is left",
        hint="restore the record from a backup",
    )

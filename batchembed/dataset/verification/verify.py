"""Looks a dataset through from its records down to its vectors, and says all that is wrong.

It needs nothing but the dataset: what the records say is compared with the files that there are,
and what a part's rows must be follows from its group file.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from batchembed.core.model import VideoId
from batchembed.core.verification import Checked, Finding, Verification
from batchembed.dataset.identity import no_dataset
from batchembed.dataset.record import Group, Part, Record, RowSpec, part_path
from batchembed.dataset.storage import COMMITS, DATASET_FILE, GROUPS, Storage
from batchembed.dataset.verification.listing import (
    check_groups,
    check_names,
    check_side_files,
    check_strangers,
    lost_record,
)
from batchembed.dataset.verification.parts import CheckedPart, PartCheck
from batchembed.dataset.verification.records import check_dataset_file, check_records
from batchembed.dataset.verification.rows import Listed
from batchembed.errors import LockedError, StorageError

#: Hashing and decoding let other threads go on; memory is that of so many parts' batches.
_THREADS = min(4, os.cpu_count() or 1)
#: So often a dataset is looked at that changes meanwhile.
_TRIES = 3
#: What the listing of a publish in the middle may show: the record comes after the parts that it
#: names, and what it names no more goes after it.
_PASSING = frozenset(
    {"part_orphaned", "file_foreign", "part_missing", "file_missing", "record_missing"}
)
#: So long, in seconds, a run at work is waited for to come to the end of that.
_WAITS_S = (0.1, 0.4, 1.0)

#: Is told how many bytes of parts are checked, and of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A dataset that was looked through; `specs` are the videos of its last record."""

    verification: Verification
    specs: tuple[RowSpec, ...]


def verify(
    storage: Storage,
    progress: Progress,
    pause: Callable[[float], None] = time.sleep,  # noqa: TID251  what tests replace
) -> Looked:
    """Check a dataset. A run may be at work on it: what it is about to end is no fault.

    Args:
        storage: where it is.
        progress: is told how far it is.
        pause: waits for so many seconds.

    Raises:
        InputMissingError: there is none.
        DatasetError: it is of a newer version of batchembed.
        LockedError: runs publish faster than it can be checked.
        StorageError: it can't be listed; StoreError: the store can't be reached.
    """
    try:
        for _ in range(_TRIES):
            files = _files(storage)
            looked = _Look(storage, files, progress).look()
            faults = looked.verification.faults
            if not faults:
                return looked
            held = storage.is_held()
            if _changed(storage, files, faults):
                continue
            if held is False or not any(fault.code in _PASSING for fault in faults):
                return looked
            if _passes(storage, files, faults, pause):
                continue
            return _beside_a_run(looked) if held else looked
    except OSError as error:
        raise StorageError(
            f"{storage.location} can't be read: {error.strerror or error}; verify it once it can"
        ) from error
    raise LockedError(f"{storage.location} is published anew while it is checked: verify it again")


def _files(storage: Storage) -> dict[str, int]:
    try:
        files = dict(storage.everything())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_dataset(storage) from error
    if DATASET_FILE not in files and not any(key.startswith(f"{COMMITS}/") for key in files):
        raise no_dataset(storage)
    return files


def _changed(storage: Storage, files: Mapping[str, int], faults: Sequence[Finding]) -> bool:
    """Whether a record was made meanwhile, or a file at fault came or went.

    What was looked at may then be of no record at all.
    """
    at_fault = {fault.file for fault in faults}

    def shown(keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key in at_fault or key.startswith(f"{COMMITS}/")}

    return shown(_files(storage)) != shown(files)


def _passes(
    storage: Storage,
    files: Mapping[str, int],
    faults: Sequence[Finding],
    pause: Callable[[float], None],
) -> bool:
    """Whether the faults change while a run goes on."""
    for wait_s in _WAITS_S:
        pause(wait_s)
        if _changed(storage, files, faults):
            return True
    return False


def _beside_a_run(looked: Looked) -> Looked:
    """What a run that is at work leaves for a while is no fault of the dataset."""
    found = looked.verification
    passing = {"part_orphaned"} if found.record else {"part_orphaned", "record_missing"}
    findings = tuple(
        replace(each, is_fault=False, hint="a run is at work: verify again when it has ended")
        if each.code in passing
        else each
        for each in found.findings
    )
    return replace(looked, verification=replace(found, findings=findings))


@dataclass(slots=True)
class _Look:
    """One look through."""

    storage: Storage
    files: Mapping[str, int]
    progress: Progress
    findings: list[Finding] = field(default_factory=list)

    def look(self) -> Looked:
        found = self.findings.append
        about = check_dataset_file(self.storage, found)
        model_name = None if about is None else about.model_name
        chain = check_records(self.storage, self.files, about, found)
        record = chain.last
        videos: dict[str, tuple[RowSpec, ...]] = {}
        before, sides = len(self.findings), True
        checked = Checked(records=chain.records)
        if record is not None:
            videos = check_groups(self.storage, record, model_name, found)
            sides = check_side_files(self.storage, record, self.files, found)
            checked = self._parts(record, videos, model_name, checked)
        elif not chain.number:
            self._no_record()
        gone = {"file_missing", "part_missing"}
        broken = not sides or any(each.code in gone for each in self.findings[before:])
        if chain.number and record is None:
            check_names(self.storage, self.files, found)
        else:
            others = check_strangers(self.storage, record, self.files, found)
            lost = lost_record(chain.number, self.files, broken=broken, others=others)
            self.findings.extend(() if lost is None else (lost,))
        specs = tuple(spec for each in videos.values() for spec in each)
        return Looked(
            verification=Verification(
                dataset_id=None if about is None else about.dataset_id,
                model_name=model_name,
                record=chain.number or None,
                checked=checked,
                findings=tuple(self.findings),
            ),
            specs=specs,
        )

    def _no_record(self) -> None:
        message = "the dataset has no record yet"
        self.findings.append(
            Finding(
                code="record_none",
                file=COMMITS,
                message=message,
                hint="run its manifest",
                is_fault=False,
            )
        )

    def _parts(
        self,
        record: Record,
        videos: Mapping[str, tuple[RowSpec, ...]],
        model_name: str | None,
        checked: Checked,
    ) -> Checked:
        """Check every part, several at once; what is found is told in the record's order."""
        check = PartCheck(storage=self.storage, schema=record.schema)
        # A part of another name than its own was told of; it may be anywhere.
        parts = [
            part for part in record.parts if part.path == part_path(part.partition, part.sha256)
        ]
        sizes = self._sizes(parts)
        listed: dict[str, Listed | None] = {}
        for group in record.groups:
            of_group = _listed(record, videos.get(group.file), model_name)
            listed.update((part.path, of_group) for part in group.parts)
        total, done = sum(part.bytes for part in parts), 0
        ended: dict[str, CheckedPart] = {}
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
            for part, each in zip(
                parts,
                pool.map(lambda p: check.check(p, sizes.get(p.path), listed[p.path]), parts),
                strict=True,
            ):
                ended[part.path] = each
                self.findings.extend(each.findings)
                done += part.bytes
                self.progress(done, total)
        for group in record.groups:
            self.findings.extend(_rows_of(group, videos.get(group.file), ended))
        return Checked(
            records=checked.records,
            videos=sum(map(len, videos.values())),
            parts=len(parts),
            rows=sum(part.rows for part in parts),
            bytes=total,
        )

    def _sizes(self, parts: Sequence[Part]) -> dict[str, int]:
        """The parts' bytes; those that a listing does not show may be behind a link."""
        sizes = {part.path: self.files[part.path] for part in parts if part.path in self.files}
        return sizes | self.storage.sizes([p.path for p in parts if p.path not in sizes])


def _listed(
    record: Record, specs: Sequence[RowSpec] | None, model_name: str | None
) -> Listed | None:
    if specs is None or model_name is None:
        return None
    return Listed(
        schema=record.schema,
        model_name=model_name,
        videos={spec.video_id: (place, spec) for place, spec in enumerate(specs)},
    )


def _rows_of(
    group: Group, specs: Sequence[RowSpec] | None, ended: Mapping[str, CheckedPart]
) -> Iterator[Finding]:
    """Whether a group's parts have the rows of each video; not where one of them could not be read."""
    found: Counter[tuple[VideoId, str]] = Counter()
    for part in group.parts:
        each = ended.get(part.path)
        if each is None or each.counts is None:
            return
        found.update(each.counts)
    for spec in specs or ():
        for option, rows in spec.rows:
            wanted = rows if option in spec.published else 0
            if found[spec.video_id, option] != wanted:
                yield Finding(
                    code="rows_missing",
                    file=f"{GROUPS}/{group.file}",
                    message=f"the parts have {found[spec.video_id, option]} rows of {option}, and "
                    f"the group file says {wanted}",
                    hint="restore the group's parts from a backup",
                    video_id=spec.video_id,
                )

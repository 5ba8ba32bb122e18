"""Steps 1 to 3 of a publish: new parts, their names, and the record that makes them count."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from batchembed.core.model import JobKey, VideoId
from batchembed.dataset.parts import WrittenPart, write_parts
from batchembed.dataset.record import (
    Group,
    Part,
    Record,
    RowSpec,
    encode_record,
    fingerprint,
    group_file,
    group_name,
    last_record,
    read_group,
    record_key,
)
from batchembed.dataset.schema import FORMAT, DatasetSchema
from batchembed.dataset.sources import Index, RowSource, index, rows_of
from batchembed.dataset.staging import StagedFiles
from batchembed.dataset.storage import COMMITS, GROUPS, INCOMING, Storage
from batchembed.dataset.sweep import clear_incoming, clear_scratch, write_side_files
from batchembed.errors import DatasetError, StorageError, StoreAwayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A record and what is left of it on the disk; `record` is None before the first."""

    record: Record | None
    specs: tuple[RowSpec, ...]  #: all of the record's videos
    groups: tuple[tuple[Group, tuple[RowSpec, ...]], ...]  #: those whose parts are all there
    index: Index  #: of these groups
    missing: tuple[Part, ...]  #: parts that are gone, or not of the size that was written


def read_current(storage: Storage) -> Current:
    """The last record, and which of its parts are there.

    A group that lacks a part counts as unpublished: its rows are fetched and written again, and
    get the same names and bytes.

    Raises:
        DatasetError: the record or a group file is damaged, or a part can't be looked at.
    """
    record = last_record(storage)
    groups = () if record is None else record.groups
    listed = [(group, read_group(storage, group)) for group in groups]
    missing = () if record is None else missing_parts(storage, record)
    gone = {part.path for part in missing}
    sound = tuple(
        (group, specs)
        for group, specs in listed
        if gone.isdisjoint(part.path for part in group.parts)
    )
    return Current(
        record=record,
        specs=tuple(spec for _, specs in listed for spec in specs),
        groups=sound,
        index=index(specs for _, specs in sound),
        missing=missing,
    )


def missing_parts(storage: Storage, record: Record) -> tuple[Part, ...]:
    """Parts of a record that are gone, or not of the size that was written. No bytes are read.

    Raises:
        DatasetError: they can't be looked at.
    """
    try:
        sizes = storage.sizes([part.path for part in record.parts])
    except OSError as error:
        raise DatasetError(
            f"the parts of {storage.location} can't be looked at: {error}; see to its disk and its "
            "permissions"
        ) from error
    return tuple(part for part in record.parts if sizes.get(part.path) != part.bytes)


def fingerprints(
    current: Current,
    schema: DatasetSchema,
    model_name: str,
    groups: Sequence[tuple[RowSpec, ...]],
) -> tuple[str, ...]:
    """Of each group. Those that the record has already are taken from there: most stay."""
    known: dict[VideoId, tuple[Group, tuple[RowSpec, ...]]] = {}
    # With the schema, the types of metadata are the same, too: in Python, 1 is equal to True.
    if current.record is not None and current.record.schema == schema:
        known = {specs[0].video_id: (group, specs) for group, specs in current.groups}

    def of(specs: tuple[RowSpec, ...]) -> str:
        group, before = known.get(specs[0].video_id, (None, ()))
        if group is not None and before == specs:
            return group.fingerprint
        return fingerprint(schema, model_name, specs)

    return tuple(of(specs) for specs in groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the next record is to hold."""

    groups: tuple[tuple[str, tuple[RowSpec, ...]], ...]  #: (fingerprint, videos)
    listed: tuple[RowSpec, ...]  #: all of the manifest, also those without rows to publish
    kept: tuple[RowSpec, ...]  #: that it no longer names
    schema: DatasetSchema
    staging: StagedFiles
    side_files: Mapping[str, tuple[str, bytes]]  #: (sha256, content), by name
    awaited: Callable[[JobKey], bool]  #: a job whose rows are wanted yet, though no video has them
    accept: Callable[[tuple[Part, ...]], None] | None  #: raises where these are not to be published


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Writes records into one dataset."""

    storage: Storage
    dataset_id: str
    model_name: str

    def commit(self, plan: Plan, current: Current) -> tuple[Current, Record]:
        """Make the next record, and give it. Whatever ends this before it exists leaves no temporary file.

        Where a store gives no answer, it may exist: the temporary files that it would need stay.

        Raises:
            RowsMissingError: rows are neither staged nor published. Nothing was changed.
            DatasetError: what was written can't be read back, or another writer is at work.
            OSError, StoreError: something can't be written.
            LeaseLostError: another writer has taken the dataset over.
        """
        storage = self.storage
        with contextlib.ExitStack() as stack:
            scratch = storage.scratch(plan.staging.folder)
            stack.callback(self._give_up, scratch)
            storage.prepare()
            storage.files.make_folder(scratch)
            there = [group for group, _ in current.groups]
            with RowSource(storage, plan.staging, there, current.index) as source:
                groups, written = self._write(plan, current, source, scratch)
                if plan.accept is not None:
                    plan.accept(tuple(part for group in groups for part in group.parts))
                shown = index(specs for _, specs in plan.groups)
                self._keep_unshown(plan, current, shown, source)
            self._place(written)
            self._put_group_files(plan, current)
            write_side_files(storage, plan.side_files)
            storage.settle([INCOMING])
            record = self._record(plan, current, groups)
            try:
                self._create(record)
            except StoreAwayError:
                stack.pop_all()  # it may be there for all that, and needs its side files
                raise
            stack.pop_all()
        storage.settle([COMMITS])
        listed = [specs for _, specs in plan.groups]
        made = Current(
            record=record,
            specs=tuple(spec for specs in listed for spec in specs),
            groups=tuple(zip(groups, listed, strict=True)),
            index=shown,
            missing=(),
        )
        return made, record

    def _give_up(self, scratch: Path) -> None:
        # What ended the publish is told, not that its temporary files can't be removed either.
        with contextlib.suppress(OSError, StorageError):
            clear_scratch(scratch, self.storage.files)
            clear_incoming(self.storage)

    def _write(
        self, plan: Plan, current: Current, source: RowSource, scratch: Path
    ) -> tuple[tuple[Group, ...], tuple[WrittenPart, ...]]:
        """Step 1: the groups of the new record, and those parts that the last one lacks."""
        reusable = {group.fingerprint: group for group, _ in current.groups}
        source.require(
            spec for print_, specs in plan.groups if print_ not in reusable for spec in specs
        )
        groups: list[Group] = []
        written: list[WrittenPart] = []
        for number, (print_, specs) in enumerate(plan.groups):
            group = reusable.get(print_)
            if group is None:
                parts = write_parts(
                    specs,
                    source,
                    schema=plan.schema,
                    model_name=self.model_name,
                    temporary=scratch / f"group-{number}",
                    files=self.storage.files,
                )
                written.extend(parts)
                sha256 = hashlib.sha256(group_file(specs)).hexdigest()
                group = Group(
                    fingerprint=print_,
                    file=group_name(sha256),
                    sha256=sha256,
                    parts=tuple(each.part for each in parts),
                )
            groups.append(group)
        return tuple(groups), tuple(written)

    def _keep_unshown(self, plan: Plan, current: Current, shown: Index, source: RowSource) -> None:
        """Stage again what the new record would no longer show of jobs that it names, or that are awaited."""
        awaited = (spec for spec in current.specs if plan.awaited(spec.job_key))
        for spec in (*plan.listed, *plan.kept, *awaited):
            if not shown.get(rows_of(spec), {}).keys() >= spec.staged_options:
                source.stage_again(spec)

    def _place(self, written: Sequence[WrittenPart]) -> None:
        """Step 2: all new parts get their names, durably."""
        folders = {""}
        for each in written:
            self.storage.place(each.temporary, each.part.path)
            folders.update(_above(each.part.path))
        self.storage.settle(folders)

    def _put_group_files(self, plan: Plan, current: Current) -> None:
        known = {group.fingerprint for group, _ in current.groups}
        for print_, specs in plan.groups:
            if print_ not in known:
                content = group_file(specs)
                name = group_name(hashlib.sha256(content).hexdigest())
                self.storage.put(f"{GROUPS}/{name}", content)
        self.storage.settle([GROUPS])

    def _record(self, plan: Plan, current: Current, groups: tuple[Group, ...]) -> Record:
        previous = current.record
        return Record(
            format=FORMAT,
            number=1 if previous is None else previous.number + 1,
            dataset_id=self.dataset_id,
            previous_sha256=None if previous is None else previous.sha256,
            schema=plan.schema,
            groups=groups,
            side_files=tuple((name, sha256) for name, (sha256, _) in plan.side_files.items()),
        )

    def _create(self, record: Record) -> None:
        """Step 3: the one act that publishes."""
        key = record_key(record.number)
        try:
            self.storage.create(key, encode_record(record))
        except FileExistsError as error:
            raise DatasetError(
                f"{self.storage.named(key)} was made by another writer: see that only one run "
                f"writes to {self.storage.location}, then run again"
            ) from error


def _above(key: str) -> list[str]:
    """The folders that a file is in, but for the dataset's own."""
    return [str(folder) for folder in PurePosixPath(key).parents][:-1]

"""A record: the dataset as it is from then on, as `_batchembed/commits/NNNNNN.json`.

Records are numbered from 1 without gaps, and each names the one before by its sha256. Beside it
stand group files, which list the videos of one group and never change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from batchembed.core.keys import Json, canonical_json, digest
from batchembed.core.model import JobKey, VideoId
from batchembed.core.partitions import folder_name
from batchembed.core.problems import Scalar
from batchembed.dataset.schema import FORMAT, DatasetSchema
from batchembed.dataset.storage import COMMITS, GROUPS, META, Storage
from batchembed.errors import DatasetError, InputMissingError

_RECORD = re.compile(r"(\d{6,})\.json")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpec:
    """The rows that a video has in the dataset, and what stands beside its vectors in each row."""

    video_id: VideoId
    source: str  #: as shown: never with a signature
    source_sha256: str | None
    job_key: JobKey
    rows_sha256: str  #: of everything staged
    rows: tuple[tuple[str, int], ...]  #: (embedding_option, rows) of everything staged
    options: tuple[str, ...] | None  #: those to publish; None is all
    duration_sec: float | None
    width: int | None
    height: int | None
    metadata: Mapping[str, Scalar]

    @property
    def published(self) -> tuple[str, ...]:
        """The options of which there are rows to publish."""
        return tuple(
            option
            for option, rows in self.rows
            if rows and (self.options is None or option in self.options)
        )

    @property
    def staged_options(self) -> frozenset[str]:
        """The options of which there are rows at all."""
        return frozenset(option for option, rows in self.rows if rows)

    @property
    def published_rows(self) -> int:
        """How many rows the dataset has of this video."""
        wanted = self.published
        return sum(rows for option, rows in self.rows if option in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file. `path` is relative to the dataset, with `/`."""

    path: str
    partition: tuple[tuple[str, str], ...]  #: (key, value), outermost first
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Consecutive videos whose rows share a part in each partition."""

    fingerprint: str  #: of schema, order, rows and metadata: the same, and the parts are the same
    file: str  #: the group file's name in `_batchembed/groups`
    sha256: str  #: of the group file
    parts: tuple[Part, ...]  #: in order of path


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One `commits/NNNNNN.json`."""

    format: int
    number: int
    dataset_id: str
    previous_sha256: str | None
    schema: DatasetSchema
    groups: tuple[Group, ...]
    side_files: tuple[tuple[str, str], ...]  #: (name, sha256), by name

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, in order."""
        return tuple(part for group in self.groups for part in group.parts)

    @property
    def rows(self) -> int:
        """Rows in the dataset."""
        return sum(part.rows for part in self.parts)

    @property
    def dimension(self) -> int:
        """Of every vector."""
        return self.schema.dimension

    @property
    def sha256(self) -> str:
        """Of the record's canonical JSON; the next record names it."""
        return digest(_builtins(self))


def part_name(sha256: str) -> str:
    """What a part with these bytes is called."""
    return f"part-{sha256[:16]}.parquet"


def part_path(partition: Sequence[tuple[str, str]], sha256: str) -> str:
    """Where a part is, relative to the dataset."""
    return "/".join([*(folder_name(key, value) for key, value in partition), part_name(sha256)])


def group_name(sha256: str) -> str:
    """What a group file with these bytes is called."""
    return f"group-{sha256[:16]}.json"


def fingerprint(schema: DatasetSchema, model_name: str, specs: Sequence[RowSpec]) -> str:
    """What a group's parts are a function of."""
    return digest(
        {
            "format": FORMAT,
            "model_name": model_name,
            "schema": _builtins(schema),
            "videos": [_builtins(spec) for spec in specs],
        }
    )


def group_file(specs: Sequence[RowSpec]) -> bytes:
    """The bytes of the file that lists a group's videos.

    Not canonical JSON, which writes 1.0 as 1: a column of a kept video must keep its type.
    """
    content = {"format": FORMAT, "videos": [_builtins(spec) for spec in specs]}
    plain = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return f"{plain}\n".encode()


def read_group(storage: Storage, group: Group) -> tuple[RowSpec, ...]:
    """A group's videos, in order.

    Raises:
        DatasetError: the file is missing, or not the one that the record names.
    """
    key = f"{GROUPS}/{group.file}"
    named, content = storage.named(key), _content(storage, key)
    if hashlib.sha256(content).hexdigest() != group.sha256:
        raise DatasetError(f"{named} is not the file that the dataset's record names: restore it")
    return _convert(named, _parse(named, content).get("videos"), tuple[RowSpec, ...])


def encode_record(record: Record) -> bytes:
    """The bytes of a record's file."""
    return sealed(record)


def record_key(number: int) -> str:
    """Where the record of this number is."""
    return f"{COMMITS}/{number:06d}.json"


def record_numbers(storage: Storage) -> list[int]:
    """Of the records that there are, in order.

    Raises:
        DatasetError: they can't be listed.
    """
    try:
        names = storage.names(COMMITS)
    except OSError as error:
        raise DatasetError(
            f"the records of {storage.location} can't be read: {error.strerror or error}; "
            f"{_way_out(error, storage.named(COMMITS))}, nothing else was changed"
        ) from error
    return sorted(int(match[1]) for match in map(_RECORD.fullmatch, names) if match is not None)


def last_record(storage: Storage) -> Record | None:
    """The record of the highest number; None where there is none yet.

    Raises:
        DatasetError: it is damaged, of a newer version of batchembed, or gone.
    """
    numbers = record_numbers(storage)
    if not numbers and _had_records(storage):
        raise DatasetError(
            f"{storage.location} has lost its records: nothing is removed, restore "
            f"{storage.named(COMMITS)} from a backup"
        )
    return read_record(storage, numbers[-1]) if numbers else None


def require_record(storage: Storage) -> Record:
    """The last record of a dataset that is to be read.

    Raises:
        InputMissingError: there is none yet.
        DatasetError: as `last_record` says.
    """
    record = last_record(storage)
    if record is None:
        raise InputMissingError(
            f"the dataset {storage.location} has no record yet: run its manifest first"
        )
    return record


def _had_records(storage: Storage) -> bool:
    """Whether there are side files: they get their names after the first record, and stay."""
    try:
        return any(name.endswith(".jsonl") for name in storage.names(META))
    except OSError as error:
        raise DatasetError(
            f"{storage.named(META)} can't be read: {error.strerror or error}; "
            f"{_way_out(error, 'it')}"
        ) from error


def read_record(storage: Storage, number: int) -> Record:
    """Read one record.

    Raises:
        DatasetError: it is damaged, or of a newer version of batchembed.
    """
    key = record_key(number)
    named = storage.named(key)
    content = _parse(named, _content(storage, key))
    told = content.pop("sha256", None)
    if told != digest(content):
        raise DatasetError(f"{named} is damaged: its sha256 is not the one it tells; restore it")
    record = _convert(named, content, Record)
    if record.number != number:
        raise DatasetError(f"{named} is record {record.number}: it was renamed; restore its name")
    return record


def record_before(storage: Storage, record: Record | None) -> Record | None:
    """The record before this one; None where there is none to be read."""
    if record is not None and record.number > 1:
        with contextlib.suppress(DatasetError):  # only what it alone names is asked for
            return read_record(storage, record.number - 1)
    return None


def _content(storage: Storage, key: str) -> bytes:
    try:
        return storage.read(key)
    except OSError as error:
        raise DatasetError(
            f"{storage.named(key)} can't be read: {error.strerror or error}; "
            f"{_way_out(error, 'it')}"
        ) from error


def _way_out(error: OSError, what: str) -> str:
    """What is forbidden is not lost."""
    if isinstance(error, PermissionError):
        return f"see to the permissions of {what}"
    return f"restore {what}"


def _parse(path: str, content: bytes) -> dict[str, Any]:
    """The file's object, of a format that this version knows."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is damaged: {error}; restore it") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise DatasetError(f"{path} is damaged: it tells no format; restore it")
    if found["format"] > FORMAT:
        raise DatasetError(
            f"{path} has format {found['format']}, and this version of batchembed knows "
            f"{FORMAT}: upgrade batchembed"
        )
    return cast("dict[str, Any]", found)


def _convert(path: str, value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path} is damaged: {error}; restore it") from error


def read_object(storage: Storage, key: str, kind: type[T]) -> T:
    """A JSON file of the dataset as a value. Earlier versions wrote none of these with its sha256.

    Raises:
        DatasetError: it is damaged, or of a newer version of batchembed.
    """
    named = storage.named(key)
    content = _parse(named, _content(storage, key))
    if "sha256" in content and content.pop("sha256") != digest(content):
        raise DatasetError(f"{named} is damaged: its sha256 is not the one it tells; restore it")
    return _convert(named, content, kind)


def sealed(value: object) -> bytes:
    """A value as canonical JSON with the sha256 of the rest in it."""
    content = _builtins(value)
    return f"{canonical_json({**content, 'sha256': digest(content)})}\n".encode()


def _builtins(value: object) -> dict[str, Json]:
    return cast("dict[str, Json]", msgspec.to_builtins(value))

"""A record: the dataset as it is from then on, as `_batchembed/commits/NNNNNN.json`.

Records are numbered from 1 without gaps, and each names the one before by its sha256. Beside it
stand group files, which list the videos of one group and never change.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from batchembed.core.keys import Json, canonical_json, digest
from batchembed.core.model import JobKey, VideoId
from batchembed.core.problems import Scalar
from batchembed.dataset.schema import FORMAT, DatasetSchema
from batchembed.errors import DatasetError

META = "_batchembed"
_RECORD = re.compile(r"(\d{6,})\.json")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpec:
    """The rows that a video has in the dataset, and what stands beside its vectors in each row."""

    video_id: VideoId
    source: str  #: as shown: never with a signature
    source_sha256: str | None
    job_key: JobKey
    rows_sha256: str  #: of the staged file
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


def read_group(root: Path, group: Group) -> tuple[RowSpec, ...]:
    """A group's videos, in order.

    Raises:
        DatasetError: the file is missing, or not the one that the record names.
    """
    path = root / META / "groups" / group.file
    content = _content(path)
    if hashlib.sha256(content).hexdigest() != group.sha256:
        raise DatasetError(f"{path} is not the file that the dataset's record names: restore it")
    return _convert(path, _parse(path, content).get("videos"), tuple[RowSpec, ...])


def encode_record(record: Record) -> bytes:
    """The bytes of a record's file: canonical JSON with the sha256 of the rest in it."""
    return f"{canonical_json({**_builtins(record), 'sha256': record.sha256})}\n".encode()


def record_path(root: Path, number: int) -> Path:
    """Where the record of this number is."""
    return root / META / "commits" / f"{number:06d}.json"


def last_record(root: Path) -> Record | None:
    """The record of the highest number; None where there is none yet.

    Raises:
        DatasetError: it is damaged, or of a newer version of batchembed.
    """
    folder = root / META / "commits"
    try:
        matches = [_RECORD.fullmatch(path.name) for path in folder.iterdir()]
    except OSError as error:
        raise DatasetError(
            f"the records of {root} can't be read: {error.strerror}; "
            f"restore {folder}, nothing else was changed"
        ) from error
    numbers = [int(match[1]) for match in matches if match is not None]
    return read_record(record_path(root, max(numbers))) if numbers else None


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        DatasetError: it is damaged, or of a newer version of batchembed.
    """
    content = _parse(path, _content(path))
    told = content.pop("sha256", None)
    if told != digest(content):
        raise DatasetError(f"{path} is damaged: its sha256 is not the one it tells; restore it")
    record = _convert(path, content, Record)
    if record_path(path.parent.parent.parent, record.number) != path:
        raise DatasetError(f"{path} is record {record.number}: it was renamed; restore its name")
    return record


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror}; restore it") from error


def _parse(path: Path, content: bytes) -> dict[str, Any]:
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


def _convert(path: Path, value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path} is damaged: {error}; restore it") from error


def read_object(path: Path, kind: type[T]) -> T:
    """A JSON file of the dataset as a value.

    Raises:
        DatasetError: it is damaged, or of a newer version of batchembed.
    """
    return _convert(path, _parse(path, _content(path)), kind)


def write_object(value: object) -> bytes:
    """A value as canonical JSON."""
    return f"{canonical_json(_builtins(value))}\n".encode()


def _builtins(value: object) -> dict[str, Json]:
    return cast("dict[str, Json]", msgspec.to_builtins(value))

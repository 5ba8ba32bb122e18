"""Writes the parts of one group: Parquet files whose bytes are a function of their rows.

Memory is one row group, however many rows and partitions there are: the partitions are written one
after the other. A part is written under a temporary name, brought to the disk, read back and
checked before it gets the name that is made of its sha256.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.partitions import partition_problem
from batchembed.core.problems import Reason, Scalar
from batchembed.dataset.arrays import vectors_of
from batchembed.dataset.files import Files, sha256_of
from batchembed.dataset.part_reader import open_part, part_batches
from batchembed.dataset.record import Part, RowSpec, part_path
from batchembed.dataset.row_group import ROW_GROUP_ROWS, RowGroup
from batchembed.dataset.rows import Kind
from batchembed.dataset.schema import DatasetSchema
from batchembed.errors import DatasetError

Partition = tuple[tuple[str, str], ...]


class Rows(Protocol):
    """Where rows come from: those that are to be published."""

    def kinds(self, spec: RowSpec) -> Sequence[Kind]:
        """The kinds of rows that a video has, in order."""

    def rows(self, spec: RowSpec, kind: Kind) -> pa.Table:
        """The rows of one kind, sorted by start and end: times and vectors."""

    def rest(self) -> None:
        """Free what is in memory only because it may be asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPart:
    """A part that passed its checks, still under its temporary name."""

    temporary: Path
    part: Part


def write_parts(
    specs: Sequence[RowSpec],
    source: Rows,
    *,
    schema: DatasetSchema,
    model_name: str,
    temporary: Path,
    files: Files,
) -> tuple[WrittenPart, ...]:
    """Write the parts of one group, each under a temporary name; in order of path.

    Args:
        specs: the group's videos, in order.
        source: their rows.
        schema: of the parts.
        model_name: of the dataset.
        temporary: how the temporary names begin; on the file system of the dataset.
        files: the file system.

    Raises:
        DatasetError: a value can't be a partition, rows are not those that a video is to have, or
            what was written can't be read back.
        OSError: a part can't be written.
    """
    partitions: dict[Partition, list[tuple[RowSpec, Kind]]] = {}
    for spec in specs:
        for kind in source.kinds(spec):
            partition = _partition(spec, kind, schema, model_name)
            partitions.setdefault(partition, []).append((spec, kind))
    group = RowGroup(schema, model_name)
    checks: list[Future[WrittenPart]] = []
    # A part is read back while the next is written.
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as reading:
        for number, (partition, found) in enumerate(partitions.items()):
            # What was needed before, its allocator would keep.
            pa.default_memory_pool().release_unused()
            path = temporary.with_name(f"{temporary.name}-{number}.tmp")
            with _PartWriter(path, partition, group, files) as writer:
                for spec, kind in found:
                    writer.add(spec, kind, source.rows(spec, kind))
                writer.flush()
            source.rest()
            checks.append(reading.submit(writer.checked))
    pa.default_memory_pool().release_unused()
    written = [check.result() for check in checks]
    rows, wanted = sum(each.part.rows for each in written), sum(s.published_rows for s in specs)
    if rows != wanted:
        raise DatasetError(
            f"{rows} rows were found of {wanted} to publish, from video {specs[0].video_id} "
            f"to {specs[-1].video_id}: nothing is published, please report this"
        )
    return tuple(sorted(written, key=lambda each: each.part.path))


def _partition(spec: RowSpec, kind: Kind, schema: DatasetSchema, model_name: str) -> Partition:
    known = {
        "model_name": model_name,
        "embedding_option": kind[0],
        "embedding_scope": kind[1],
    }
    return tuple((key, _value(spec, key, known)) for key in schema.partition_by)


def _value(spec: RowSpec, key: str, known: dict[str, str]) -> str:
    value = known.get(key, spec.metadata.get(key, ""))
    problem = _problem(key, value)
    if problem is not None or not isinstance(value, str):
        raise DatasetError(
            f"video {spec.video_id} can't be put into a partition by {key}: "
            f"{problem.message if problem else value}; give it such metadata, or drop the video"
        )
    return value


@functools.lru_cache(maxsize=256, typed=True)
def _problem(key: str, value: Scalar) -> Reason | None:
    """Videos share a few values."""
    return partition_problem(key, value)


class _PartWriter(contextlib.AbstractContextManager["_PartWriter"]):
    """One part: rows in, row groups of 8,192 out."""

    def __init__(self, path: Path, partition: Partition, group: RowGroup, files: Files) -> None:
        self._path = path
        self._partition = partition
        self._group = group
        self._files = files
        self._rows = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._files.create(self._path))
            self._writer = stack.enter_context(part_writer(file, self._group.columns))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*cast("Any", error))

    def add(self, spec: RowSpec, kind: Kind, rows: pa.Table) -> None:
        """Take rows of one kind in; full row groups are written."""
        first = 0
        while first < len(rows):
            first += self._group.take(spec, kind, rows, first)
            if self._group.is_full:
                self.flush()

    def flush(self) -> None:
        """Write the rows that wait, as a row group."""
        if self._group.rows:
            self._writer.write_table(self._group.table(), row_group_size=ROW_GROUP_ROWS)
            self._rows += self._group.rows
            self._group.clear()

    def checked(self) -> WrittenPart:
        """Read the closed file back: its bytes, and beside it what they mean."""
        with ThreadPoolExecutor(1) as beside:
            hashed = beside.submit(sha256_of, self._path)
            check_part(self._path, rows=self._rows, columns=self._group.columns)
            sha256 = hashed.result()
        part = Part(
            path=part_path(self._partition, sha256),
            partition=self._partition,
            rows=self._rows,
            bytes=self._path.stat().st_size,
            sha256=sha256,
        )
        return WrittenPart(temporary=self._path, part=part)


def part_writer(file: object, columns: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        cast("IO[bytes]", file),
        columns,
        compression="zstd",
        use_dictionary=cast(
            "Any", [column.name for column in columns if column.type == pa.string()]
        ),
        column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT"},
        write_statistics=cast(
            "Any", [column.name for column in columns if column.name != "embedding"]
        ),
        write_page_checksum=True,
    )


def check_part(path: Path, *, rows: int, columns: pa.Schema) -> None:
    """Read a part whole, verifying the checksum of every page.

    Raises:
        DatasetError: it can't be read, or it is not what was written.
    """
    try:
        with open_part(path) as file:
            found = 0
            if not file.schema_arrow.equals(columns, check_metadata=True):
                raise DatasetError(f"{path} has other columns than were written")
            for batch in part_batches(file):
                vectors = vectors_of(pa.chunked_array([batch.column("embedding")]))
                if not all(np.isfinite(piece).all() for piece in vectors):
                    raise DatasetError(f"{path} has vectors that are not finite")
                found += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} can't be read back: {error}; check the disk") from error
    if found != rows:
        raise DatasetError(f"{path} has {found} rows instead of {rows}: check the disk")

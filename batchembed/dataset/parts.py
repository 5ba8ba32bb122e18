"""Writes the parts of one group: Parquet files whose bytes are a function of their rows.

Memory is one row group for each open partition, however many rows there are. A part is written
under a temporary name, brought to the disk, read back and checked before it gets the name that is
made of its sha256.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.partitions import folder_name, partition_problem
from batchembed.dataset.files import Files, sha256_of
from batchembed.dataset.record import Part, RowSpec
from batchembed.dataset.rows import having
from batchembed.dataset.schema import DatasetSchema
from batchembed.errors import DatasetError

ROW_GROUP_ROWS = 8_192
#: Of one group: each is an open file and up to a row group in memory.
_MOST_PARTITIONS = 512

Partition = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPart:
    """A part that passed its checks, still under its temporary name."""

    temporary: Path
    part: Part


def write_parts(
    specs: Iterable[RowSpec],
    rows_of: Callable[[RowSpec], pa.Table],
    *,
    schema: DatasetSchema,
    model_name: str,
    temporary: Path,
    files: Files,
) -> tuple[WrittenPart, ...]:
    """Write the parts of one group, each under a temporary name; in order of path.

    Args:
        specs: the group's videos, in order.
        rows_of: the wanted rows of a video, sorted by option, scope, start and end.
        schema: of the parts.
        model_name: of the dataset.
        temporary: how the temporary names begin; on the file system of the dataset.
        files: the file system.

    Raises:
        DatasetError: a value can't be a partition, or what was written can't be read back.
        OSError: a part can't be written.
    """
    with contextlib.ExitStack() as stack:
        writers: dict[Partition, _PartWriter] = {}
        for spec in specs:
            for partition, table in _by_partition(spec, rows_of(spec), schema, model_name):
                if partition not in writers:
                    if len(writers) == _MOST_PARTITIONS:
                        raise DatasetError(
                            f"a group of videos would have over {_MOST_PARTITIONS} partitions: "
                            "choose other keys for output.partition_by"
                        )
                    path = temporary.with_name(f"{temporary.name}-{len(writers)}.tmp")
                    writer = _PartWriter(path, partition, schema.columns, files)
                    writers[partition] = stack.enter_context(writer)
                writers[partition].add(table)
        for writer in writers.values():
            writer.flush()
    written = [writer.checked() for writer in writers.values()]
    return tuple(sorted(written, key=lambda each: each.part.path))


def _by_partition(
    spec: RowSpec, rows: pa.Table, schema: DatasetSchema, model_name: str
) -> list[tuple[Partition, pa.Table]]:
    """A video's rows as the dataset shows them, one table for each partition."""
    kinds = sorted(
        {*zip(_texts(rows, "embedding_option"), _texts(rows, "embedding_scope"), strict=True)}
    )
    tables: dict[Partition, list[pa.Table]] = {}
    for option, scope in kinds:
        chosen = having(having(rows, "embedding_option", [option]), "embedding_scope", [scope])
        known = {"model_name": model_name, "embedding_option": option, "embedding_scope": scope}
        partition = tuple((key, _value(spec, key, known)) for key in schema.partition_by)
        tables.setdefault(partition, []).append(_columns_of(spec, chosen, schema, model_name))
    return [(partition, pa.concat_tables(found)) for partition, found in tables.items()]


def _texts(rows: pa.Table, name: str) -> list[str]:
    return cast("list[str]", rows[name].to_pylist())


def _value(spec: RowSpec, key: str, known: dict[str, str]) -> str:
    value = known.get(key, spec.metadata.get(key, ""))
    problem = partition_problem(key, value)
    if problem is not None or not isinstance(value, str):
        raise DatasetError(
            f"video {spec.video_id} can't be put into a partition by {key}: "
            f"{problem.message if problem else value}; give it such metadata, or drop the video"
        )
    return value


def _columns_of(spec: RowSpec, rows: pa.Table, schema: DatasetSchema, model_name: str) -> pa.Table:
    """The columns of a part, for rows of one option and scope of one video."""
    given: dict[str, object] = {
        "video_id": spec.video_id,
        "source": spec.source,
        "source_sha256": spec.source_sha256,
        "job_key": spec.job_key,
        "model_name": model_name,
        "duration_sec": spec.duration_sec,
        "width": spec.width,
        "height": spec.height,
    }
    columns: list[Any] = []
    for column in schema.columns:
        if column.name == "segment_index":
            columns.append(pa.array(np.arange(len(rows), dtype=np.int32)))
        elif column.name in rows.column_names:
            columns.append(rows[column.name].combine_chunks())
        else:
            value = given.get(column.name, spec.metadata.get(column.name))
            columns.append(_repeated(spec, column, value, len(rows)))
    return pa.table(columns, schema=schema.columns)


def _repeated(spec: RowSpec, column: pa.Field[Any], value: object, rows: int) -> pa.Array[Any]:
    if column.type == pa.float64() and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        repeated: pa.Array[Any] = pa.repeat(pa.scalar(cast("Any", value), column.type), rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DatasetError(
            f"video {spec.video_id} has {column.name} {value!r}, and the dataset's column is "
            f"{column.type}: name the video in the manifest with the new type, or drop it"
        ) from error
    return repeated


class _PartWriter(contextlib.AbstractContextManager["_PartWriter"]):
    """One part: rows in, row groups of 8,192 out."""

    def __init__(self, path: Path, partition: Partition, columns: pa.Schema, files: Files) -> None:
        self._path = path
        self._partition = partition
        self._columns = columns
        self._files = files
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._rows = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._files.create(self._path))
            self._writer = stack.enter_context(_parquet_writer(file, self._columns))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*cast("Any", error))

    def add(self, table: pa.Table) -> None:
        """Take rows in; full row groups are written."""
        self._waiting.append(table)
        self._waiting_rows += len(table)
        if self._waiting_rows >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(self._waiting)
            full = len(rows) - len(rows) % ROW_GROUP_ROWS
            for start in range(0, full, ROW_GROUP_ROWS):
                self._write(rows.slice(start, ROW_GROUP_ROWS))
            self._waiting = [rows.slice(full)]
            self._waiting_rows = len(rows) - full

    def flush(self) -> None:
        """Write the rows of the last, shorter row group."""
        if self._waiting_rows:
            self._write(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_rows = [], 0

    def _write(self, rows: pa.Table) -> None:
        # One chunk: where the chunks end would show in the pages.
        self._writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
        self._rows += len(rows)

    def checked(self) -> WrittenPart:
        """Read the closed file back."""
        check_part(self._path, rows=self._rows, columns=self._columns)
        sha256 = sha256_of(self._path)
        folders = [folder_name(key, value) for key, value in self._partition]
        part = Part(
            path="/".join([*folders, f"part-{sha256[:16]}.parquet"]),
            partition=self._partition,
            rows=self._rows,
            bytes=self._path.stat().st_size,
            sha256=sha256,
        )
        return WrittenPart(temporary=self._path, part=part)


def _parquet_writer(file: object, columns: pa.Schema) -> pq.ParquetWriter:
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


def is_there(root: Path, part: Part) -> bool:
    """Whether a part is a file of the size that was written. Its bytes are not read.

    Raises:
        DatasetError: it can't be looked at.
    """
    path = root / part.path
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DatasetError(
            f"{path} can't be read: {error.strerror}; see to its disk and its permissions"
        ) from error
    return stat.S_ISREG(found.st_mode) and found.st_size == part.bytes


def check_part(path: Path, *, rows: int, columns: pa.Schema) -> None:
    """Read a part whole, verifying the checksum of every page.

    Raises:
        DatasetError: it can't be read, or it is not what was written.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = 0
            if not file.schema_arrow.equals(columns, check_metadata=True):
                raise DatasetError(f"{path} has other columns than were written")
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                vectors = cast("Any", group["embedding"].combine_chunks()).flatten().to_numpy()
                if not np.isfinite(vectors).all():
                    raise DatasetError(f"{path} has vectors that are not finite")
                found += len(group)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} can't be read back: {error}; check the disk") from error
    if found != rows:
        raise DatasetError(f"{path} has {found} rows instead of {rows}: check the disk")

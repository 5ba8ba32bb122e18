"""Rows before they are published: the table that is checked, staged and read back."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchembed.core.problems import Reason
from batchembed.dataset.arrays import numbers, numbers_of, repeated, vectors_of
from batchembed.dataset.schema import embedding_type

#: `embedding_option` and `embedding_scope`.
Kind = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRows:
    """Rows that passed every check, and what is odd about them all the same.

    `table` has `embedding_option`, `embedding_scope`, `start_offset_sec` and `end_offset_sec`
    (float64, whole milliseconds) and `embedding`, sorted by the first four.
    """

    table: pa.Table
    warnings: tuple[Reason, ...]

    @property
    def dimension(self) -> int:
        """Of each vector."""
        size: int = self.table.schema.field("embedding").type.list_size
        return size

    @property
    def end_sec(self) -> float:
        """The end of the last segment, in seconds of the source."""
        return float(numbers_of(self.table["end_offset_sec"]).max())

    @property
    def rows(self) -> tuple[tuple[str, int], ...]:
        """(embedding_option, rows), in order of option."""
        options = cast("list[str]", self.table["embedding_option"].to_pylist())
        return tuple((option, len(list(run))) for option, run in groupby(options))


def rows_table(
    options: Sequence[str],
    scopes: Sequence[str],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    vectors: NDArray[np.float32],
) -> pa.Table:
    """The table of a staged file, in one chunk without null bitmaps.

    Args:
        options: one a row.
        scopes: one a row.
        starts: seconds, one a row.
        ends: seconds, one a row.
        vectors: float32, (rows, dimension).
    """
    once = [1] * len(options)
    columns: dict[str, pa.Array[Any]] = {
        "embedding_option": repeated(options, once, pa.string()),
        "embedding_scope": repeated(scopes, once, pa.string()),
        "start_offset_sec": numbers(starts, pa.float64()),
        "end_offset_sec": numbers(ends, pa.float64()),
        "embedding": vector_array(vectors),
    }
    return pa.table(list(columns.values()), schema=rows_schema(vectors.shape[1]))


@functools.cache
def rows_schema(dimension: int) -> pa.Schema:
    """The columns of a staged file."""
    types: dict[str, pa.DataType] = {
        "embedding_option": pa.string(),
        "embedding_scope": pa.string(),
        "start_offset_sec": pa.float64(),
        "end_offset_sec": pa.float64(),
        "embedding": embedding_type(dimension),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


def vector_array(vectors: NDArray[np.float32]) -> pa.Array[Any]:
    """Vectors, (rows, dimension), as a column's values. They share their memory."""
    array: pa.Array[Any] = cast("Any", pa.FixedSizeListArray).from_arrays(
        numbers(vectors.reshape(-1), pa.float32()), type=embedding_type(vectors.shape[1])
    )
    return array


def by_kind(table: pa.Table) -> Iterator[tuple[Kind, pa.Table]]:
    """The rows of each option and scope, in order: slices of a table that is sorted by these."""
    options = cast("list[str]", table["embedding_option"].to_pylist())
    scopes = cast("list[str]", table["embedding_scope"].to_pylist())
    first = 0
    for kind, run in groupby(zip(options, scopes, strict=True)):
        count = sum(1 for _ in run)
        yield kind, table.slice(first, count)
        first += count


def rows_sha256(table: pa.Table) -> str:
    """sha256, in hex, of the rows of a staged file: whatever wrote it, and in whatever pieces.

    Hashed are the dimension, and of each kind in turn its names, times and vectors, with the
    lengths of all that has no fixed one: no other rows give the same bytes.
    """
    sha256 = hashlib.sha256(struct.pack("<Q", table.schema.field("embedding").type.list_size))
    for kind, rows in by_kind(table):
        option, scope = (name.encode() for name in kind)
        sha256.update(struct.pack("<3Q", len(option), len(scope), len(rows)) + option + scope)
        for column in ("start_offset_sec", "end_offset_sec"):
            sha256.update(numbers_of(rows[column]).astype("<f8", copy=False).data)
        for vectors in vectors_of(rows["embedding"]):
            sha256.update(vectors.astype("<f4", copy=False).data)
    return sha256.hexdigest()


def as_staged(found: Iterable[tuple[Kind, pa.Table]]) -> pa.Table:
    """The table of a staged file again, from the rows of each kind."""
    kinds, tables = zip(*found, strict=True)
    of_rows = [kind for kind, table in zip(kinds, tables, strict=True) for _ in range(len(table))]
    rows = pa.concat_tables(
        table.select(["start_offset_sec", "end_offset_sec", "embedding"]) for table in tables
    )
    return rows_table(
        [option for option, _ in of_rows],
        [scope for _, scope in of_rows],
        numbers_of(rows["start_offset_sec"]),
        numbers_of(rows["end_offset_sec"]),
        np.concatenate(list(vectors_of(rows["embedding"]))),
    )

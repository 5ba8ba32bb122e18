"""Rows before they are published: the table that is checked, staged and read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchembed.core.problems import Reason
from batchembed.dataset.schema import embedding_type


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
        last: float = pc.max(self.table["end_offset_sec"]).as_py()
        return last

    @property
    def rows(self) -> tuple[tuple[str, int], ...]:
        """(embedding_option, rows), in order of option."""
        options = cast("list[str]", self.table["embedding_option"].to_pylist())
        return tuple(sorted(Counter(options).items()))


def rows_table(
    options: Sequence[str],
    scopes: Sequence[str],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    vectors: NDArray[np.float32],
) -> pa.Table:
    """The table of a staged file, in one chunk without null bitmaps: same rows, same bytes.

    Args:
        options: one a row.
        scopes: one a row.
        starts: seconds, one a row.
        ends: seconds, one a row.
        vectors: float32, (rows, dimension).
    """
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    columns: dict[str, pa.Array[Any]] = {
        "embedding_option": pa.array(options, pa.string()),
        "embedding_scope": pa.array(scopes, pa.string()),
        "start_offset_sec": pa.array(starts, pa.float64()),
        "end_offset_sec": pa.array(ends, pa.float64()),
        "embedding": cast("Any", pa.FixedSizeListArray).from_arrays(
            flat, type=embedding_type(vectors.shape[1])
        ),
    }
    schema = pa.schema(
        [pa.field(name, each.type, nullable=False) for name, each in columns.items()]
    )
    return pa.table(columns, schema=schema)


def having(table: pa.Table, column: str, values: Sequence[str]) -> pa.Table:
    """The rows whose text in `column` is one of `values`, in the table's order."""
    # A mask, not an expression: those run in threads, which need not keep the order.
    return table.filter(pc.is_in(table[column], value_set=pa.array(values, pa.string())))

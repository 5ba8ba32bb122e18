"""From rows to a numpy matrix of their vectors."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchembed.dataset.arrays import vectors_of
from batchembed.errors import ArgumentError

COLUMN = "embedding"


def embedding_matrix(
    rows: pa.Table | pa.RecordBatch | pa.ChunkedArray[Any] | pa.Array[Any],
) -> NDArray[np.float32]:
    """The vectors of rows, in their order, as a matrix of shape (rows, dimension).

    Rows that are one chunk are not copied: a batch of `to_batches`, a slice of one, a column of
    one chunk. The matrix shares their memory, keeps it alive, and can't be written to. The rows of
    several chunks, as of most tables, are copied once.

    Args:
        rows: a table or a batch with the column `embedding`, or that column.

    Raises:
        ArgumentError: these are no such rows, there is no such column, its vectors are no `fixed_size_list` of float32, or
            there is a null among them.
    """
    column = _column(rows)
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32()):
        raise ArgumentError(
            f"the vectors are {kind}, and a matrix needs a fixed_size_list of float32: cast the "
            "column (in DuckDB, embedding::FLOAT[1024])"
        )
    chunks = [chunk for chunk in _chunks(column) if len(chunk)]
    if any(chunk.null_count or chunk.flatten().null_count for chunk in chunks):
        raise ArgumentError("there is a null among the vectors: leave such rows out")
    pieces = list(vectors_of(pa.chunked_array(chunks, column.type)))
    if len(pieces) == 1:
        pieces[0].flags.writeable = False  # others have these rows, too
        return pieces[0]
    matrix = np.empty((len(column), kind.list_size), np.float32)
    return np.concatenate(pieces, out=matrix) if pieces else matrix


def _column(rows: Any) -> Any:  # noqa: ANN401  Arrow's stubs give arrays of lists no methods
    if isinstance(rows, pa.ChunkedArray | pa.Array):
        return rows
    if not isinstance(rows, pa.Table | pa.RecordBatch):
        raise ArgumentError(
            f"a matrix is made of a pyarrow Table or RecordBatch, or of a column of one, and not of "
            f"{type(rows).__name__}: pass dataset.to_table(), or reader.read_all()"
        )
    if COLUMN not in rows.schema.names:
        raise ArgumentError(f"the rows have no column {COLUMN}: read it, too")
    return rows.column(COLUMN)


def _chunks(column: Any) -> list[Any]:  # noqa: ANN401  as above
    return cast("list[Any]", column.chunks) if isinstance(column, pa.ChunkedArray) else [column]

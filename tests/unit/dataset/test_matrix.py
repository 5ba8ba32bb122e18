"""A matrix of the vectors of rows: their own memory where they are one chunk, and refused where they are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import batchembed
from batchembed.dataset.rows import vector_array
from batchembed.dataset.schema import embedding_type
from batchembed.errors import ArgumentError

VECTORS = np.arange(24, dtype=np.float32).reshape(8, 3)
COLUMN = vector_array(VECTORS)


def table(*chunks: pa.Array[Any]) -> pa.Table:
    kind: Any = embedding_type(3)
    return pa.table({"embedding": pa.chunked_array(chunks, kind)})


def is_shared(matrix: np.ndarray[Any, Any], array: Any) -> bool:
    """Whether the matrix lies in the array's buffer."""
    content = np.frombuffer(array.values.buffers()[1], np.uint8)
    return bool(np.shares_memory(matrix, content))


@pytest.mark.parametrize(
    "rows",
    [
        COLUMN,
        pa.chunked_array([COLUMN]),
        pa.table({"embedding": COLUMN}),
        pa.record_batch({"embedding": COLUMN}),
        table(COLUMN.slice(8), COLUMN, COLUMN.slice(0, 0)),
    ],
    ids=["array", "chunked array", "table", "batch", "table with empty chunks"],
)
def test_rows_of_one_chunk_share_their_memory(rows: Any) -> None:
    matrix = batchembed.embedding_matrix(rows)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, VECTORS)
    assert is_shared(matrix, COLUMN)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_a_slice_is_read_from_where_it_begins() -> None:
    matrix = batchembed.embedding_matrix(table(COLUMN).slice(2, 5).slice(1))
    assert np.array_equal(matrix, VECTORS[3:7])
    assert is_shared(matrix, COLUMN)


def test_a_matrix_outlives_its_rows() -> None:
    matrix = batchembed.embedding_matrix(vector_array(VECTORS.copy()))
    assert np.array_equal(matrix, VECTORS)


def test_several_chunks_are_put_together() -> None:
    matrix = batchembed.embedding_matrix(table(COLUMN.slice(6), COLUMN.slice(1, 2)))
    assert np.array_equal(matrix, VECTORS[[6, 7, 1, 2]])
    assert matrix.flags.c_contiguous
    assert not is_shared(matrix, COLUMN)


@pytest.mark.parametrize("rows", [table(), table(COLUMN.slice(3, 0)), COLUMN.slice(8)])
def test_no_rows_are_an_empty_matrix(rows: Any) -> None:
    matrix = batchembed.embedding_matrix(rows)
    assert matrix.shape == (0, 3)
    assert matrix.dtype == np.float32


NULLABLE = pa.list_(pa.float32(), 3)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (pa.table({"video_id": ["a"]}), "no column embedding"),
        (None, "not of NoneType: pass dataset.to_table"),
        ([[1.0, 2.0]], "not of list"),
        (VECTORS, "not of ndarray"),
        (ds.dataset(table(COLUMN)), r"not of InMemoryDataset: pass dataset.to_table\(\)"),
        (table(COLUMN).to_reader(), r"not of RecordBatchReader: .* or reader.read_all\(\)"),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float32())), r"cast the column.*FLOAT\[1024\]"),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), "fixed_size_list of float32"),
        (pa.array([1.0], pa.float32()), "the vectors are float"),
        (pa.array([[1.0, 2.0, 3.0], None], NULLABLE), "a null among the vectors"),
        (pa.array([[1.0, None, 3.0]], NULLABLE), "a null among the vectors"),
    ],
)
def test_what_is_no_matrix_is_refused(rows: Any, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        batchembed.embedding_matrix(rows)


def test_a_null_outside_a_slice_does_not_matter() -> None:
    vectors = pa.array([None, [1.0, 2.0, 3.0], [1.0, None, 3.0]], NULLABLE)
    assert batchembed.embedding_matrix(vectors.slice(1, 1)).tolist() == [[1, 2, 3]]

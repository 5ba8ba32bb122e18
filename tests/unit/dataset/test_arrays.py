"""Arrays made over their buffers are those that Arrow makes itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchembed.core.problems import Scalar
from batchembed.dataset.arrays import fitting, numbers, numbers_of, repeated, vectors_of
from batchembed.dataset.rows import vector_array


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["Zürich", "", "🌉"], pa.string()),
        ([None, "a", None], pa.string()),
        ([True, False, None], pa.bool_()),
        ([True, False, True], pa.bool_()),
        ([2**31 - 1, None, -(2**31)], pa.int32()),
        ([2**63 - 1, None, -(2**63)], pa.int64()),
        ([0.1, None, 1e300], pa.float64()),
        ([None, None, None], pa.float64()),
    ],
)
def test_repeated_values_are_the_array_that_arrow_makes(
    values: list[Scalar | None], kind: pa.DataType
) -> None:
    counts = [1, 9, 3]
    rows = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
    found = repeated(values, counts, kind)
    found.validate(full=True)
    assert found.equals(pa.array(rows, kind))
    assert found.null_count == rows.count(None)


def test_numbers_share_their_memory() -> None:
    values = np.arange(4.0)
    array = numbers(values, pa.float64())
    values[2] = 9
    assert array.to_pylist() == [0, 1, 9, 3]


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (None, pa.int64(), None),
        (True, pa.bool_(), True),
        ("a", pa.string(), "a"),
        (3, pa.float64(), 3.0),
        (3.0, pa.int64(), 3),
        (-(2**31), pa.int32(), -(2**31)),
    ],
)
def test_a_value_that_a_type_can_hold_fits(
    value: Scalar | None, kind: pa.DataType, fits: Scalar | None
) -> None:
    found = fitting(value, kind)
    assert found == fits
    assert type(found) is type(fits)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, pa.bool_()),
        (True, pa.int64()),
        (True, pa.float64()),
        (1.5, pa.int64()),
        (float("inf"), pa.int64()),
        (float("nan"), pa.int64()),
        (2**31, pa.int32()),
        (2**63, pa.int64()),
        (1, pa.string()),
        ("1", pa.int64()),
        ("1", pa.float64()),
    ],
)
def test_a_value_that_would_become_another_does_not_fit(value: Scalar, kind: pa.DataType) -> None:
    with pytest.raises(TypeError):
        fitting(value, kind)


def test_the_numbers_of_slices_are_read_from_where_they_begin() -> None:
    vectors = np.arange(24, dtype=np.float32).reshape(8, 3)
    array = vector_array(vectors)
    column = pa.chunked_array([array.slice(1, 2), array.slice(5)])
    pieces = list(vectors_of(column))
    assert [len(piece) for piece in pieces] == [2, 3]
    assert np.array_equal(np.concatenate(pieces), vectors[[1, 2, 5, 6, 7]])
    times = pa.chunked_array([pa.array([0.0, 1.0, 2.0]).slice(1), pa.array([5.0])])
    assert numbers_of(times).tolist() == [1, 2, 5]

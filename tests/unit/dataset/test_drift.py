"""How far apart the vectors of two datasets are."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from batchembed.dataset.drift import KindDiff, compare_rows, cosine_distances
from batchembed.dataset.rows import rows_table

KIND = ("visual-text", "clip")

numbers = st.floats(-(2.0**100), 2.0**100, width=32)
vectors = st.lists(numbers, min_size=3, max_size=3)


def array(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def table(rows: dict[tuple[float, float], list[float]]) -> pa.Table:
    starts = np.array([start for start, _ in rows])
    ends = np.array([end for _, end in rows])
    found = np.array(list(rows.values()), np.float32)
    return rows_table([KIND[0]] * len(rows), [KIND[1]] * len(rows), starts, ends, found)


def compared(
    a: dict[tuple[float, float], list[float]] | None,
    b: dict[tuple[float, float], list[float]] | None,
    *,
    comparable: bool = True,
) -> KindDiff:
    tables = [None if rows is None else table(rows) for rows in (a, b)]
    return compare_rows(KIND, *tables, comparable=comparable)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        pytest.param([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.0, id="the same"),
        pytest.param([1.0, 2.0, 2.0], [2.0, 4.0, 4.0], 0.0, id="twice as long"),
        pytest.param([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 1.0, id="at right angles"),
        pytest.param([1.0, 0.0, 0.0], [-3.0, 0.0, 0.0], 2.0, id="opposite"),
        pytest.param([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], 1.0, id="one has no direction"),
        pytest.param([0.0, 0.0, 0.0], [-0.0, 0.0, 0.0], 0.0, id="neither has a direction"),
        pytest.param([1e38, 1e38, 0.0], [1e38, 1e38, 0.0], 0.0, id="too long for float32"),
        pytest.param([1e-40, 0.0, 0.0], [0.0, 1e-40, 0.0], 1.0, id="hardly longer than nothing"),
    ],
)
def test_the_distance_is_one_less_the_cosine(
    a: list[float], b: list[float], distance: float
) -> None:
    assert cosine_distances(array(a), array(b)).tolist() == [pytest.approx(distance, abs=1e-15)]


@given(a=vectors, b=vectors)
def test_the_distance_is_the_same_from_either_side_and_never_out_of_range(
    a: list[float], b: list[float]
) -> None:
    (distance,) = cosine_distances(array(a), array(b))
    assert 0.0 <= distance <= 2.0
    assert cosine_distances(array(b), array(a)) == distance
    assert cosine_distances(array(a), array(a)) == 0.0


@given(step=st.integers(1, 2000))
def test_a_last_bit_is_measured_and_not_lost_in_rounding(step: int) -> None:
    a = array([0.6, 0.8, 0.0])
    b = a.copy()
    b[0, 0] = np.float32(b[0, 0] + step * 2.0**-24)

    (distance,) = cosine_distances(a, b)

    with localcontext() as context:
        context.prec = 60
        of_a, of_b = ([Decimal(float(x)) for x in row] for row in (a[0], b[0]))
        dot = sum(x * y for x, y in zip(of_a, of_b, strict=True))
        lengths = [sum(x * x for x in row).sqrt() for row in (of_a, of_b)]  # type: ignore[union-attr]  # Decimals
        exact = 1 - Decimal(dot) / (lengths[0] * lengths[1])
    assert distance == pytest.approx(float(exact), rel=1e-6, abs=1e-30)


def test_many_vectors_are_each_compared_with_their_own() -> None:
    a = np.random.default_rng(1).standard_normal((3_000, 4), dtype=np.float32)
    b = a.copy()
    b[2_500] *= -1

    assert np.flatnonzero(cosine_distances(a, b)).tolist() == [2_500]


def test_the_same_rows_are_the_same_to_the_bit() -> None:
    rows = {(0.0, 2.0): [1.0, 2.0], (2.0, 4.0): [0.0, 0.0]}

    found = compared(rows, rows)

    assert (found.segments, found.compared, found.identical) == (2, 2, 2)
    assert (found.lowest, found.mean, found.highest) == (0.0, 0.0, 0.0)
    assert found.is_same


def test_a_longer_vector_of_the_same_direction_is_not_the_same_and_not_away() -> None:
    found = compared({(0.0, 2.0): [1.0, 2.0]}, {(0.0, 2.0): [2.0, 4.0]})

    assert found.identical == 0
    assert found.highest == pytest.approx(0.0, abs=1e-15)
    assert not found.is_same


def test_only_segments_with_the_same_start_and_end_are_compared() -> None:
    a = {(0.0, 2.0): [1.0, 0.0], (2.0, 4.0): [1.0, 0.0], (4.0, 6.0): [1.0, 0.0]}
    b = {(0.0, 2.0): [1.0, 0.0], (2.0, 5.0): [0.0, 1.0], (4.0, 6.0): [0.0, 1.0]}

    found = compared(a, b)

    assert (found.segments, found.only_a, found.only_b) == (2, 1, 1)
    assert (found.compared, found.identical) == (2, 1)
    assert (found.lowest, found.mean, found.highest) == (0.0, 0.5, 1.0)


def test_rows_that_one_does_not_have_are_counted() -> None:
    rows = {(0.0, 2.0): [1.0, 0.0]}

    assert (compared(rows, None).only_a, compared(rows, None).only_b) == (1, 0)
    assert (compared(None, rows).only_a, compared(None, rows).only_b) == (0, 1)
    assert not compared(None, rows).is_same


def test_vectors_of_two_models_are_not_compared_and_their_segments_are() -> None:
    found = compared({(0.0, 2.0): [1.0, 0.0]}, {(0.0, 2.0): [1.0, 0.0, 0.0]}, comparable=False)

    assert (found.segments, found.compared, len(found.distances)) == (1, 0, 0)
    assert found.is_same

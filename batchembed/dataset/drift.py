"""Compares the rows of one video and kind in two datasets: which segments, and how far apart the vectors are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchembed.dataset.arrays import numbers_of, vectors_of
from batchembed.dataset.rows import Kind

#: In double precision, vectors are as large again, and there are two of each.
_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class KindDiff:
    """The rows of one kind. A segment is in both if it has the same start and end."""

    kind: Kind
    segments: int  #: in both
    only_a: int
    only_b: int
    compared: int  #: vectors; 0 where those of two models or dimensions stand against each other
    identical: int  #: to the bit
    distances: NDArray[np.float64]  #: cosine distance of the others, in the order of A

    @property
    def lowest(self) -> float:
        """The least distance of a vector."""
        return 0.0 if self.identical else float(self.distances.min(initial=2.0))

    @property
    def mean(self) -> float:
        """Over all vectors that were compared."""
        return float(self.distances.sum() / self.compared) if self.compared else 0.0

    @property
    def highest(self) -> float:
        """The greatest distance of a vector."""
        return float(self.distances.max(initial=0.0))

    @property
    def is_same(self) -> bool:
        """Whether the same segments have the same vectors, to the bit where they can be compared."""
        return not (self.only_a or self.only_b) and self.identical == self.compared


def compare_rows(
    kind: Kind, a: pa.Table | None, b: pa.Table | None, *, comparable: bool
) -> KindDiff:
    """Compare rows: times and vectors, sorted by start and end; None where there are none.

    Args:
        kind: of the rows.
        a: of the one dataset.
        b: of the other.
        comparable: the vectors are of one model, and of one dimension.
    """
    both = (np.empty(0, np.intp),) * 2
    same, distances = np.empty(0, np.bool_), np.empty(0)
    if a is not None and b is not None:
        both = _in_both(_segments(a), _segments(b))
        if comparable:
            vectors = _vectors(a)[both[0]], _vectors(b)[both[1]]
            same = _same_bits(*vectors)
            distances = cosine_distances(vectors[0][~same], vectors[1][~same])
    return KindDiff(
        kind=kind,
        segments=len(both[0]),
        only_a=(0 if a is None else len(a)) - len(both[0]),
        only_b=(0 if b is None else len(b)) - len(both[1]),
        compared=len(same),
        identical=int(same.sum()),
        distances=distances,
    )


def cosine_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of the angle between vectors, 0 to 2, each (rows, dimension); one a row.

    Computed in double precision from the vectors' directions, so that what lies near 0 is right,
    too. A vector of length 0 has no direction: it is 1 from any other, and 0 from another such.
    """
    found = [
        _distances(a[first : first + _AT_ONCE], b[first : first + _AT_ONCE])
        for first in range(0, len(a), _AT_ONCE)
    ]
    return np.concatenate(found) if found else np.empty(0)


def _distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    of_a, of_b = _directions(a), _directions(b)
    apart = 0.5 * np.square(of_a - of_b).sum(axis=1)
    # A half where one of them has no direction.
    apart[of_a.any(axis=1) != of_b.any(axis=1)] = 1.0
    nearest: NDArray[np.float64] = np.minimum(apart, 2.0)
    return nearest


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    double = vectors.astype(np.float64)
    lengths = np.linalg.norm(double, axis=1, keepdims=True)
    return double / np.where(lengths == 0.0, 1.0, lengths)


def _same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (a.view(np.uint32) == b.view(np.uint32)).all(axis=1)
    return same


def _in_both(
    a: NDArray[np.complex128], b: NDArray[np.complex128]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the segments are that both have."""
    if np.array_equal(a, b):
        return (np.arange(len(a)),) * 2
    _, at_a, at_b = np.intersect1d(a, b, return_indices=True)
    return at_a, at_b


def _segments(rows: pa.Table) -> NDArray[np.complex128]:
    """Start and end as one number each, of which numpy knows an order."""
    segments: NDArray[np.complex128] = numbers_of(rows["start_offset_sec"]) + 1j * numbers_of(
        rows["end_offset_sec"]
    )
    return segments


def _vectors(rows: pa.Table) -> NDArray[np.float32]:
    return np.concatenate(list(vectors_of(rows["embedding"])))

"""Checks the vectors of a part, batch by batch: memory is that of a few hundred of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchembed.core.verification import Finding
from batchembed.dataset.arrays import vectors_of
from batchembed.dataset.checks import UNIT_TOLERANCE
from batchembed.dataset.part_reader import part_batches
from batchembed.dataset.verification.rows import Columns
from batchembed.dataset.verification.sealed import RESTORE


@dataclass(slots=True)
class _Wrong:
    """Rows of one kind of fault."""

    message: str
    count: int = 0
    first: int = -1

    def add(self, rows: NDArray[np.int64]) -> None:
        if rows.size and not self.count:
            self.first = int(rows[0])
        self.count += rows.size


def check_vectors(
    key: str, file: pq.ParquetFile, *, normalised: bool, columns: Columns | None
) -> Iterator[Finding]:
    """The vectors that are not finite, zero, or not of length 1 where all are to be.

    Args:
        key: the part's key.
        file: the part, of `open_part`.
        normalised: what the dataset says of its vectors.
        columns: what was read of the part, to say whose a vector is; None where that is not known.

    Raises:
        OSError, pa.ArrowException: a page can't be read.
    """
    wrong = {
        "embedding_not_finite": _Wrong("has numbers that are not finite"),
        "embedding_zero": _Wrong("is the vector zero"),
        "embedding_not_unit": _Wrong("is not of length 1"),
    }
    row = 0
    for batch in part_batches(file, ["embedding"]):
        for vectors in vectors_of(pa.chunked_array([batch.column("embedding")])):
            for code, rows in _wrong(vectors, normalised=normalised):
                wrong[code].add(row + rows)
            row += len(vectors)
    ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
    for code, each in wrong.items():
        if each.count:
            yield Finding(
                code=code,
                file=key,
                message=f"a vector {each.message} ({each.count} of {row})",
                hint=RESTORE,
                row_group=int(np.searchsorted(ends, each.first, side="right")),
                row=each.first,
                video_id=None if columns is None else columns.run_of(each.first).spec.video_id,
            )


def _wrong(
    vectors: NDArray[np.float32], *, normalised: bool
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """One pass over the numbers; another only over vectors that it finds suspect."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
        off = np.abs(np.sqrt(squares) - 1) > UNIT_TOLERANCE
    # A square may be too large or too small for a float32 where no number is.
    odd = np.flatnonzero(~np.isfinite(squares) | (squares == 0))
    infinite = odd[~np.isfinite(vectors[odd]).all(axis=1)]
    zero = odd[~vectors[odd].any(axis=1)]
    yield "embedding_not_finite", infinite
    yield "embedding_zero", zero
    if normalised:
        yield "embedding_not_unit", np.setdiff1d(np.flatnonzero(off), [*infinite, *zero])

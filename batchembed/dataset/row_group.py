"""Gathers the rows of a row group, in memory that is used again for the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from batchembed.core.problems import Scalar
from batchembed.dataset.arrays import fitting, numbers, numbers_of, repeated, vectors_of
from batchembed.dataset.record import RowSpec
from batchembed.dataset.rows import Kind, vector_array
from batchembed.dataset.schema import DatasetSchema
from batchembed.errors import DatasetError

ROW_GROUP_ROWS = 8_192
_CHUNK_ROWS = 256
#: Arrow looks at the size of a page after so many numbers, and what is left of their vector.
_ARROWS_BATCH = 1_024


def _chunk_rows(dimension: int) -> int:
    """How many vectors are one chunk.

    What Arrow makes of a chunk to write it is as large again: hence not one for the row group. A
    chunk ends where Arrow looks at the page's size anyway, so that the pages are those of one
    chunk; only a page that is full at just the end of a chunk may end a vector earlier.
    """
    looked_at = math.ceil(_ARROWS_BATCH / dimension)
    return looked_at * max(1, _CHUNK_ROWS // looked_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Rows of one kind of one video."""

    spec: RowSpec
    kind: Kind
    first: int  #: segment_index
    rows: int


class RowGroup:
    """Up to 8,192 rows of a part."""

    def __init__(self, schema: DatasetSchema, model_name: str) -> None:
        self.columns = schema.columns
        self._model_name = model_name
        self._vectors = np.empty((ROW_GROUP_ROWS, schema.dimension), np.float32)
        self._starts = np.empty(ROW_GROUP_ROWS)
        self._ends = np.empty(ROW_GROUP_ROWS)
        self._runs: list[_Run] = []
        self.rows = 0

    @property
    def is_full(self) -> bool:
        """Whether no more rows go in."""
        return self.rows == ROW_GROUP_ROWS

    def take(self, spec: RowSpec, kind: Kind, table: pa.Table, first: int) -> int:
        """Take rows of one kind in, from `first` on, as many as there is room for.

        Returns:
            How many.

        Raises:
            DatasetError: their vectors are of another dimension.
        """
        dimension = table.schema.field("embedding").type.list_size
        if dimension != self._vectors.shape[1]:
            raise DatasetError(
                f"video {spec.video_id} has vectors of {dimension} numbers, and the dataset's "
                f"have {self._vectors.shape[1]}: give it another output.path, or drop it"
            )
        rows = table.slice(first, ROW_GROUP_ROWS - self.rows)
        begin, end = self.rows, self.rows + len(rows)
        self._starts[begin:end] = numbers_of(rows["start_offset_sec"])
        self._ends[begin:end] = numbers_of(rows["end_offset_sec"])
        for vectors in vectors_of(rows["embedding"]):
            self._vectors[begin : begin + len(vectors)] = vectors
            begin += len(vectors)
        self._runs.append(_Run(spec=spec, kind=kind, first=first, rows=len(rows)))
        self.rows = end
        return len(rows)

    def table(self) -> pa.Table:
        """The rows as a part has them. Of no use any more once `clear` is called.

        Raises:
            DatasetError: a video's metadata is not of a column's type.
        """
        step = _chunk_rows(self._vectors.shape[1])
        chunks = [
            vector_array(self._vectors[first : min(first + step, self.rows)])
            for first in range(0, self.rows, step)
        ]
        given = [shared_values(run.spec, run.kind, self._model_name) for run in self._runs]
        indices = [np.arange(run.first, run.first + run.rows) for run in self._runs]
        own: Mapping[str, Any] = {
            "segment_index": numbers(np.concatenate(indices), pa.int32()),
            "start_offset_sec": numbers(self._starts[: self.rows], pa.float64()),
            "end_offset_sec": numbers(self._ends[: self.rows], pa.float64()),
            "embedding": pa.chunked_array(chunks),
        }
        return pa.table(
            [
                own[column.name] if column.name in own else self._repeated(column, given)
                for column in self.columns
            ],
            schema=self.columns,
        )

    def _repeated(
        self, column: pa.Field[Any], given: Sequence[Mapping[str, Scalar | None]]
    ) -> pa.Array[Any]:
        """A column whose value all rows of a run share."""
        values = []
        for run, of_run in zip(self._runs, given, strict=True):
            value = of_run.get(column.name)
            try:
                values.append(fitting(value, column.type))
            except TypeError as error:
                raise DatasetError(
                    f"video {run.spec.video_id} has {column.name} {value!r}, and the dataset's "
                    f"column is {column.type}: name the video in the manifest with the new type, or drop it"
                ) from error
        return repeated(values, [run.rows for run in self._runs], column.type)

    def clear(self) -> None:
        """Make room for the next rows."""
        self._runs.clear()
        self.rows = 0


def shared_values(spec: RowSpec, kind: Kind, model_name: str) -> Mapping[str, Scalar | None]:
    """What stands in every row of a video's kind, by column: everything but times and vector."""
    return {
        **spec.metadata,
        "video_id": spec.video_id,
        "source": spec.source,
        "source_sha256": spec.source_sha256,
        "job_key": spec.job_key,
        "model_name": model_name,
        "embedding_option": kind[0],
        "embedding_scope": kind[1],
        "duration_sec": spec.duration_sec,
        "width": spec.width,
        "height": spec.height,
    }

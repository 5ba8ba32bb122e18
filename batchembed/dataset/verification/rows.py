"""Checks the columns of a part against what its group file says of each video, run by run.

A *run* is the consecutive rows of one video, option and scope. Everything but times and vectors
follows from the group file, and is compared as whole columns; nothing is looked at row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchembed.core.model import VideoId
from batchembed.core.verification import Finding
from batchembed.dataset.arrays import fitting, numbers_of, repeated
from batchembed.dataset.record import Part, RowSpec
from batchembed.dataset.row_group import shared_values
from batchembed.dataset.rows import Kind
from batchembed.dataset.schema import PATH_COLUMNS, DatasetSchema
from batchembed.dataset.verification.sealed import RESTORE

_NAMES = ("video_id", "embedding_option", "embedding_scope")
#: What differs from row to row.
_OWN = frozenset({"segment_index", "start_offset_sec", "end_offset_sec", "embedding"})


class Run(NamedTuple):
    """Consecutive rows of one kind of one video."""

    spec: RowSpec
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the rows of a group's parts must be."""

    schema: DatasetSchema
    model_name: str
    videos: Mapping[VideoId, tuple[int, RowSpec]]  #: with their places in the group


@dataclass(slots=True, kw_only=True)
class Columns:
    """What was read of a part: its runs, and the times of all rows."""

    runs: list[Run] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)  #: the row that each run begins with
    rows: int = 0
    starts: list[NDArray[np.float64]] = field(default_factory=list)
    ends: list[NDArray[np.float64]] = field(default_factory=list)

    def counts(self) -> Counter[tuple[VideoId, str]]:
        """The rows of each video and option."""
        found: Counter[tuple[VideoId, str]] = Counter()
        for run, first, last in zip(
            self.runs, self.firsts, [*self.firsts[1:], self.rows], strict=True
        ):
            found[run.spec.video_id, run.kind[0]] += last - first
        return found

    def run_of(self, row: int) -> Run:
        """The run that a row is in."""
        return self.runs[int(np.searchsorted(self.firsts, row, side="right")) - 1]


class ColumnCheck:
    """Reads the columns of one part, but for its vectors, row group by row group."""

    def __init__(self, part: Part, listed: Listed) -> None:
        self._part = part
        self._partition = dict(part.partition)
        self._listed = listed
        self._seen: set[tuple[int, Kind]] = set()
        self._last: tuple[int, Kind] | None = None
        self.columns = Columns()
        self.is_known = True  #: every run is of a video that is to have it

    def check(self, file: pq.ParquetFile) -> Iterator[Finding]:
        """Check all row groups; when it has ended, `columns` has what was read.

        Raises:
            OSError, pa.ArrowException: a row group can't be read.
        """
        names = [name for name in self._listed.schema.columns.names if name != "embedding"]
        for number in range(file.metadata.num_row_groups):
            table = file.read_row_group(number, columns=names, use_threads=False)
            if len(table):
                yield from self._row_group(number, table)
            if not self.is_known:
                return

    def _row_group(self, number: int, table: pa.Table) -> Iterator[Finding]:
        columns = self.columns
        firsts = _run_starts([table[name] for name in _NAMES if name not in self._partition])
        found = [self._run(key) for key in self._keys(table, firsts)]
        runs = [each for each in found if isinstance(each, Run)]
        if len(runs) < len(found):
            # Nothing is known of such rows, so that no column can be compared.
            self.is_known = False
            for each, first in zip(found, firsts.tolist(), strict=True):
                if not isinstance(each, Run):
                    why, video_id = each
                    yield self._fault("row_unexpected", why, number, columns.rows + first, video_id)
            return
        goes_on = bool(columns.runs) and columns.runs[-1] == runs[0]
        begins = columns.rows + firsts
        if goes_on:
            begins[0] = columns.firsts[-1]
        for run, row in list(zip(runs, begins.tolist(), strict=True))[goes_on:]:
            wrong = self._order(run)
            if wrong is not None:
                yield self._fault(*wrong, number, row, run.spec.video_id)
            columns.runs.append(run)
            columns.firsts.append(row)
        counts = np.diff([*firsts, len(table)])
        yield from self._shared(number, table, runs, counts)
        yield from self._indices(number, table, np.repeat(begins, counts))
        columns.starts.append(numbers_of(table["start_offset_sec"]))
        columns.ends.append(numbers_of(table["end_offset_sec"]))
        columns.rows += len(table)

    def _keys(self, table: pa.Table, firsts: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
        chosen = table.select([n for n in _NAMES if n not in self._partition]).take(
            cast("Any", _indices(firsts))
        )
        columns = [
            [self._partition[name]] * len(firsts)
            if name in self._partition
            else cast("list[str]", chosen[name].to_pylist())
            for name in _NAMES
        ]
        return zip(*columns, strict=True)

    def _run(self, key: tuple[str, ...]) -> Run | tuple[str, str]:
        """What a run is, or why it must not be here, and of which video it is."""
        video_id, option, scope = key
        listed = self._listed.videos.get(VideoId(video_id))
        if listed is None:
            return "the group file does not list the video", video_id
        spec = listed[1]
        if option not in spec.published:
            return f"the video is not to have rows of {option}", video_id
        for name, value in self._part.partition:
            own = spec.metadata.get(name)
            if name not in PATH_COLUMNS and own != value:
                return f"the video has {name} {own!r}, and the folder {value!r}", video_id
        return Run(spec, (option, scope))

    def _place(self, run: Run) -> tuple[int, Kind]:
        return self._listed.videos[run.spec.video_id][0], run.kind

    def _order(self, run: Run) -> tuple[str, str] | None:
        place, last = self._place(run), self._last
        again = place in self._seen
        self._seen.add(place)
        self._last = place
        option, scope = run.kind
        if again:
            return "row_twice", f"rows of {option} {scope} come a second time"
        if last is not None and place < last:
            return "row_unsorted", f"rows of {option} {scope} come after those they should precede"
        return None

    def _shared(
        self, number: int, table: pa.Table, runs: Sequence[Run], counts: NDArray[np.int64]
    ) -> Iterator[Finding]:
        """The columns whose value all rows of a run share."""
        given = [shared_values(run.spec, run.kind, self._listed.model_name) for run in runs]
        lengths = counts.tolist()
        for column in table.schema:
            if column.name in _OWN:
                continue
            try:
                values = [fitting(each.get(column.name), column.type) for each in given]
            except TypeError as error:
                message = f"the group file has a {column.name} that the column can't have: {error}"
                yield self._fault("row_differs", message, number, None, None)
                continue
            expected = pa.chunked_array([repeated(values, lengths, column.type)])
            if not table[column.name].equals(expected):
                row = _first_difference(table[column.name], expected)
                run = runs[int(np.searchsorted(np.cumsum(counts), row, side="right"))]
                message = f"{column.name} is not what the group file says"
                at = self.columns.rows + row
                yield self._fault("row_differs", message, number, at, run.spec.video_id)

    def _indices(
        self, number: int, table: pa.Table, begins: NDArray[np.int64]
    ) -> Iterator[Finding]:
        """`segment_index` counts each run from 0. `begins` has, for each row, where its run does."""
        before = self.columns.rows
        expected = before + np.arange(len(table)) - begins
        wrong = np.flatnonzero(numbers_of(table["segment_index"]) != expected)
        if wrong.size:
            row = before + int(wrong[0])
            message = f"segment_index does not count from 0 in {wrong.size} rows"
            video_id = self.columns.run_of(row).spec.video_id
            yield self._fault("row_differs", message, number, row, video_id)

    def _fault(
        self, code: str, message: str, number: int, row: int | None, video_id: str | None
    ) -> Finding:
        return Finding(
            code=code,
            file=self._part.path,
            message=message,
            hint=RESTORE,
            row_group=number,
            row=row,
            video_id=video_id,
        )


def _run_starts(columns: Sequence[pa.ChunkedArray[Any]]) -> NDArray[np.int64]:
    """The rows at which one of the columns, which have no nulls, changes; the first among them."""
    starts = [np.zeros(1, np.int64)]
    for column in columns:
        values = cast("Any", column.combine_chunks())
        changes = pc.indices_nonzero(pc.not_equal(values[1:], values[:-1]))
        # Arrow gives them as uint64; none is that large.
        starts.append(np.frombuffer(changes.buffers()[1], np.int64, len(changes)) + 1)
    return np.unique(np.concatenate(starts))


def _indices(rows: NDArray[np.int64]) -> pa.Array[Any]:
    return pa.Array.from_buffers(pa.int64(), rows.size, [None, pa.py_buffer(cast("Any", rows))])


def _first_difference(found: pa.ChunkedArray[Any], wanted: pa.ChunkedArray[Any]) -> int:
    pairs = zip(found.to_pylist(), wanted.to_pylist(), strict=True)
    return next((row for row, (one, other) in enumerate(pairs) if one != other), 0)

"""Reads the rows of one video after the other from a part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any, Self, cast

import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.model import VideoId
from batchembed.dataset.record import Part
from batchembed.dataset.rows import Kind
from batchembed.dataset.storage import Storage
from batchembed.errors import DatasetError

_NAMES = ("video_id", "embedding_option", "embedding_scope")
_CONTENT = ["start_offset_sec", "end_offset_sec", "embedding"]
#: Whole row groups at once would take their size several times over, and so do whole columns.
_BATCH_ROWS = 128
_BUFFER_BYTES = 1 << 16


def part_batches(
    file: pq.ParquetFile, columns: list[str] | None = None, row_groups: Sequence[int] = ()
) -> Iterator[pa.RecordBatch]:
    """The rows of all row groups, or of these, in little memory. The file is of `open_part`."""
    return file.iter_batches(
        _BATCH_ROWS,
        row_groups=list(row_groups) or None,
        columns=columns,
        use_threads=False,
    )


def open_part(file: Path | pa.NativeFile) -> pq.ParquetFile:
    """A part to be read in little memory; the checksum of every page that is read is verified.

    Raises:
        OSError, pa.ArrowException: it can't be read.
    """
    return pq.ParquetFile(
        file, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
    )


class PartReader(contextlib.AbstractContextManager["PartReader"]):
    """One part, open; the row group that was read last stays in memory.

    Raises, on entry and by every method:
        DatasetError: the part is damaged.
    """

    def __init__(self, storage: Storage, part: Part) -> None:
        self._storage = storage
        self._key = part.path
        self._partition = dict(part.partition)
        self._group: tuple[int, pa.Table] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            with self._told():
                self._file = open_part(stack.enter_context(self._storage.open(self._key)))
                self._ranges = self._found()
            metadata = self._file.metadata
            sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
            self._row_groups = [*pairwise(sum(sizes[:n]) for n in range(len(sizes) + 1))]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _found(self) -> Mapping[str, Mapping[Kind, tuple[int, int]]]:
        """From where to where the rows of each video and kind are."""
        in_file = [name for name in _NAMES if name not in self._partition]
        batches = part_batches(self._file, in_file)
        ranges: dict[str, dict[Kind, tuple[int, int]]] = {}
        first = 0
        for (video_id, *kind), run in groupby(chain.from_iterable(map(self._names, batches))):
            last = first + sum(1 for _ in run)
            ranges.setdefault(video_id, {})[kind[0], kind[1]] = (first, last)
            first = last
        return ranges

    def _names(self, batch: pa.RecordBatch) -> Iterator[tuple[str, ...]]:
        columns = [
            [self._partition[name]] * len(batch)
            if name in self._partition
            else cast("list[str]", batch.column(name).to_pylist())
            for name in _NAMES
        ]
        return zip(*columns, strict=True)

    @contextlib.contextmanager
    def _told(self) -> Any:  # noqa: ANN401  a generator for contextlib
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{self._storage.named(self._key)} can't be read: {error}; restore it from a backup"
            ) from error

    def kinds(self, video_id: VideoId) -> Sequence[Kind]:
        """The kinds of rows that a video has here, in order."""
        return tuple(self._ranges.get(video_id, {}))

    def rows(self, video_id: VideoId, kind: Kind) -> pa.Table:
        """The rows of a video of one of these kinds: times and vectors."""
        begin, end = self._ranges[video_id][kind]
        return pa.concat_tables(
            self._row_group(number).slice(max(begin - first, 0), min(end, last) - max(begin, first))
            for number, (first, last) in enumerate(self._row_groups)
            if first < end and begin < last
        )

    def rest(self) -> None:
        """Free the row group in memory."""
        self._group = None

    def _row_group(self, number: int) -> pa.Table:
        if self._group is None or self._group[0] != number:
            self._group = None
            with self._told():
                batches = part_batches(self._file, _CONTENT, [number])
                self._group = (number, pa.Table.from_batches(list(batches)))
        return self._group[1]

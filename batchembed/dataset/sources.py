"""Where the rows of a video come from: its staged file, or the parts of the last record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.model import JobKey, VideoId
from batchembed.core.states import Staged
from batchembed.dataset.files import Files
from batchembed.dataset.record import Group, Part, RowSpec
from batchembed.dataset.rows import CheckedRows, having, rows_table
from batchembed.dataset.staging import (
    StagedDamagedError,
    read_staged,
    staged_name,
    write_staged,
)
from batchembed.errors import DatasetError

#: The job and the sha256 of its staged rows: two retrievals of one job may differ.
Rows = tuple[JobKey, str]
#: For each job's rows, where each option is published: the group's number and the video.
Index = dict[Rows, dict[str, tuple[int, VideoId]]]


class RowsMissingError(DatasetError):
    """Rows to publish are neither staged nor in the dataset: they must be fetched again."""

    def __init__(self, job_keys: Iterable[JobKey], missing_parts: Sequence[Path] = ()) -> None:
        self.job_keys = tuple(job_keys)
        why, what = "", "run again to fetch them"
        if missing_parts:
            why = (
                f"; {len(missing_parts)} parts are missing or cut short, "
                f"the first is {missing_parts[0]}"
            )
            what += ", or restore the parts from a backup"
        super().__init__(
            f"the rows of {len(self.job_keys)} jobs are neither staged nor in the dataset, "
            f"the first is {self.job_keys[0]}{why}: {what}"
        )


def rows_of(spec: RowSpec) -> Rows:
    """What names a video's rows."""
    return spec.job_key, spec.rows_sha256


def index(groups: Iterable[Sequence[RowSpec]]) -> Index:
    """Where the rows of each job are published."""
    found: Index = {}
    for number, specs in enumerate(groups):
        for spec in specs:
            options = found.setdefault(rows_of(spec), {})
            for option in spec.published:
                options.setdefault(option, (number, spec.video_id))
    return found


def staged_names(staging: Path) -> frozenset[str]:
    """The names in the staging folder."""
    return frozenset(path.name for path in staging.iterdir()) if staging.is_dir() else frozenset()


class RowSource(contextlib.AbstractContextManager["RowSource"]):
    """Reads rows, staged or published. Keeps the parts of one group open at a time."""

    def __init__(
        self,
        root: Path,
        staging: Path,
        groups: Sequence[tuple[Group, tuple[RowSpec, ...]]],
    ) -> None:
        self._root = root
        self._staging = staging
        self._staged = staged_names(staging)
        self._groups = groups
        self._index = index(specs for _, specs in groups)
        self._open = contextlib.ExitStack()
        self._open_group: int | None = None
        self._parts: list[_PartReader] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def require(self, specs: Iterable[RowSpec]) -> None:
        """See that the rows of all these videos can be had.

        Raises:
            RowsMissingError: some can't; it names all of them.
        """
        missing = {
            spec.job_key: None
            for spec in specs
            if staged_name(spec.job_key) not in self._staged
            and not self._index.get(rows_of(spec), {}).keys() >= set(spec.published)
        }
        if missing:
            raise RowsMissingError(missing)

    def rows(self, spec: RowSpec) -> pa.Table:
        """The rows of a video that are to be published, sorted by option, scope, start and end.

        Raises:
            RowsMissingError: they are not to be had.
            DatasetError: a part is damaged.
        """
        if staged_name(spec.job_key) in self._staged:
            staged = Staged(file=staged_name(spec.job_key), rows=spec.rows, sha256=spec.rows_sha256)
            # A staged file may be damaged, or of a later retrieval than this record's rows.
            with contextlib.suppress(StagedDamagedError):
                return having(
                    read_staged(self._staging, staged), "embedding_option", spec.published
                )
        return self._published(spec, spec.published)

    def stage_again(self, spec: RowSpec, files: Files) -> None:
        """Write a job's published rows back to staging, where all of them are published.

        So rows that the next record no longer shows need no new task when they are wanted again.

        Raises:
            StorageError: they can't be written.
        """
        options = self._index.get(rows_of(spec), {}).keys()
        if staged_name(spec.job_key) in self._staged or not options >= spec.staged_options:
            return
        table = self._published(spec, sorted(spec.staged_options))
        staged = write_staged(
            CheckedRows(table=table, warnings=()), self._staging, spec.job_key, files=files
        )
        if staged.sha256 == spec.rows_sha256:
            self._staged |= {staged.file}
        else:
            # Another version of Arrow wrote it: under its old name it would pass for damaged.
            files.remove(self._staging / staged.file)

    def _published(self, spec: RowSpec, options: Sequence[str]) -> pa.Table:
        where = self._index.get(rows_of(spec), {})
        if not where.keys() >= set(options):
            raise RowsMissingError([spec.job_key])
        wanted: dict[tuple[int, VideoId], list[str]] = {}
        for option in options:
            wanted.setdefault(where[option], []).append(option)
        found = [
            having(table, "embedding_option", chosen)
            for (number, video_id), chosen in sorted(wanted.items())
            for table in self._video(number, video_id)
        ]
        return _sorted(pa.concat_tables(found))

    def _video(self, number: int, video_id: VideoId) -> Iterable[pa.Table]:
        if self._open_group != number:
            self._open.close()
            parts = self._groups[number][0].parts
            self._parts = [self._open.enter_context(_PartReader(self._root, p)) for p in parts]
            self._open_group = number
        return [part.rows(video_id) for part in self._parts]


def _sorted(table: pa.Table) -> pa.Table:
    """The rows as they were staged: sorted, in one chunk, as the same bytes."""
    keys = ("embedding_option", "embedding_scope", "start_offset_sec", "end_offset_sec")
    table = table.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    vectors = cast("Any", table["embedding"].combine_chunks())
    return rows_table(
        cast("list[str]", table["embedding_option"].to_pylist()),
        cast("list[str]", table["embedding_scope"].to_pylist()),
        np.asarray(table["start_offset_sec"]),
        np.asarray(table["end_offset_sec"]),
        vectors.flatten().to_numpy().reshape(len(table), -1),
    )


class _PartReader(contextlib.AbstractContextManager["_PartReader"]):
    """Reads the rows of one video after the other from a part, one row group in memory."""

    def __init__(self, root: Path, part: Part) -> None:
        self._path = root / part.path
        self._partition = dict(part.partition)
        self._group: tuple[int, pa.Table] | None = None

    def __enter__(self) -> Self:
        with self._told():
            self._file = pq.ParquetFile(self._path, page_checksum_verification=True)
            ids = cast("list[str]", self._file.read(["video_id"])["video_id"].to_pylist())
        self._ranges: dict[str, tuple[int, int]] = {}
        first = 0
        for video_id, run in groupby(ids):
            count = sum(1 for _ in run)
            self._ranges[video_id] = (first, first + count)
            first += count
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Any:  # noqa: ANN401  a generator for contextlib
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{self._path} can't be read: {error}; restore it from a backup"
            ) from error

    def rows(self, video_id: VideoId) -> pa.Table:
        """The video's rows here, as columns of a staged file."""
        begin, end = self._ranges.get(video_id, (0, 0))
        tables, first = [], 0
        for number in range(self._file.num_row_groups):
            last = first + self._file.metadata.row_group(number).num_rows
            if first < end and begin < last:
                group = self._row_group(number)
                tables.append(
                    group.slice(max(begin - first, 0), min(end, last) - max(begin, first))
                )
            first = last
        return pa.concat_tables(tables) if tables else self._row_group(0).slice(0, 0)

    def _row_group(self, number: int) -> pa.Table:
        if self._group is None or self._group[0] != number:
            with self._told():
                self._group = (number, self._as_staged(self._file.read_row_group(number)))
        return self._group[1]

    def _as_staged(self, rows: pa.Table) -> pa.Table:
        def column(name: str) -> Any:  # noqa: ANN401  Arrow's stubs tell array types apart
            if name in self._partition:
                return pa.repeat(pa.scalar(self._partition[name]), len(rows))
            return rows[name]

        names = (
            "embedding_option",
            "embedding_scope",
            "start_offset_sec",
            "end_offset_sec",
            "embedding",
        )
        return pa.table({name: column(name) for name in names})

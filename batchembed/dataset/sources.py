"""Where the rows of a video come from: its staged file, or the parts of the last record."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

import pyarrow as pa

from batchembed.core.model import JobKey, VideoId
from batchembed.core.states import Staged
from batchembed.dataset.part_reader import PartReader
from batchembed.dataset.record import Group, RowSpec
from batchembed.dataset.rows import CheckedRows, Kind, as_staged, by_kind
from batchembed.dataset.staging import (
    StagedDamagedError,
    StagedFiles,
    staged_name,
    write_staged,
)
from batchembed.dataset.storage import Storage
from batchembed.errors import DatasetError

#: The job and the sha256 of its staged rows: two retrievals of one job may differ.
Rows = tuple[JobKey, str]
#: For each job's rows, where each option is published: the group's number and the video.
Index = dict[Rows, dict[str, tuple[int, VideoId]]]


class RowsMissingError(DatasetError):
    """Rows to publish are neither staged nor in the dataset."""

    def __init__(
        self,
        specs: Sequence[RowSpec],
        *,
        missing_parts: Sequence[str] = (),
        kept: Collection[VideoId] = (),
    ) -> None:
        """Say of which videos, and every way out.

        Args:
            specs: of the videos.
            missing_parts: of the dataset.
            kept: videos that the manifest no longer names.
        """
        self.specs = tuple(specs)
        self.videos = _few(specs)  #: in words
        self.job_keys = tuple(dict.fromkeys(spec.job_key for spec in specs))
        what, ways = f"the rows of {self.videos} are neither staged nor in the dataset", []
        if missing_parts:
            parts = "1 part is" if len(missing_parts) == 1 else f"{len(missing_parts):,} parts are"
            what += f"; {parts} missing or cut short, the first is {missing_parts[0]}"
            ways.append("restore the parts from a backup")
        gone = [spec for spec in specs if spec.video_id in kept]
        if len(gone) < len(specs):
            ways.append(
                "run again, to fetch what the service has, and with `--retry failed:lost` to embed "
                "anew what it has not"
            )
        if gone:
            ways.append(
                f"let the manifest ask for {_few(gone)} again, with files that can be read; or give "
                "up what it does not ask for, by `on_removed: drop`"
            )
        super().__init__(f"{what}: {'; or '.join(ways)}")


def _few(specs: Sequence[RowSpec]) -> str:
    videos = [*dict.fromkeys(spec.video_id for spec in specs)]
    more = f" and {len(videos) - 3:,} more" if len(videos) > 3 else ""
    return f"video{'s' if len(videos) > 1 else ''} {', '.join(videos[:3])}{more}"


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


class RowSource(contextlib.AbstractContextManager["RowSource"]):
    """Reads rows, staged or published. Keeps the parts of one group open at a time."""

    def __init__(
        self,
        storage: Storage,
        staging: StagedFiles,
        groups: Sequence[Group],
        published: Index,
    ) -> None:
        self._storage = storage
        self._staging = staging
        self._staged = staging.names()
        self._groups = groups
        self._index = published
        self._open = contextlib.ExitStack()
        self._open_group: int | None = None
        self._parts: list[PartReader] = []
        self._last: tuple[Rows, Mapping[Kind, pa.Table]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def require(self, specs: Iterable[RowSpec]) -> None:
        """See that the rows of all these videos can be had.

        Raises:
            RowsMissingError: some can't; it names all of them.
        """
        missing = [
            spec
            for spec in specs
            if staged_name(spec.job_key) not in self._staged
            and not self._index.get(rows_of(spec), {}).keys() >= set(spec.published)
        ]
        if missing:
            raise RowsMissingError(missing)

    def kinds(self, spec: RowSpec) -> tuple[Kind, ...]:
        """The kinds of rows of a video that are to be published, in order.

        Raises:
            RowsMissingError: they are not to be had.
            DatasetError: a part is damaged.
        """
        staged = self._read_staged(spec)
        if staged is None:
            return self._published_kinds(spec, spec.published)
        return tuple(kind for kind in staged if kind[0] in spec.published)

    def rows(self, spec: RowSpec, kind: Kind) -> pa.Table:
        """The rows of one of these kinds, sorted by start and end: times and vectors.

        Raises:
            RowsMissingError: they are not to be had.
            DatasetError: a part is damaged.
        """
        staged = self._read_staged(spec)
        return self._published(spec, kind) if staged is None else staged[kind]

    def rest(self) -> None:
        """Free the memory of what was read."""
        self._last = None
        for part in self._parts:
            part.rest()

    def stage_again(self, spec: RowSpec) -> None:
        """Write a job's published rows back to staging, where all of them are published.

        So rows that the next record no longer shows need no new task when they are wanted again.

        Raises:
            DatasetError: they are not those that the record names, or a part is damaged.
            StorageError: they can't be written.
        """
        options = self._index.get(rows_of(spec), {}).keys()
        if staged_name(spec.job_key) in self._staged or not options >= spec.staged_options:
            return
        kinds = self._published_kinds(spec, sorted(spec.staged_options))
        tables = [self._published(spec, kind) for kind in kinds]
        table = as_staged(zip(kinds, tables, strict=True))
        staged = write_staged(
            CheckedRows(table=table, warnings=()),
            self._staging.folder,
            spec.job_key,
            files=self._storage.files,
        )
        # Where a record of an earlier version names them, their bytes may be right.
        if staged.sha256 != spec.rows_sha256 and not self._staging.is_right(
            staged.file, spec.rows_sha256
        ):
            self._storage.files.remove(self._staging.folder / staged.file)
            raise DatasetError(
                f"the rows of video {spec.video_id} in {self._storage.location} do not have the "
                "sha256 that the record gives them: restore its parts from a backup, or publish "
                "all of its options"
            )
        self._staged |= {staged.file}

    def _read_staged(self, spec: RowSpec) -> Mapping[Kind, pa.Table] | None:
        """The rows of a video's job; None where they are not staged.

        A staged file may be damaged, or of a later retrieval than this record's rows.
        """
        if self._last is not None and self._last[0] == rows_of(spec):
            return self._last[1]
        self._last = None
        if staged_name(spec.job_key) in self._staged:
            staged = Staged(file=staged_name(spec.job_key), rows=spec.rows, sha256=spec.rows_sha256)
            with contextlib.suppress(StagedDamagedError):
                self._last = rows_of(spec), dict(by_kind(self._staging.read(staged)))
                return self._last[1]
        return None

    def _published_kinds(self, spec: RowSpec, options: Sequence[str]) -> tuple[Kind, ...]:
        where = self._index.get(rows_of(spec), {})
        if not where.keys() >= set(options):
            raise RowsMissingError([spec])
        return tuple(
            sorted(
                kind
                for option in options
                for part in self._parts_of(where[option][0])
                for kind in part.kinds(where[option][1])
                if kind[0] == option
            )
        )

    def _published(self, spec: RowSpec, kind: Kind) -> pa.Table:
        where = self._index.get(rows_of(spec), {}).get(kind[0])
        if where is not None:
            for part in self._parts_of(where[0]):
                if kind in part.kinds(where[1]):
                    return part.rows(where[1], kind)
        raise RowsMissingError([spec])

    def _parts_of(self, number: int) -> Sequence[PartReader]:
        if self._open_group != number:
            self._open.close()
            parts = self._groups[number].parts
            self._parts = [self._open.enter_context(PartReader(self._storage, p)) for p in parts]
            self._open_group = number
        return self._parts

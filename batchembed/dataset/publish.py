"""The dataset on disk, and how it changes: a publish writes new parts, then one record.

The order of a publish is the whole of its safety: (1) every new part under a temporary name, on
disk, read back and checked; (2) all of them renamed, the folders on disk; (3) the record, created
only if its number is free: this alone publishes; (4) the side files renamed; (5) what no record
names any more is removed. A crash before 3 leaves the last record as it was; one after it leaves
work that `finish_interrupted` does again.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchembed.core.groups import layout
from batchembed.core.model import JobKey, VideoId
from batchembed.core.states import Staged
from batchembed.dataset.commit import Committer, Current, Plan, fingerprints, read_current
from batchembed.dataset.identity import (
    DatasetFile,
    DatasetIdentity,
    engine_differences,
    is_dataset,
    open_or_create_file,
    require_dimension,
)
from batchembed.dataset.record import Part, Record, RowSpec, read_object, record_before
from batchembed.dataset.schema import DatasetSchema
from batchembed.dataset.sources import Rows, RowsMissingError, rows_of
from batchembed.dataset.staging import StagedFiles, staged_name
from batchembed.dataset.storage import DATASET_FILE, Storage
from batchembed.dataset.sweep import (
    clear_scratch,
    place_side_files,
    sweep,
    write_side_files,
)
from batchembed.errors import StorageError

__all__ = ["Dataset", "DatasetIdentity", "Published", "RowSpec", "RowsMissingError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publish did."""

    record: Record  #: the last one now
    changed: bool  #: this publish made it
    freed: tuple[JobKey, ...]  #: jobs whose staged file was removed: the record has all their rows


class Dataset:
    """One dataset. Its one writer holds the run's lock."""

    def __init__(self, storage: Storage, about: DatasetFile, *, is_new: bool = False) -> None:
        self.storage = storage
        #: Held by whoever writes: a publish removes what another has not given its name yet.
        self.turn = threading.Lock()
        self.is_new = is_new  #: it was made when it was opened
        self._about = about
        self._known: Current | None = None
        #: Staged again for videos that may yet be these jobs.
        self._by_job: tuple[Current, dict[JobKey, RowSpec]] | None = None
        self._staged_files: dict[Path, StagedFiles] = {}  #: what they know of files is kept
        self._spared: dict[Rows, RowSpec] = {}
        self.engine_differences: tuple[str, ...] = ()

    @classmethod
    def open_or_create(
        cls,
        storage: Storage,
        *,
        identity: DatasetIdentity,
        new_id: Callable[[], str],
    ) -> Dataset:
        """The dataset in a place, made there if there is none.

        `engine_differences` of the result names what computed the vectors and is not the same now.

        Raises:
            OutputRefusedError: there is something else, of another model or dimension, or it can't
                be written. Nothing was changed in it.
            DatasetError: it is damaged, or of a newer version of batchembed.
        """
        about, is_new = open_or_create_file(storage, identity, new_id)
        dataset = cls(storage, about, is_new=is_new)
        require_dimension(storage, dataset.identity.dimension, identity.dimension)
        dataset.engine_differences = engine_differences(about.engine, identity.engine)
        return dataset

    @classmethod
    def find(cls, storage: Storage) -> Dataset | None:
        """The dataset in a place for those who only look, or None where there is none.

        Raises:
            DatasetError: it is damaged, or of a newer version of batchembed.
            OSError: it can't be known whether there is one.
        """
        if not is_dataset(storage):
            return None
        return cls(storage, read_object(storage, DATASET_FILE, DatasetFile))

    @property
    def dataset_id(self) -> str:
        """Given once, when the dataset was made."""
        return self._about.dataset_id

    @property
    def identity(self) -> DatasetIdentity:
        """What the dataset holds; its dimension is known once it has a record."""
        record, about = self.last(), self._about
        return DatasetIdentity(
            model_name=about.model_name,
            dimension=about.dimension if record is None else record.dimension,
            engine=about.engine,
        )

    def last(self) -> Record | None:
        """The last record, None where there is none yet.

        Raises:
            DatasetError: it is damaged, or of a newer version of batchembed.
        """
        return self._current().record

    def specs(self) -> tuple[RowSpec, ...]:
        """The videos of the last record, in order, also those of missing parts."""
        return self._current().specs

    @property
    def missing_parts(self) -> tuple[str, ...]:
        """Parts of the last record that are gone, or not of the size that was written; in order.

        The rows of every video whose group lacks one are to be had from staging alone.

        Raises:
            DatasetError: the record is damaged, or a part can't be looked at.
        """
        return tuple(self.storage.named(part.path) for part in self._current().missing)

    def shows(self, job_key: JobKey, staged: Staged, *, options: tuple[str, ...] | None) -> bool:
        """Whether the last record has a job's rows of these options (None: all), in parts that are there."""
        wanted = {
            option
            for option, rows in staged.rows
            if rows and (options is None or option in options)
        }
        return self._current().index.get((job_key, staged.sha256), {}).keys() >= wanted

    def spec_of(self, job_key: JobKey) -> RowSpec | None:
        """A video of the last record that is this job, if one is."""
        current = self._current()
        if self._by_job is None or self._by_job[0] is not current:
            self._by_job = current, {spec.job_key: spec for spec in current.specs}
        return self._by_job[1].get(job_key)

    def has_rows(
        self,
        job_key: JobKey,
        staged: Staged,
        *,
        options: tuple[str, ...] | None,
        staging: Path,
    ) -> bool:
        """Whether a job's rows of these options (None: all) are published, or staged and whole."""
        if self.shows(job_key, staged, options=options):
            return True
        files = self._staged_files.setdefault(staging, StagedFiles(staging))
        return files.is_right(staged_name(job_key), staged.sha256)

    def finish_interrupted(self, staging: Path) -> tuple[str, ...]:
        """End what a crash interrupted. Every command that writes calls it first.

        Returns:
            The keys of what no record names, and was removed.

        Raises:
            StorageError: it can't be done.
        """
        with self._storage():
            self._known = None
            record = self.last()
            if record is not None:
                place_side_files(self.storage, record)
            clear_scratch(self.storage.scratch(staging), self.storage.files)
            return sweep(self.storage, record, record_before(self.storage, record))

    def publish(  # noqa: PLR0913  what it publishes, and two questions that only a run can answer
        self,
        listed: Sequence[RowSpec],
        kept: Sequence[RowSpec],
        *,
        schema: DatasetSchema,
        staging: Path,
        side_files: Mapping[str, bytes],
        awaited: Callable[[JobKey], bool] = lambda _key: False,
        accept: Callable[[tuple[Part, ...]], None] | None = None,
    ) -> Published:
        """Make the dataset hold exactly these rows, and make a record if that changes it.

        Parts that are missing are written again; that makes a record, too.

        Args:
            listed: the manifest's videos that have rows, in its order.
            kept: videos that the manifest no longer names, whose rows stay.
            schema: of every part.
            staging: where rows wait that are not published yet.
            side_files: content by name, for `_batchembed`.
            awaited: whether a job may yet be published of another video: its rows, where the last
                record has them and this one has not, are staged again until it is not any more.
            accept: is given all parts of a new record once they are written and checked, before any
                has its name. What it raises ends the publish; nothing was changed.

        Raises:
            RowsMissingError: rows are neither staged nor published. Nothing was changed.
            OutputRefusedError: the vectors are of another dimension than the dataset's.
            StorageError: something can't be written or read. The last record stays whole.
        """
        require_dimension(self.storage, self.identity.dimension, schema.dimension)
        groups = layout(_sized(listed), _sized(kept))
        sides = {
            name: (hashlib.sha256(content).hexdigest(), content)
            for name, content in sorted(side_files.items())
        }
        staged = StagedFiles(staging)
        self._spared |= {rows_of(spec): spec for spec in self.specs() if awaited(spec.job_key)}
        with self.turn, self._storage():
            last, lacking = self._current().record, bool(self._current().missing)
            prints = fingerprints(self._current(), schema, self._about.model_name, groups)
            changed = last is None or lacking or not _is_same(last, schema, prints, sides)
            if last is None or changed:
                record = self._commit(
                    Plan(
                        groups=tuple(zip(prints, groups, strict=True)),
                        listed=tuple(listed),
                        kept=tuple(kept),
                        schema=schema,
                        staging=staged,
                        side_files=sides,
                        awaited=awaited,
                        accept=accept,
                    )
                )
            else:
                record = last
                write_side_files(self.storage, sides)
            place_side_files(self.storage, record)
            sweep(self.storage, record, last)
            self._forget(staged, awaited)
            return Published(record=record, changed=changed, freed=self._free(staged))

    def _current(self) -> Current:
        if self._known is None:
            self._known = read_current(self.storage)
        return self._known

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.storage.location} can't be written: {error}; the last record is as it was, "
                "run again once there is room or the disk is well"
            ) from error

    def _commit(self, plan: Plan) -> Record:
        committer = Committer(
            storage=self.storage,
            dataset_id=self.dataset_id,
            model_name=self._about.model_name,
        )
        current, missing = self._current(), self.missing_parts
        known: Current | None = None  # whatever ends this half-way: what is on disk is read again
        try:
            known, committed = committer.commit(plan, current)
        except RowsMissingError as error:
            kept = {spec.video_id for spec in plan.kept}
            raise RowsMissingError(error.specs, missing_parts=missing, kept=kept) from error
        finally:
            # Not before: who asks meanwhile, in another thread, must not read what is then the past.
            self._known = known
        return committed

    def _forget(self, staging: StagedFiles, awaited: Callable[[JobKey], bool]) -> None:
        """Remove what was staged again for videos that turned out to be other jobs."""
        settled = [rows for rows, spec in self._spared.items() if not awaited(spec.job_key)]
        names, named = staging.names(), {rows_of(spec) for spec in self.specs() if settled}
        for rows in settled:
            spec = self._spared.pop(rows)
            name = staged_name(spec.job_key)
            if rows not in named and name in names:
                staging.remove(name, spec.rows_sha256, self.storage.files)

    def _free(self, staging: StagedFiles) -> tuple[JobKey, ...]:
        """Remove the staged files of jobs all of whose rows the record has."""
        names = staging.names()
        whole = {
            rows_of(spec): None
            for spec in self.specs()
            if staged_name(spec.job_key) in names
            and self._current().index[rows_of(spec)].keys() >= spec.staged_options
        }
        files = self.storage.files
        return tuple(
            job_key
            for job_key, sha256 in whole
            if staging.remove(staged_name(job_key), sha256, files)
        )


def _sized(specs: Sequence[RowSpec]) -> list[tuple[VideoId, int, RowSpec]]:
    return [(spec.video_id, spec.published_rows, spec) for spec in specs]


def _is_same(
    record: Record,
    schema: DatasetSchema,
    prints: Sequence[str],
    sides: Mapping[str, tuple[str, bytes]],
) -> bool:
    """Whether the record is already what a publish would make."""
    return (
        record.schema == schema
        and [group.fingerprint for group in record.groups] == list(prints)
        and record.side_files == tuple((name, sha256) for name, (sha256, _) in sides.items())
    )

"""Publishes what a run has, whenever enough of it is there, and at its end; the ledger follows."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from batchembed.core.lock_differences import BuildDiffersError
from batchembed.core.model import JobKey, Video
from batchembed.core.outcome import Outcome, VideoOutcome, withheld
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.dataset.publish import RowsMissingError
from batchembed.dataset.schema import DatasetSchema, dataset_schema
from batchembed.errors import BatchembedError, StorageError
from batchembed.runner.book import Book
from batchembed.runner.listen import Published
from batchembed.runner.listing import side_files
from batchembed.runner.locked import LockedBuild
from batchembed.runner.publication import Publication
from batchembed.runner.setting import Setting
from batchembed.runner.writing import Writing

_UNPUBLISHED = Reason(
    code="withheld",
    message="its rows are staged: a locked run publishes once every video has ended",
    hint="run again",
)
_UNFETCHED = Reason(
    code="withheld",
    message="its rows are staged: those of missing parts are fetched first",
    hint="run again",
)


def schema_of(setting: Setting, publication: Publication) -> DatasetSchema:
    """The schema of every part that a run writes, known before its first submission.

    Raises:
        StorageError: the dimension is not known.
    """
    manifest, dataset = setting.manifest, setting.dataset
    dimension = setting.profile.dimension or dataset.identity.dimension
    if dimension is None:
        raise StorageError(f"the dimension of {manifest.model_name} is not known")
    metadata = [video.metadata for video in manifest.videos]
    metadata += [spec.metadata for spec in publication.kept()]
    return dataset_schema(
        metadata,
        manifest.output.partition_by,
        dimension,
        normalised=setting.profile.unit_length,
    )


@dataclass(kw_only=True)
class Publisher:
    """Makes the records of one run, one at a time."""

    setting: Setting
    book: Book
    write: Writing
    publication: Publication
    schema: DatasetSchema
    left: Callable[[Video], VideoOutcome]  #: what is known of a video that did not end
    halt: Callable[[BatchembedError], None]  #: ends the run
    halted: Callable[[], BatchembedError | None]  #: what ended it
    due: asyncio.Event = field(default_factory=asyncio.Event)  #: another group is full
    has_published: bool = False
    unfetched: str | None = None  #: why nothing was published, though nothing is wrong
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def publish_when_due(self) -> None:
        """Publish when a group is full, and from time to time, until the run is halted or this cancelled."""
        while True:
            # Not wait_for: in Python 3.11 that swallows a cancel which comes with its event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.setting.manifest.output.publish_every_s):
                    await self.due.wait()
            self.due.clear()
            await asyncio.shield(self._publish_early())
            if self.halted() is not None:
                return

    async def _publish_early(self) -> None:
        """Publish before the end, where there are rows or were.

        What fails in it ends the run, also where nobody waits any more; but rows of the last record
        that are being fetched again are waited for.
        """
        try:
            if self.publication.listed() or self.setting.dataset.last() is not None:
                await self.publish()
        except RowsMissingError:
            pass  # the end tells it, if they can't be had
        except BatchembedError as error:
            self.halt(error)

    async def publish(self) -> tuple[VideoOutcome, ...]:
        """Publish what there is, also when the run ends in the middle of another publish.

        Returns:
            The outcome of each video of the manifest.

        Raises:
            BatchembedError: it can't be published; the last record is as it was.
        """
        async with self._turn:
            return await self._publish()

    async def publish_last(self) -> tuple[VideoOutcome, ...]:
        """Publish at the end of a run: nothing, if rows of the last record are yet to be fetched.

        Nor where what ended it came before there was anything to tell in a first record.

        Returns:
            The outcome of each video of the manifest.

        Raises:
            BatchembedError: it can't be published; the last record is as it was.
        """
        outcomes = self.publication.outcomes(self.left)
        if self.halted() is not None and self._is_empty(outcomes):
            return outcomes
        try:
            return await self.publish()
        except RowsMissingError as error:
            if not all(map(self._is_in_flight, error.job_keys)):
                raise
            self.unfetched = (
                f"nothing was published: the rows of {error.videos}, of missing parts, are yet to "
                "be fetched; run again"
            )
            return withheld(self.publication.outcomes(self.left), _UNFETCHED)

    def _is_in_flight(self, key: JobKey) -> bool:
        """Whether a run brings the rows of a job home, whoever's they are."""
        entry = self.book[key]
        return entry.state is State.READY and entry.intent is not None

    def _is_empty(self, outcomes: Iterable[VideoOutcome]) -> bool:
        """Whether a first record would have no row and no failure."""
        return self.setting.dataset.last() is None and all(
            each.outcome in {Outcome.PENDING, Outcome.SKIPPED} for each in outcomes
        )

    async def publish_locked(self, locked: LockedBuild) -> tuple[VideoOutcome, ...]:
        """Publish once every video has ended, and only what was locked.

        Raises:
            BuildDiffersError: it is another build, or damaged; nothing was published.
            DatasetError: a part can't be read.
        """
        halted = self.halted()
        if isinstance(halted, BuildDiffersError):
            raise halted
        outcomes = self.publication.outcomes(self.left)
        if halted or any(each.outcome is Outcome.PENDING for each in outcomes):
            return withheld(outcomes, _UNPUBLISHED)
        locked.require_outcomes(outcomes)
        published = await self.publish()
        record = self.setting.dataset.last()
        if record is not None and not self.has_published:
            # Nothing had to be written, so nobody has looked at the parts that there are.
            accept = locked.acceptance(self.setting.dataset)
            await self.write(functools.partial(accept, record.parts))
        return published

    async def _publish(self) -> tuple[VideoOutcome, ...]:
        """Make a record of what there is, if that differs from the last."""
        setting, publication = self.setting, self.publication
        listed, kept = publication.listed(), publication.kept()
        outcomes = publication.outcomes(self.left)
        staged = publication.staged_jobs(listed)
        named = {spec.job_key for spec in (*listed, *kept)}
        failed = [each for each in outcomes if each.outcome is Outcome.FAILED]
        named.update(each.job_key for each in failed if each.job_key is not None)
        files = side_files(
            outcomes, (entry for key, entry in self.book.entries.items() if key in named)
        )
        locked = setting.locked
        published = await self.write(
            functools.partial(
                setting.dataset.publish,
                listed,
                kept,
                schema=self.schema,
                staging=setting.home.staging,
                side_files=files,
                awaited=publication.awaited(),
                accept=None if locked is None else locked.acceptance(setting.dataset),
            )
        )
        await self._commit(staged, published.record.number)
        publication.before = {spec.video_id: spec for spec in setting.dataset.specs()}
        if published.changed:
            self.has_published = True
            record = published.record
            setting.listener.notice(
                Published(number=record.number, rows=record.rows, parts=len(record.parts))
            )
        return publication.outcomes(self.left)

    async def _commit(self, staged: Iterable[Entry], number: int) -> None:
        await self.book.move_all(
            (State.STAGED, replace(entry, state=State.COMMITTED, commit=number)) for entry in staged
        )

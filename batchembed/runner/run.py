"""The only loop: every video surveyed, carried and published, and the report of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

from batchembed.core.model import FileIdentity, Job, JobKey, Manifest, Profile, Video
from batchembed.core.outcome import Outcome, VideoOutcome, exit_code
from batchembed.core.run_report import RunReport
from batchembed.core.states import Entry, State
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import META
from batchembed.dataset.schema import DatasetSchema, dataset_schema
from batchembed.dataset.staging import StagedDamagedError, read_staged
from batchembed.errors import PRECEDENCE, BatchembedError, StorageError
from batchembed.runner.carry import Carried, Carrier, Service
from batchembed.runner.foresee import foresee
from batchembed.runner.listen import Ended, Listener, Moved, Published, Started, Warned
from batchembed.runner.listing import side_files
from batchembed.runner.outcomes import ended, not_ended, rejected
from batchembed.runner.publication import Publication
from batchembed.runner.survey import Surveyed, Surveyor
from batchembed.store.home import Home
from batchembed.store.ledger import KnownFile, Ledger
from batchembed.store.ledger_thread import LedgerThread
from batchembed.store.lock import run_lock

ServiceOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[Service]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything a run works with, opened by its caller."""

    manifest: Manifest
    profile: Profile
    dataset: Dataset
    home: Home
    open_service: ServiceOpener
    listener: Listener
    clock: Callable[[], float]
    stop: asyncio.Event  #: set: drain, and end
    retry_failed: bool = False
    warnings: tuple[str, ...] = ()


async def run(setting: Setting) -> RunReport:
    """Run a manifest once.

    Raises:
        LockedError: another run holds the state folder, or the dataset from elsewhere.
        StorageError: ledger, staging or dataset can't be written; what is committed stays.
    """
    with run_lock(setting.home.lock), run_lock(setting.dataset.root / META / "lock"):
        await asyncio.to_thread(setting.dataset.finish_interrupted)
        async with LedgerThread(setting.home.ledger) as ledger:
            entries = await ledger.do(lambda opened: opened.entries())
            known = await ledger.do(lambda opened: opened.files())
            await _heal(setting, ledger, entries)
            async with setting.open_service() as service:
                return await _Run(setting, service, ledger, entries, known).run()


async def _heal(setting: Setting, ledger: LedgerThread, entries: dict[JobKey, Entry]) -> None:
    """Bring the ledger in step with record and staging, which a crash may have left ahead."""
    record = setting.dataset.last()
    published = {(spec.job_key, spec.rows_sha256) for spec in setting.dataset.specs()}
    for entry in tuple(entries.values()):
        if entry.state is not State.STAGED or entry.staged is None:
            continue
        if record is not None and (entry.job_key, entry.staged.sha256) in published:
            healed = replace(entry, state=State.COMMITTED, commit=record.number)
        else:
            try:
                await asyncio.to_thread(read_staged, setting.home.staging, entry.staged)
                continue
            except StagedDamagedError:
                healed = replace(entry, state=State.READY, staged=None)
        await _move(ledger, entries, healed, old=State.STAGED)


async def _move(
    ledger: LedgerThread, entries: dict[JobKey, Entry], entry: Entry, *, old: State
) -> None:
    def move(opened: Ledger) -> bool:
        return opened.move(entry, old=old)

    if await ledger.do(move):
        entries[entry.job_key] = entry


class _Run:
    def __init__(
        self,
        setting: Setting,
        service: Service,
        ledger: LedgerThread,
        entries: dict[JobKey, Entry],
        known: dict[str, KnownFile],
    ) -> None:
        self._setting = setting
        self._ledger = ledger
        self._entries = entries
        self._known = known
        manifest = setting.manifest
        self._surveyor = Surveyor(manifest, setting.profile, known, self._remember)
        self._carrier = Carrier(
            service=service,
            ledger=ledger,
            entries=entries,
            profile=setting.profile,
            polling=manifest.polling,
            dataset_id=setting.dataset.dataset_id,
            staging=setting.home.staging,
            clock=setting.clock,
            stop=setting.stop,
            moved=self._moved,
            retry_failed=setting.retry_failed,
        )
        self._publication = Publication(
            manifest=manifest,
            before={spec.video_id: spec for spec in setting.dataset.specs()},
            entries=entries,
        )
        self._schema = self._dataset_schema()
        self._slots = asyncio.Semaphore(manifest.concurrency.tasks)
        self._jobs: dict[JobKey, asyncio.Task[Carried]] = {}
        self._video_of: dict[JobKey, str] = {}
        self._due = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._halted: BatchembedError | None = None
        self._published_any = False
        self._began = setting.clock()

    def _dataset_schema(self) -> DatasetSchema:
        manifest, dataset = self._setting.manifest, self._setting.dataset
        dimension = self._setting.profile.dimension or dataset.identity.dimension
        if dimension is None:
            raise StorageError(f"the dimension of {manifest.model_name} is not known")
        metadata = [video.metadata for video in manifest.videos]
        metadata += [spec.metadata for spec in self._publication.kept()]
        return dataset_schema(
            metadata,
            manifest.output.partition_by,
            dimension,
            normalised=self._setting.profile.unit_length,
        )

    async def _remember(self, known: KnownFile) -> None:
        self._known[known.identity.path] = known
        await self._ledger.do(lambda opened: opened.remember(known))

    def _moved(self, entry: Entry) -> None:
        self._setting.listener.notice(
            Moved(video_id=self._video_of[entry.job_key], state=entry.state, task_id=entry.task_id)
        )

    async def run(self) -> RunReport:
        """Everything, and the report."""
        order = await asyncio.to_thread(self._foresee)
        publishing = asyncio.create_task(self._publish_when_due())
        try:
            async with asyncio.TaskGroup() as group:
                for video in order:
                    group.create_task(self._one(video))
        finally:
            left = (publishing, *self._jobs.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        return self._report(await self._publish())

    def _foresee(self) -> list[Video]:
        """Tell what is known beforehand; the videos, those whose tasks are in flight first."""
        setting = self._setting
        foreseen = foresee(setting.manifest, setting.profile, self._entries, self._known)
        committed = sum(each.outcome is Outcome.COMMITTED for each in foreseen)
        unread = sum(each.outcome is None for each in foreseen)
        owed = sum(each.outcome is Outcome.PENDING for each in foreseen)
        setting.listener.notice(
            Started(videos=len(foreseen), committed=committed, owed=owed, unread=unread)
        )
        in_flight = {State.READY, State.PROCESSING}
        return [
            each.video
            for each in sorted(
                foreseen, key=lambda each: each.entry is None or each.entry.state not in in_flight
            )
        ]

    async def _one(self, video: Video) -> None:
        try:
            await self._bring_home(video)
        except BatchembedError as error:
            self._halt(error)

    async def _bring_home(self, video: Video) -> None:
        if video.skip is not None:
            self._end(video, None, VideoOutcome(video=video, outcome=Outcome.SKIPPED))
            return
        if self._setting.stop.is_set():
            return
        found = await self._surveyor.survey(video)
        if found.job is None:
            self._end(video, found, rejected(found))
            return
        carried = await asyncio.shield(self._carrying(video, found.job, found.identity))
        self._end(video, found, ended(found, carried))

    def _carrying(
        self, video: Video, job: Job, identity: FileIdentity | None
    ) -> asyncio.Task[Carried]:
        """The one task that carries a job, however many videos share it."""
        if job.job_key not in self._jobs:
            self._video_of[job.job_key] = video.video_id
            self._jobs[job.job_key] = asyncio.create_task(self._carry(video, job, identity))
        return self._jobs[job.job_key]

    async def _carry(self, video: Video, job: Job, identity: FileIdentity | None) -> Carried:
        entry = self._entries.get(job.job_key)
        if (
            entry is not None
            and entry.state is State.COMMITTED
            and not self._has_rows(entry, video)
        ):
            # Rows that are neither in the dataset nor staged are fetched again.
            again = replace(entry, state=State.READY, staged=None, commit=None)
            await _move(self._ledger, self._entries, again, old=State.COMMITTED)
        async with self._slots:
            return await self._carrier.carry(job, identity)

    def _has_rows(self, entry: Entry, video: Video) -> bool:
        return entry.staged is not None and self._setting.dataset.has_rows(
            entry.job_key,
            entry.staged,
            options=video.embedding_option,
            staging=self._setting.home.staging,
        )

    def _end(self, video: Video, found: Surveyed | None, outcome: VideoOutcome) -> None:
        if self._publication.end(video, found, outcome):
            self._due.set()
        facts = outcome.facts
        self._setting.listener.notice(
            Ended(
                video_id=video.video_id,
                outcome=outcome.outcome,
                why=outcome.reasons[0].message if outcome.reasons else video.skip,
                rows=outcome.rows,
                duration_sec=None if facts is None else facts.duration_sec,
            )
        )

    def _halt(self, error: BatchembedError) -> None:
        """End the run for an error that is no single video's; the gravest one is kept."""
        if self._halted is None or _gravity(error) < _gravity(self._halted):
            self._halted = error
            self._setting.listener.notice(Warned(message=str(error)))
        self._setting.stop.set()

    async def _publish_when_due(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._due.wait(), self._setting.manifest.output.publish_every_s
                )
            self._due.clear()
            try:
                await asyncio.shield(self._publish())
            except BatchembedError as error:
                self._halt(error)
                return

    async def _publish(self) -> tuple[VideoOutcome, ...]:
        """Publish what there is; one at a time, also when the run ends in the middle of another."""
        async with self._publishing:
            return await self._publish_now()

    async def _publish_now(self) -> tuple[VideoOutcome, ...]:
        """Make a record of what there is, if that differs from the last; the ledger follows."""
        setting, publication = self._setting, self._publication
        listed, kept = publication.listed(), publication.kept()
        outcomes = publication.outcomes(not_ended)
        staged = publication.staged_jobs(listed)
        named = {spec.job_key for spec in (*listed, *kept)}
        files = side_files(
            outcomes, (entry for key, entry in self._entries.items() if key in named)
        )
        published = await asyncio.to_thread(
            setting.dataset.publish,
            listed,
            kept,
            schema=self._schema,
            staging=setting.home.staging,
            side_files=files,
        )
        for entry in staged:
            committed = replace(
                entry,
                state=State.COMMITTED,
                commit=published.record.number,
                updated_at=setting.clock(),
            )
            await _move(self._ledger, self._entries, committed, old=State.STAGED)
        publication.before = {spec.video_id: spec for spec in setting.dataset.specs()}
        if published.changed:
            self._published_any = True
            record = published.record
            setting.listener.notice(
                Published(number=record.number, rows=record.rows, parts=len(record.parts))
            )
        return outcomes

    def _report(self, outcomes: tuple[VideoOutcome, ...]) -> RunReport:
        setting = self._setting
        manifest, record = setting.manifest, setting.dataset.last()
        also = () if self._halted is None else (self._halted.exit_code,)
        return RunReport(
            manifest=manifest.file,
            name=manifest.name,
            engine=manifest.engine.kind,
            model_name=manifest.model_name,
            dataset=manifest.output.path,
            dataset_id=setting.dataset.dataset_id,
            record=None if record is None else record.number,
            published=self._published_any,
            rows=0 if record is None else record.rows,
            kept=tuple(spec.video_id for spec in self._publication.kept()),
            submitted=self._carrier.submitted,
            collected_sec=round(self._carrier.collected_sec, 3),
            wall_s=round(setting.clock() - self._began, 3),
            videos=outcomes,
            warnings=setting.warnings,
            halted=None if self._halted is None else str(self._halted),
            exit_code=exit_code(
                (video.outcome for video in outcomes),
                accept_rejected=manifest.on_rejected == "accept",
                also=also,
            ),
        )


def _gravity(error: BatchembedError) -> int:
    code = error.exit_code
    return PRECEDENCE.index(code) if code in PRECEDENCE else -1

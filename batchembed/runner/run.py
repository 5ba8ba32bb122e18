"""The only loop: what is in flight brought home, every video surveyed, carried and published."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

from batchembed.core.forecast import plan_line
from batchembed.core.model import FileIdentity, Identity, Job, JobKey, Video, VideoId
from batchembed.core.outcome import Outcome, VideoOutcome, exit_code
from batchembed.core.run_report import RunReport
from batchembed.core.states import Entry, State
from batchembed.errors import PRECEDENCE, BatchembedError, ExitCode
from batchembed.runner.carry import Carried, Load
from batchembed.runner.foresee import Foreseen, foresee
from batchembed.runner.holdings import Holdings
from batchembed.runner.in_flight import find_again
from batchembed.runner.listen import Ended, Moved, Started, Warned
from batchembed.runner.observe import take_request_id
from batchembed.runner.opening import Opened, opened
from batchembed.runner.outcomes import cut_short, ended, left, needs_permission, not_sent
from batchembed.runner.planning import Planner, drops
from batchembed.runner.publication import Publication
from batchembed.runner.publisher import Publisher, schema_of
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import StoppedError
from batchembed.runner.submit import intent_of
from batchembed.runner.survey import Surveyed, Surveyor
from batchembed.store.ledger import KnownFile


async def run(setting: Setting) -> RunReport:
    """Run a manifest once.

    Raises:
        LockedError: another run holds the state folder, or the dataset from elsewhere.
        StorageError: ledger, staging or dataset can't be written; what is committed stays.
    """
    async with opened(setting) as open_:
        return await _Run(setting, open_).run()


#: A larger file takes more than a moment to be hashed again.
_SMALL_BYTES = 16 << 20


def _is_soon_read_again(identity: Identity) -> bool:
    return isinstance(identity, FileIdentity) and identity.size_bytes <= _SMALL_BYTES


class _Run:
    def __init__(self, setting: Setting, open_: Opened) -> None:
        self._setting = setting
        self._crew = open_.crew
        self._book = open_.crew.book
        self._observer = open_.observer
        self._known = open_.known
        self._names = open_.names
        self._recalled = open_.warnings
        manifest = setting.manifest
        self._surveyor = Surveyor(
            manifest, setting.profile, self._known, self._remember, setting.stop
        )
        self._holdings = Holdings(dataset=setting.dataset, staging=setting.home.staging)
        self._publication = Publication(
            manifest=manifest,
            before={spec.video_id: spec for spec in setting.dataset.specs()},
            entries=self._book.entries,
            chosen=frozenset(video.video_id for video in manifest.videos if self._is_chosen(video)),
        )
        self._publisher = Publisher(
            setting=setting,
            book=self._book,
            write=open_.write,
            publication=self._publication,
            schema=schema_of(setting, self._publication),
            left=self._left,
            halt=self._halt,
            halted=lambda: self._halted,
        )
        self._jobs: dict[JobKey, asyncio.Future[Carried]] = {}
        self._resumed: dict[JobKey, asyncio.Task[Carried]] = {}
        self._collected = asyncio.Event()  #: what was ready at the start is collected
        self._halted: BatchembedError | None = None
        self._overtime = False
        self._began = setting.clock()
        self._foreseen: dict[VideoId, Foreseen] = {}
        self._book.moved = self._moved

    async def _remember(self, known: KnownFile) -> None:
        self._known[known.identity.path] = known
        await self._book.note(lambda opened: opened.remember(known))
        if not _is_soon_read_again(known.identity):
            await self._book.keep_notes()

    def _moved(self, entry: Entry) -> None:
        self._setting.listener.notice(
            Moved(
                video_id=self._names.get(entry.job_key, entry.job_key),
                state=entry.state,
                task_id=entry.task_id,
                attempt=entry.attempt,
                request_id=take_request_id(),
            )
        )

    async def run(self) -> RunReport:
        """Everything, and the report."""
        locked = self._setting.locked
        for known in () if locked is None else locked.read:
            await self._remember(known)
        foreseen = await asyncio.to_thread(self._foresee)
        self._foreseen = {each.video.video_id: each for each in foreseen}
        publisher = self._publisher
        beside = [] if locked else [asyncio.create_task(publisher.publish_when_due())]
        if self._setting.max_runtime_s is not None:
            beside.append(asyncio.create_task(self._run_out(self._setting.max_runtime_s)))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bring_home())
                for each in foreseen:
                    if self._is_chosen(each.video):
                        group.create_task(self._guarded(each.video))
        finally:
            left_over = (*beside, *self._resumed.values())
            for task in left_over:
                task.cancel()
            await asyncio.gather(*left_over, return_exceptions=True)
        try:
            await self._book.keep_notes()
        except BatchembedError as error:
            self._halt(error)
        if locked is None:
            return self._report(await publisher.publish_last())
        return self._report(await publisher.publish_locked(locked))

    def _foresee(self) -> tuple[Foreseen, ...]:
        """Every video, as far as it is known beforehand; its figures are told."""
        setting = self._setting
        foreseen = foresee(
            setting.manifest, setting.profile, self._book.entries, self._known, self._holdings
        )
        for each in foreseen:
            if each.found is not None and each.found.job is not None:
                self._names.setdefault(each.found.job.job_key, each.video.video_id)
        committed = sum(each.outcome is Outcome.COMMITTED for each in foreseen)
        unread = sum(each.outcome is None for each in foreseen)
        owed = sum(each.outcome is Outcome.PENDING for each in foreseen)
        setting.listener.notice(
            Started(
                videos=len(foreseen),
                committed=committed,
                owed=owed,
                unread=unread,
                plan=self._plan_line(foreseen),
            )
        )
        return foreseen

    def _plan_line(self, foreseen: Collection[Foreseen]) -> str:
        setting, crew = self._setting, self._crew
        planner = Planner(
            manifest=setting.manifest,
            profile=setting.profile,
            entries=self._book.entries,
            holdings=self._holdings,
            dropped=drops(setting.manifest, setting.dataset.specs()),
            charges=crew.charges,
            blocked_until=crew.blocked_until,
            now=self._began,
            retry=setting.retry,
            limit=setting.limit,
            lacking=crew.presumer.since is not None,
            named=frozenset(
                each.found.job.job_key
                for each in foreseen
                if each.found is not None and each.found.job is not None
            ),
        )
        chosen = [(each.video, each.found) for each in foreseen if self._is_chosen(each.video)]
        hosted = not crew.carrier.service.idempotent
        return plan_line(planner.forecast(chosen), hosted=hosted)

    def _is_chosen(self, video: Video) -> bool:
        return not self._setting.only or video.video_id in self._setting.only

    async def _run_out(self, seconds: float) -> None:
        await self._setting.sleep(seconds)
        self._overtime = True
        self._setting.stop.set()

    # -- what is in flight

    async def _bring_home(self) -> None:
        """Resume every job in flight; nothing is created before what is ready is collected."""
        try:
            in_flight = await find_again(self._crew, stop=self._setting.stop, now=self._began)
            for key in in_flight:
                self._resumed[key] = asyncio.create_task(self._resume(key))
            await asyncio.gather(*(self._resumed[key] for key, ready in in_flight.items() if ready))
        except StoppedError:
            pass  # every job in flight stays where it is
        except BatchembedError as error:
            self._halt(error)
        finally:
            self._collected.set()
        await asyncio.gather(*self._resumed.values())

    async def _resume(self, key: JobKey) -> Carried:
        try:
            async with self._crew.gate.resumed():
                return await self._crew.carrier.carry(key, None)
        except BatchembedError as error:
            self._halt(error)
            return Carried(entry=self._book.get(key), pending=cut_short(error))

    # -- the manifest's videos

    async def _guarded(self, video: Video) -> None:
        try:
            await self._one(video)
        except BatchembedError as error:
            self._halt(error)

    async def _one(self, video: Video) -> None:
        if video.skip is not None:
            self._end(video, None, VideoOutcome(video=video, outcome=Outcome.SKIPPED))
            return
        if self._setting.stop.is_set():
            return
        try:
            found = await self._surveyor.survey(video)
        except StoppedError:
            return  # as if it had never been begun
        if not found.denied:
            key = None if found.job is None else found.job.job_key
            self._publication.asked[video.video_id] = key
        if self._setting.locked is not None:
            self._setting.locked.require_input(found)
        if found.job is None:
            self._end(video, found, not_sent(found))
            return
        await self._collected.wait()
        carried = await self._carried(video, found.job, found.identity)
        self._end(video, found, ended(found, carried))

    async def _carried(self, video: Video, job: Job, identity: Identity | None) -> Carried:
        """Carry a job, or wait for the video that does: a job is carried once, however many share it.

        Once more where this video wants rows of it that the one before could do without.
        """
        key = job.job_key
        while (earlier := self._jobs.get(key)) is not None:
            carried = await asyncio.shield(earlier)
            if not self._lacks_rows(carried.entry, video):
                return carried
            if self._jobs[key] is earlier:
                break
        self._names[key] = video.video_id
        shared: asyncio.Future[Carried] = asyncio.get_running_loop().create_future()
        self._jobs[key] = shared
        try:
            carried = await self._carry(video, job, identity)
            shared.set_result(carried)
        except BatchembedError as error:
            self._halt(error)
            carried = Carried(entry=self._book.get(key), pending=cut_short(error))
            shared.set_result(carried)
        finally:
            shared.cancel()  # where it has no result, nobody is to wait for one
        return carried

    async def _carry(self, video: Video, job: Job, identity: Identity | None) -> Carried:
        key = job.job_key
        if key in self._resumed:
            carried = await asyncio.shield(self._resumed[key])
            if carried.pending is not None:
                return carried
        entry = self._book.get(key)
        now = self._holdings.as_it_is(entry, video)
        if entry is not None and now is not None and now.state not in {entry.state, State.STAGED}:
            # Rows that are nowhere are fetched again; those that have come back are not.
            now = replace(now, intent=now.intent or intent_of(job))
            entry = await self._book.move(now, old=entry.state)
        load = Load(video_id=video.video_id, job=job, identity=identity)
        if entry is not None and entry.state in {State.COMMITTED, State.STAGED}:
            return Carried(entry=entry)
        async with self._crew.gate.slot():
            return await self._crew.carrier.carry(key, load)

    def _lacks_rows(self, entry: Entry | None, video: Video) -> bool:
        """Whether a job is committed whose rows for this video are nowhere."""
        if entry is None or entry.state is not State.COMMITTED:
            return False
        now = self._holdings.as_it_is(entry, video)
        return now is not None and now.state in {State.READY, State.LOST}

    def _end(self, video: Video, found: Surveyed | None, outcome: VideoOutcome) -> None:
        if self._publication.end(video, found, outcome):
            self._publisher.due.set()
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

    def _left(self, video: Video) -> VideoOutcome:
        """A video that this run did not come to, or was not asked for: what is known of it."""
        foreseen = self._foreseen[video.video_id]
        job = None if foreseen.found is None else foreseen.found.job
        entry = None if job is None else self._book.get(job.job_key)
        now = self._holdings.as_it_is(entry, video)
        return left(foreseen, now, chosen=self._is_chosen(video))

    # -- the report

    def _why_early(self) -> str | None:
        if self._halted is not None:
            return str(self._halted)
        if self._overtime:
            return "the longest time for a run has passed: run again to go on"
        return None

    def _report(self, outcomes: tuple[VideoOutcome, ...]) -> RunReport:
        setting, crew = self._setting, self._crew
        manifest, record = setting.manifest, setting.dataset.last()
        halted = () if self._halted is None else (self._halted.exit_code,)
        unfetched = () if self._publisher.unfetched is None else (self._publisher.unfetched,)
        return RunReport(
            run_id=setting.run_id,
            began_at=self._began,
            manifest=manifest.file,
            name=manifest.name,
            engine=manifest.engine.kind,
            model_name=manifest.model_name,
            dataset=manifest.output.path,
            dataset_id=setting.dataset.dataset_id,
            record=None if record is None else record.number,
            published=self._publisher.has_published,
            rows=0 if record is None else record.rows,
            kept=tuple(spec.video_id for spec in self._publication.kept()),
            submitted=crew.submitter.submitted,
            submitted_sec=round(crew.submitter.submitted_sec, 3),
            adopted=crew.reconciler.adopted,
            collected_sec=round(crew.collector.collected_sec, 3),
            price_per_minute=manifest.budget.price_per_minute,
            currency=manifest.budget.currency,
            requests=self._observer.requests,
            parked=crew.gate.parked,
            wall_s=round(setting.clock() - self._began, 3),
            videos=outcomes,
            warnings=(*setting.warnings, *self._recalled, *unfetched, *self._orphans()),
            halted=self._why_early(),
            exit_code=exit_code(
                (video.outcome for video in outcomes),
                accept_rejected=manifest.on_rejected == "accept",
                also=(*halted, *needs_permission(outcomes), *(ExitCode.AGAIN for _ in unfetched)),
            ),
        )

    def _orphans(self) -> tuple[str, ...]:
        """Jobs that this run brought home although no video of the manifest is them any more."""
        kept = {spec.job_key for spec in self._publication.kept()}
        gone = [key for key in self._resumed if key not in self._jobs and key not in kept]
        if not gone or self._setting.only or self._setting.stop.is_set():
            return ()
        names = ", ".join(sorted(self._names.get(key, key) for key in gone)[:5])
        return (
            (
                f"{len(gone)} tasks in flight are of videos that the manifest no longer names "
                f"({names}): they are collected, and kept in the state folder; name the videos again "
                "to publish them"
            ),
        )


def _gravity(error: BatchembedError) -> int:
    code = error.exit_code
    return PRECEDENCE.index(code) if code in PRECEDENCE else -1

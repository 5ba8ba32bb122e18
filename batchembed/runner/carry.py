"""One job's way through a run: what it is owed, done, until nothing more is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TaskError, TasksStatusResponse
from batchembed.api.repeats import is_transient
from batchembed.api.retry import PollPolicy, Sleep
from batchembed.core.expectation import Expectation
from batchembed.core.failures import TASK_LOST, is_retried
from batchembed.core.model import Identity, Job, JobKey, Polling, TaskId, VideoId
from batchembed.core.plan import Collect, LookUp, Skip, Submit, Wait, decide
from batchembed.core.problems import Reason
from batchembed.core.reconcile import Found, agree_in_listings
from batchembed.core.redact import redacted
from batchembed.core.states import IN_DOUBT, Entry, Intent, State
from batchembed.errors import (
    AnswerError,
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    NotReadyError,
    NotSentError,
    RateLimitError,
    ServerError,
    ServiceError,
)
from batchembed.runner.book import Book
from batchembed.runner.collect import Collector
from batchembed.runner.desk import Noticed, StatusDesk
from batchembed.runner.missing import Search
from batchembed.runner.presume import Presumer
from batchembed.runner.reconcile import Reconciler
from batchembed.runner.refusals import Refusals, denies
from batchembed.runner.stopping import Stop, StoppedError, unless_stopped
from batchembed.runner.submit import FILE_CHANGED, Submitter, intent_of, seconds_of

#: How often a task must be said not to exist before it is lost, or not to be ready after all.
_SIGHTINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Who embeds: a client, and whether a repeated create of one attempt is the same task."""

    client: AsyncTasksClient
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A job where this run left it."""

    entry: Entry | None
    pending: Reason | None = None  #: why it is not further


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A job of the manifest, and how its video is called. `identity` is of its file."""

    video_id: VideoId
    job: Job
    identity: Identity | None


@dataclass(kw_only=True)
class Carrier:
    """Carries jobs, each until nothing more is owed to it in this run."""

    service: Service
    book: Book
    submitter: Submitter
    presumer: Presumer
    reconciler: Reconciler
    desk: StatusDesk
    collector: Collector
    search: Search
    expectation: Expectation
    polling: Polling
    clock: Callable[[], float]
    stop: Stop
    sleep: Sleep
    longest_wait_s: float  #: that is waited in a run
    retry: str | None  #: which failed jobs are tried again, as `--retry` says
    resubmit_lost: bool
    _twins: dict[str, asyncio.Lock] = field(default_factory=dict)
    _refusals: Refusals = field(default_factory=Refusals)

    async def carry(self, key: JobKey, load: Load | None) -> Carried:
        """Do what is owed to a job.

        Args:
            key: the job.
            load: None where only what is in flight is to be brought home; nothing is submitted.

        Raises:
            BatchembedError: something that ends the run; the job is left where it is.
        """
        retry_failed, fresh = self._is_retried(key), False
        while True:
            entry = self.book.get(key)
            action = decide(
                entry,
                idempotent=self.service.idempotent,
                retry_failed=retry_failed,
                resubmit_lost=self.resubmit_lost,
            )
            pending: Reason | None = None
            try:
                match action:
                    case Skip():
                        return Carried(entry=entry)
                    case Submit(attempt=attempt):
                        if load is None:
                            return Carried(entry=entry)
                        retry_failed = False
                        fresh, pending = await self._begin(entry, load, attempt)
                    case LookUp():
                        pending = await self._look_up(self.book[key], load)
                    case Wait(task_id=task_id):
                        pending = await self._wait(self.book[key], task_id, load, fresh=fresh)
                    case Collect(task_id=task_id):
                        pending = await self._collect(self.book[key], task_id, load)
                    case unreachable:
                        assert_never(unreachable)
            except StoppedError:
                pending = _STOPPED
            if pending is not None:
                return Carried(entry=self.book.get(key), pending=pending)

    def _is_retried(self, key: JobKey) -> bool:
        """Whether a failed job is tried again: as asked, or as its file was only moved meanwhile."""
        entry = self.book.get(key)
        if entry is None:
            return False
        moved = entry.reason is not None and entry.reason.code == FILE_CHANGED
        return is_retried(entry, self.retry) or (moved and self.service.idempotent)

    async def _is_found(self, entry: Entry, task_id: TaskId) -> bool:
        """Whether a task that was called lost is there all the same: then it goes on."""
        try:
            await self.service.client.status(task_id)
        except ApiError as error:
            if denies(error):
                return False
            raise
        await self.book.move(
            replace(entry, state=State.PROCESSING, reason=None, warnings=()), old=State.LOST
        )
        return True

    # -- creates, and what became of them

    async def _begin(
        self, entry: Entry | None, load: Load, attempt: int
    ) -> tuple[bool, Reason | None]:
        """Find the job's task, or create it: whether it was created now, and why there is none."""
        if entry is not None and entry.state is State.LOST and entry.task_id is not None:
            try:
                if await self._is_found(entry, entry.task_id):
                    return False, None
            except ApiError as error:
                return False, self._refusals.set_aside(entry.task_id, error)
        if not self.service.idempotent and self.presumer.is_owed(entry):
            return False, await self._presume(load, attempt)
        return True, await self._submit(load, attempt)

    async def _presume(self, load: Load, attempt: int) -> Reason | None:
        async with self._alone(intent_of(load.job)):
            entry = await self.presumer.doubt(load.video_id, load.job, attempt)
            return await self.reconciler.settle(entry)

    async def _submit(self, load: Load, attempt: int) -> Reason | None:
        intent = intent_of(load.job)
        async with self._alone(intent):
            if not self.service.idempotent and self._is_twin_in_doubt(load.job.job_key, intent):
                return Reason(
                    code="submission_unknown",
                    message="another create of the same URL got no answer; they can't be told apart",
                    hint="run again: this one is sent once that one is settled",
                )
            pending = await self.submitter.submit(load.video_id, load.job, load.identity, attempt)
            entry = self.book.get(load.job.job_key)
            if pending is None and entry is not None and entry.state in IN_DOUBT:
                return await self.reconciler.settle(entry)
            return pending

    async def _look_up(self, entry: Entry, load: Load | None) -> Reason | None:
        if entry.intent is None and load is not None:  # of a ledger that did not keep them
            entry = replace(entry, intent=intent_of(load.job))
        async with self._alone(entry.intent):
            return await self.reconciler.settle(entry)

    @contextlib.asynccontextmanager
    async def _alone(self, intent: Intent | None) -> AsyncIterator[None]:
        """Tasks of one URL are told apart by little: one create of it at a time."""
        if intent is None or intent.url_digest is None:
            yield
            return
        async with self._twins.setdefault(intent.url_digest, asyncio.Lock()):
            yield

    def _is_twin_in_doubt(self, key: JobKey, intent: Intent) -> bool:
        return intent.url_digest is not None and any(
            entry.job_key != key
            and entry.intent is not None
            and agree_in_listings(entry.intent, intent)
            for entry in self.book.in_doubt
        )

    # -- waiting

    async def _wait(
        self, entry: Entry, task_id: TaskId, load: Load | None, *, fresh: bool
    ) -> Reason | None:
        """Poll until the task has ended; why it has not, if so.

        A task that is `fresh` was created just now, whatever the clock says.
        """
        seconds = seconds_of(self._intent(entry, load))
        # A hosted task works on while nobody looks; the embedded engine's begins again with the run.
        began = None if self.service.idempotent or fresh else entry.submitted_at
        spent = 0.0 if began is None else max(0.0, self.clock() - began)
        first_wait_s = self.desk.shared_s(self.polling.first_wait_s)
        expected_s = self.expectation.first_look_s(seconds)
        left_s = 0.0 if expected_s is None else max(0.0, expected_s - spent)
        margin_s = self.expectation.margin_s(seconds) or first_wait_s
        policy = PollPolicy(
            first_look_s=left_s or first_wait_s,
            first_wait_s=min(first_wait_s, margin_s),
            longest_wait_s=self.polling.longest_wait_s,
            deadline_s=max(self.polling.longest_wait_s, self.polling.deadline_s - spent),
        )
        try:
            noticed = await unless_stopped(self.stop, self._answered(task_id, policy))
        except ApiTimeoutError as error:
            return Reason(
                code="task_deadline",
                message=str(error),
                hint="the task is kept: the next run looks at it again",
            )
        except ApiError as error:
            if not denies(error):
                return self._refusals.set_aside(task_id, error)
            return await self._lose(entry, error)
        self._refusals.answered()
        answer = noticed.answer
        if answer.status == "ready":
            # While nobody looked, it may have ended at any time, and a clock may have jumped.
            if noticed.waited_s >= spent:
                self.expectation.learn(seconds, spent + noticed.waited_s, noticed.unseen_s)
            warnings = tuple(
                Reason(code=told.code or "task_warning", message=redacted(told.message or ""))
                for told in map(TaskError.of, answer.warnings or ())
            )
            ready = replace(entry, state=State.READY, warnings=(*entry.warnings, *warnings))
            await self.book.move(ready, old=State.PROCESSING)
        else:
            await self._fail(entry, answer)
        return None

    async def _answered(self, task_id: TaskId, policy: PollPolicy) -> Noticed:
        """The task's end. A service far away must say more than once that there is no such task."""
        sightings = 1 if self.service.idempotent else _SIGHTINGS
        for _ in range(sightings - 1):
            try:
                return await self.desk.wait_for_done(task_id, policy=policy)
            except ApiError as error:
                if not denies(error):
                    raise
                await self.sleep(policy.longest_wait_s)
        return await self.desk.wait_for_done(task_id, policy=policy)

    # -- what is ready

    async def _collect(self, entry: Entry, task_id: TaskId, load: Load | None) -> Reason | None:
        if self.stop.is_set():
            raise StoppedError
        try:
            seconds = await self._collected(entry, task_id, self._intent(entry, load))
            self._refusals.answered()
            if seconds is not None:
                self.submitter.learn(entry.job_key, seconds)
        except RateLimitError as error:
            asked_s = error.retry_after_s or self.polling.longest_wait_s
            if asked_s > self.longest_wait_s:
                return _not_collected(error)
            await unless_stopped(self.stop, self.sleep(asked_s))
        except NotSentError:
            raise  # the service is away: for every job
        except (AnswerError, ApiConnectionError, ApiTimeoutError, ServerError) as error:
            return _not_collected(error)
        except (ApiError, NotReadyError) as error:
            return await self._refused(entry, task_id, error)
        return None

    async def _collected(self, entry: Entry, task_id: TaskId, intent: Intent) -> float | None:
        """What collecting gives. Of a task that is ready, a retrieve may say for a while that it is not."""
        for _ in range(_SIGHTINGS - 1):
            try:
                return await self.collector.collect(entry.job_key, task_id, intent)
            except NotReadyError:
                await unless_stopped(self.stop, self.sleep(self.polling.first_wait_s))
        return await self.collector.collect(entry.job_key, task_id, intent)

    async def _refused(
        self, entry: Entry, task_id: TaskId, error: ApiError | NotReadyError
    ) -> Reason | None:
        """Leave a job whose segments are refused, unless its task's status says that it has none."""
        if isinstance(error, NotReadyError) or denies(error) or is_transient(error):
            pending = _not_collected(error)
        else:
            pending = self._refusals.set_aside(task_id, error)
        now = await self._looked_at(task_id)
        if now is None and isinstance(error, ApiError) and denies(error):
            return await self._lose(entry, error)
        if now is None or now.status in {None, "ready"}:
            return pending
        if now.status == "failed":
            await self._fail(entry, now)
            return None
        return replace(pending, message=f"{pending.message}; its status is {now.status!r} now")

    async def _looked_at(self, task_id: TaskId) -> TasksStatusResponse | None:
        """The task's status, none where it can't be had; None: the service does not know the task."""
        sightings = 1 if self.service.idempotent else _SIGHTINGS
        for number in range(sightings):
            if number:
                await unless_stopped(self.stop, self.sleep(self.polling.longest_wait_s))
            try:
                return await self.service.client.status(task_id)
            except ServiceError as error:
                if not denies(error):
                    return TasksStatusResponse(id=task_id)  # so nothing is written off
        return None

    def _intent(self, entry: Entry, load: Load | None) -> Intent:
        """What the task was asked, as it was written down; earlier ledgers did not."""
        if entry.intent is not None:
            return entry.intent
        if load is None:
            msg = f"job {entry.job_key} has no intent"
            raise ValueError(msg)
        return intent_of(load.job)

    async def _fail(self, entry: Entry, answer: TasksStatusResponse) -> None:
        failed = replace(entry, state=State.FAILED, reason=_task_failure(answer))
        await self.book.move(failed, old=entry.state)

    async def _lose(self, entry: Entry, error: ApiError) -> Reason | None:
        """Call a job's task lost; not where the service lists it, which is told, or under another id."""
        found = None
        if not self.service.idempotent:
            found = await unless_stopped(self.stop, self.search.find(entry))
        if isinstance(found, Reason):
            return found
        reason = Reason(
            code=TASK_LOST,
            message=f"the service no longer has task {entry.task_id}: {error.server_message or error}",
            hint="`run --retry failed:lost` submits the video again, and pays for it again",
        )
        lost = replace(entry, state=State.LOST, reason=reason, losses=entry.losses + 1)
        if found is None:
            await self.book.move(lost, old=entry.state)
        else:
            await self._adopt(lost, entry, found)
        return None

    async def _adopt(self, lost: Entry, entry: Entry, found: Found) -> None:
        """Go on with the task that the create did make: its answer named another."""
        task = found.task
        adopted = replace(
            entry,
            state=State.PROCESSING,
            attempt=found.attempt,
            task_id=task.task_id,
            submitted_at=entry.submitted_at if task.created_at is None else task.created_at,
            adopted=True,
        )
        moves = [(entry.state, lost), (State.LOST, adopted)]
        self.reconciler.adopted += 1
        self.reconciler.found((await self.book.move_all(moves))[-1])


_STOPPED = Reason(
    code="stopped", message="the run was stopped before this video ended", hint="run again"
)


def _not_collected(error: Exception) -> Reason:
    return Reason(
        code="not_collected",
        message=f"its segments can't be retrieved now: {error}",
        hint="run again: the service has them, until they expire",
    )


def _task_failure(answer: TasksStatusResponse) -> Reason:
    told = TaskError.of(answer.error)
    return Reason(
        code=told.code or "task_failed",
        message=redacted(told.message or "the service failed the task and gives no reason"),
    )

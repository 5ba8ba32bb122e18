"""One job's way: submitted, waited for, retrieved, checked, staged. Each step is durable first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar, assert_never

from batchembed.api import wire
from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TaskError, TasksStatusResponse, Upload
from batchembed.api.retry import PollPolicy
from batchembed.core.keys import idempotency_key, upload_name
from batchembed.core.model import (
    FileIdentity,
    FileSource,
    Job,
    JobKey,
    Polling,
    Profile,
    TaskId,
    UrlSource,
)
from batchembed.core.plan import Collect, Skip, Submit, Wait, decide
from batchembed.core.problems import Reason
from batchembed.core.redact import redacted
from batchembed.core.segments import window
from batchembed.core.states import Entry, State
from batchembed.dataset.staging import BrokenAnswerError, check_rows, write_staged
from batchembed.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    BatchembedError,
    NotFoundError,
    RateLimitError,
    StorageError,
    SubmissionUnknown,
    UsageLimitError,
    VideoChangedError,
)
from batchembed.media.identity import identify
from batchembed.store.ledger import Ledger
from batchembed.store.ledger_thread import LedgerThread

T = TypeVar("T")

#: Errors of a create that are not this video's: the run ends, and the job stays planned.
_RUN_LEVEL = (ApiConnectionError, AuthenticationError, RateLimitError, UsageLimitError)


class StoppedError(Exception):
    """The run is draining: this job is left where it is."""


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


@dataclass(kw_only=True)
class Carrier:
    """Carries jobs, each until nothing more is owed to it in this run."""

    service: Service
    ledger: LedgerThread
    entries: dict[JobKey, Entry]  #: the ledger's, kept in step with it
    profile: Profile
    polling: Polling
    dataset_id: str
    staging: Path
    clock: Callable[[], float]
    stop: asyncio.Event
    moved: Callable[[Entry], None]
    retry_failed: bool
    submitted: int = 0
    collected_sec: float = 0.0

    async def carry(self, job: Job, identity: FileIdentity | None) -> Carried:
        """Do what is owed to `job`.

        Raises:
            BatchembedError: something that ends the run; the job is left where it is.
        """
        retry_failed = self.retry_failed or self._was_moved(job)
        while True:
            entry = self.entries.get(job.job_key)
            action = decide(entry, idempotent=self.service.idempotent, retry_failed=retry_failed)
            try:
                match action:
                    case Skip(why=why):
                        return _carried(entry, why)
                    case Submit(attempt=attempt):
                        retry_failed = False
                        pending = await self._submit(job, identity, attempt)
                        if pending is not None:
                            return Carried(entry=self.entries[job.job_key], pending=pending)
                    case Wait(task_id=task_id):
                        pending = await self._wait(job, task_id)
                        if pending is not None:
                            return Carried(entry=self.entries[job.job_key], pending=pending)
                    case Collect(task_id=task_id):
                        await self._collect(job, task_id)
                    case unreachable:
                        assert_never(unreachable)
            except StoppedError:
                return Carried(entry=self.entries.get(job.job_key), pending=_STOPPED)

    def _was_moved(self, job: Job) -> bool:
        """Whether the job failed only because its file was moved while the engine was away."""
        entry = self.entries.get(job.job_key)
        reason = None if entry is None else entry.reason
        return self.service.idempotent and reason is not None and reason.code == _FILE_CHANGED

    async def _submit(self, job: Job, identity: FileIdentity | None, attempt: int) -> Reason | None:
        """Create the task. The entry is durably `submitting` before anything is sent."""
        if self.stop.is_set():
            raise StoppedError
        if identity is not None and await asyncio.to_thread(identify, identity.path) != identity:
            await self._ensure(job.job_key)
            return Reason(
                code=_FILE_CHANGED,
                message=f"{identity.path} changed while it was read",
                hint="run again once it is written",
            )
        entry = await self._intend(job.job_key, attempt)
        try:
            task_id = await self._create(job, entry)
        except SubmissionUnknown as error:
            await self._move(replace(entry, state=State.UNKNOWN), old=State.SUBMITTING)
            if self.service.idempotent:
                raise
            return Reason(
                code="submission_unknown",
                message=str(error),
                hint="look for the task in the service's listing before it is sent again",
            )
        except VideoChangedError as error:
            changed = Reason(
                code=_FILE_CHANGED, message=str(error), hint="run again once it is written"
            )
            if error.task_id is None:
                await self._move(replace(entry, state=State.PLANNED), old=State.SUBMITTING)
                return changed
            failed = replace(entry, state=State.FAILED, reason=changed)
            await self._move(failed, old=State.SUBMITTING)
            return None
        except BatchembedError as error:
            await self._refused(entry, error)
            return None
        except OSError as error:
            await self._move(replace(entry, state=State.PLANNED), old=State.SUBMITTING)
            return Reason(
                code="video_file_unreadable",
                message=f"the file can't be read any more: {error.strerror}",
                hint="run again once it can",
            )
        self.submitted += 1
        await self._move(
            replace(entry, state=State.PROCESSING, task_id=task_id, submitted_at=self.clock()),
            old=State.SUBMITTING,
        )
        return None

    async def _refused(self, entry: Entry, error: BatchembedError) -> None:
        """The create certainly made no task: the video's failure, or the whole run's."""
        if not isinstance(error, ApiError) or _ends_the_run(error):
            await self._move(replace(entry, state=State.PLANNED), old=State.SUBMITTING)
            raise error
        reason = Reason(
            code=error.code or f"http_{error.status_code}",
            message=error.server_message or str(error),
        )
        await self._move(replace(entry, state=State.FAILED, reason=reason), old=State.SUBMITTING)

    async def _create(self, job: Job, entry: Entry) -> TaskId:
        asked = job.parameters
        with contextlib.ExitStack() as stack:
            upload: Upload | None = None
            url: str | None = None
            match job.source:
                case FileSource(path=path):
                    file = stack.enter_context(await asyncio.to_thread(Path(path).open, "rb"))
                    suffix = PurePosixPath(path).suffix.lower()
                    upload = Upload(
                        file=file,
                        filename=upload_name(
                            self.dataset_id,
                            job.job_key,
                            entry.attempt,
                            suffix if suffix.isascii() and suffix[1:].isalnum() else "",
                        ),
                        path=path,
                        sha256=job.content.source_sha256,
                    )
                case UrlSource(url=url):
                    pass
            answer = await self.service.client.create(
                model_name=asked.model_name,
                video_file=upload,
                video_url=url,
                video_start_offset_sec=asked.video_start_offset_sec,
                video_end_offset_sec=asked.video_end_offset_sec,
                video_clip_length=asked.video_clip_length,
                video_embedding_scope=asked.video_embedding_scope,
                idempotency_key=idempotency_key(self.dataset_id, job.job_key, entry.attempt),
            )
        return TaskId(answer.id or "")

    async def _wait(self, job: Job, task_id: TaskId) -> Reason | None:
        """Poll until the task has ended; why it has not, if so."""
        entry = self.entries[job.job_key]
        # A hosted task works on while nobody looks; the embedded engine's begins again with the run.
        began = None if self.service.idempotent else entry.submitted_at
        spent = 0.0 if began is None else self.clock() - began
        policy = PollPolicy(
            first_wait_s=self.polling.first_wait_s,
            longest_wait_s=self.polling.longest_wait_s,
            deadline_s=max(self.polling.longest_wait_s, self.polling.deadline_s - spent),
        )
        try:
            answer = await self._unless_stopped(
                self.service.client.wait_for_done(task_id, policy=policy)
            )
        except ApiTimeoutError as error:
            return Reason(
                code="task_deadline",
                message=str(error),
                hint="the task is kept: the next run looks at it again",
            )
        except NotFoundError as error:
            await self._lose(entry, error)
            return None
        if answer.status == "ready":
            warnings = tuple(
                Reason(code=told.code or "task_warning", message=redacted(told.message or ""))
                for told in map(TaskError.of, answer.warnings or ())
            )
            ready = replace(entry, state=State.READY, warnings=warnings)
            await self._move(ready, old=State.PROCESSING)
        else:
            failed = replace(entry, state=State.FAILED, reason=_task_failure(answer))
            await self._move(failed, old=State.PROCESSING)
        return None

    async def _collect(self, job: Job, task_id: TaskId) -> None:
        """Retrieve, check and stage. An answer that breaks a check is kept: it was paid for."""
        entry = self.entries[job.job_key]
        try:
            body = await self.service.client.retrieve_body(task_id)
        except NotFoundError as error:
            await self._lose(entry, error)
            return
        asked, facts = job.parameters, job.facts
        whole = (
            None
            if facts is None
            else window(
                facts.duration_sec, asked.video_start_offset_sec, asked.video_end_offset_sec
            )
        )
        try:
            checked = await asyncio.to_thread(
                lambda: check_rows(
                    wire.segments(body),
                    profile=self.profile,
                    dimension=self.profile.dimension,
                    whole=whole,
                    clip_length_sec=asked.video_clip_length,
                    scopes=asked.video_embedding_scope,
                )
            )
        except BrokenAnswerError as error:
            kept = self.staging / f"{job.job_key}.answer.json"
            try:
                await asyncio.to_thread(kept.write_bytes, body)
            except OSError as failure:
                raise StorageError(f"{kept} can't be written: {failure.strerror}") from failure
            reason = replace(error.reason, hint=f"the answer is kept as it came in {kept}")
            await self._move(replace(entry, state=State.FAILED, reason=reason), old=State.READY)
            return
        staged = await asyncio.to_thread(write_staged, checked, self.staging, job.job_key)
        known = {warning.code for warning in entry.warnings}
        warnings = (*entry.warnings, *(w for w in checked.warnings if w.code not in known))
        await self._move(
            replace(entry, state=State.STAGED, staged=staged, warnings=warnings), old=State.READY
        )
        self.collected_sec += 0.0 if whole is None else (whole.end_ms - whole.start_ms) / 1000

    async def _lose(self, entry: Entry, error: NotFoundError) -> None:
        reason = Reason(
            code="task_lost",
            message=f"the service no longer has task {entry.task_id}: {error.server_message or error}",
            hint="`run --retry failed` submits the video again, and pays for it again",
        )
        await self._move(replace(entry, state=State.LOST, reason=reason), old=entry.state)

    async def _ensure(self, key: JobKey) -> Entry:
        """The job's entry, put in as planned where there is none."""
        if key not in self.entries:
            now = self.clock()
            await self.ledger.do(lambda ledger: ledger.add(key, now=now))
            self.entries[key] = Entry(job_key=key, state=State.PLANNED, attempt=1, updated_at=now)
        return self.entries[key]

    async def _intend(self, key: JobKey, attempt: int) -> Entry:
        """Bring the job to `submitting`, durably, by the moves that lead there."""
        entry = await self._ensure(key)
        steps: list[tuple[State, State]] = []
        if entry.state in {State.UNKNOWN, State.FAILED, State.LOST}:
            steps.append((entry.state, State.PLANNED))
        if entry.state is not State.SUBMITTING:
            steps.append((State.PLANNED, State.SUBMITTING))
        for old, new in steps:
            entry = replace(
                entry, state=new, attempt=attempt, task_id=None, reason=None, warnings=()
            )
            await self._move(entry, old=old)
        return entry

    async def _move(self, entry: Entry, *, old: State) -> None:
        entry = replace(entry, updated_at=self.clock())

        def move(ledger: Ledger) -> bool:
            return ledger.move(entry, old=old)

        if not await self.ledger.do(move):
            msg = f"the ledger no longer has job {entry.job_key} as {old}: is another run at work?"
            raise BatchembedError(msg)
        self.entries[entry.job_key] = entry
        self.moved(entry)

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """The work's result, unless the run is told to drain first."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise StoppedError
            return working.result()
        finally:
            for future in (working, stopping):
                future.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)


#: The engine says so too, of a task whose file is no longer where it was.
_FILE_CHANGED = "video_file_changed"

_STOPPED = Reason(
    code="stopped", message="the run was stopped before this video ended", hint="run again"
)


def _carried(entry: Entry | None, why: str) -> Carried:
    unknown = entry is not None and entry.state in {State.UNKNOWN, State.SUBMITTING}
    pending = Reason(code="submission_unknown", message=why) if unknown else None
    return Carried(entry=entry, pending=pending)


def _ends_the_run(error: ApiError) -> bool:
    """Whether a create was refused for what every other one has too: key, quota, address, model."""
    if isinstance(error, _RUN_LEVEL):
        return True
    if error.status_code is None or 300 <= error.status_code < 400:
        return True
    if error.status_code in {404, 405}:  # there is nothing to create at this address
        return True
    return error.code == "parameter_invalid" and "model_name" in (error.server_message or "")


def _task_failure(answer: TasksStatusResponse) -> Reason:
    told = TaskError.of(answer.error)
    return Reason(
        code=told.code or "task_failed",
        message=told.message or "the service failed the task and gives no reason",
    )

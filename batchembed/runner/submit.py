"""Creates a job's task: durably meant before anything leaves, and whatever the answer, written down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import BinaryIO

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import Upload
from batchembed.api.repeats import is_too_early
from batchembed.core.keys import idempotency_key
from batchembed.core.model import (
    FileIdentity,
    Identity,
    Job,
    JobKey,
    TaskId,
    UrlSource,
    VideoId,
)
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.segments import window
from batchembed.core.states import Entry, Intent, State
from batchembed.errors import (
    ApiError,
    AuthenticationError,
    BatchembedError,
    NotSentError,
    RateLimitError,
    ServiceError,
    StoreError,
    SubmissionUnknown,
    UsageLimitError,
    VideoChangedError,
)
from batchembed.media.objects import unreadable
from batchembed.media.sources import identify_source, open_source
from batchembed.media.unreadable import DENIED, UnreadableVideoError
from batchembed.runner.book import Book
from batchembed.runner.gate import Gate
from batchembed.runner.stopping import Stop, StoppedError, unless_stopped
from batchembed.runner.upload import has_bytes, is_changed, upload_of
from batchembed.store.ledger import Ledger

#: The engine says so too, of a task whose file is no longer where it was.
FILE_CHANGED = "video_file_changed"

#: States from which a job is planned again before it is sent again.
AGAIN = frozenset({State.UNKNOWN, State.FAILED, State.LOST})


def intent_of(job: Job) -> Intent:
    """What a create of this job asks."""
    asked = job.parameters
    start, end = asked.video_start_offset_sec, asked.video_end_offset_sec
    duration = None if job.facts is None else job.facts.duration_sec
    whole = None
    if duration is not None or end is not None:
        whole = window(duration if duration is not None else end or 0.0, start, end)
    return Intent(
        model_name=asked.model_name,
        video_clip_length=asked.video_clip_length,
        video_embedding_scope=asked.video_embedding_scope,
        url_digest=job.content.digest if job.content.kind == "url" else None,
        start_ms=None if whole is None else whole.start_ms,
        end_ms=None if whole is None else whole.end_ms,
    )


def seconds_of(intent: Intent | None) -> float | None:
    """How much video a create is about, where that is known."""
    if intent is None or intent.start_ms is None or intent.end_ms is None:
        return None
    return (intent.end_ms - intent.start_ms) / 1000


@dataclass(kw_only=True)
class Submitter:
    """Creates tasks, as far as gate, limit and stop allow."""

    client: AsyncTasksClient
    book: Book
    gate: Gate
    idempotent: bool  #: a create that is sent again is the same task
    dataset_id: str
    clock: Callable[[], float]
    server_now: Callable[[], float | None]  #: the service's clock, once it has told
    stop: Stop
    confirm_held: Callable[[], None]  #: says who pays; raises where that is another run by now
    limit: int | None  #: creates in this run
    created: Callable[[Entry], None]  #: told of each task
    charges: dict[JobKey, Charge]  #: in doubt, or of videos of unknown length: they may change yet
    submitted: int = 0
    submitted_sec: float = 0.0
    _begun: int = 0
    _has_asked: bool = False  #: for the service's clock
    _learning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _own: set[JobKey] = field(default_factory=set)  #: jobs that this run meant to create

    async def submit(
        self, video_id: VideoId, job: Job, identity: Identity | None, attempt: int
    ) -> Reason | None:
        """Create the task. The entry is durably `submitting` before anything is sent.

        Returns:
            Why it was not sent, if the job stays planned for this run. None: look at the entry.

        Raises:
            StoppedError: the run drains.
            BatchembedError: something that is not this video's: the run ends.
        """
        if self.stop.is_set():
            raise StoppedError
        if self.limit is not None and self._begun >= self.limit:
            return Reason(code="limit", message=f"this run creates {self.limit} tasks, no more")
        self._begun += 1  # before any wait: those who queue have passed
        async with self.gate.sending(upload=not isinstance(job.source, UrlSource)):
            charge = await self.gate.admit(seconds_of(intent_of(job)))
            if isinstance(charge, Reason):
                self._begun -= 1
                return charge
            return await self._send(video_id, job, identity, attempt, charge)

    async def _send(
        self,
        video_id: VideoId,
        job: Job,
        identity: Identity | None,
        attempt: int,
        charge: Charge,
    ) -> Reason | None:
        try:
            await self._learn_the_time()
            hindrance = await asyncio.to_thread(self._hindrance, job, identity)
        except (BatchembedError, StoppedError):
            self._withdraw(charge)
            raise
        if hindrance is not None:
            self._withdraw(charge)
            await self.book.ensure(job.job_key)
            return hindrance
        before = self.book.get(job.job_key)
        entry = await self._intend(video_id, job, attempt, charge)
        self._own.add(job.job_key)
        try:
            task_id = await self._create(job, identity, entry, before)
        except SubmissionUnknown as error:
            self.charges[job.job_key] = charge
            is_last = self.idempotent or _is_elsewhere(error.__cause__)
            await self._lost(job, identity, entry, is_last=is_last)
            if is_last:
                raise
            return None
        except VideoChangedError as error:
            if error.task_id is None or not await asyncio.to_thread(has_bytes, job):
                return await self._changed(identity, entry, charge, error)
            task_id = TaskId(error.task_id)  # it has a new time, or another link: no new bytes
        except (UnreadableVideoError, StoreError, OSError) as error:
            return await self._unread(entry, charge, error)
        except (RateLimitError, UsageLimitError) as error:
            await self.gate.refused(error)
            await self._unsent(entry, charge)
            return None
        except BatchembedError as error:
            await self._refused(entry, charge, error)
            return None
        if charge.video_sec is None:
            self.charges[job.job_key] = charge
        self.submitted += 1
        self.submitted_sec += charge.video_sec or 0.0
        self.created(
            await self.book.move(
                replace(entry, state=State.PROCESSING, task_id=task_id, submitted_at=self.clock()),
                old=State.SUBMITTING,
            )
        )
        return None

    def _hindrance(self, job: Job, identity: Identity | None) -> Reason | None:
        """Why the file or object that was read can't be sent now, if so. It blocks.

        Raises:
            StoreError: of a store that no video can be read from.
            StorageError: whoever took the dataset over pays for its videos, too.
        """
        if identity is not None and not isinstance(job.source, UrlSource):
            now = identify_source(job.source)
            if isinstance(now, Reason) and now.code == DENIED:
                return now
            if now != identity:
                return Reason(
                    code=FILE_CHANGED,
                    message=f"{identity.path} changed while it was read",
                    hint="run again once it is written",
                )
        self.confirm_held()
        return None

    async def _learn_the_time(self) -> None:
        """A task that does not say what it is of is told from older ones by the service's clock alone.

        One request a run, if no answer has come before the first create.

        Raises:
            NotSentError: the service is away.
            ApiError: it is somewhere else; a create would be in doubt.
            StoppedError: the run drains.
        """
        async with self._learning:
            if self.stop.is_set():  # what was asked meanwhile may have ended the run
                raise StoppedError
            if self._has_asked or self.idempotent or self.server_now() is not None:
                return
            self._has_asked = True
            try:
                await unless_stopped(self.stop, self.client.list(page=1, page_limit=1))
            except ServiceError as error:
                if isinstance(error, NotSentError) or _is_redirect(error):
                    raise  # else it is told by our clock

    def learn(self, key: JobKey, video_sec: float) -> None:
        """Now it is known how long the video of a job is: that much is spent, and no more."""
        charge = self.charges.pop(key, None)
        if charge is not None and charge.video_sec is None:
            self.gate.learn(charge, video_sec)
            self.submitted_sec += video_sec if key in self._own else 0.0

    def withdraw(self, key: JobKey) -> None:
        """The create of a job, that was in doubt, made no task."""
        charge = self.charges.pop(key, None)
        if charge is not None:
            self.gate.withdraw(charge)
            self._begun -= key in self._own

    def charge(self, key: JobKey, charge: Charge) -> None:
        """A create that an earlier run made, and of which nobody knew, is charged now."""
        self.gate.charge(charge)
        if charge.video_sec is None:
            self.charges[key] = charge

    async def _intend(self, video_id: VideoId, job: Job, attempt: int, charge: Charge) -> Entry:
        """Bring the job to `submitting`, with its charge, in one transaction."""
        entry = self.book.draft(job.job_key)
        now = self.clock()
        planned = entry.planned_again(attempt)
        intent = replace(intent_of(job), server_at=self.server_now())
        meant = replace(planned, state=State.SUBMITTING, intent=intent, intended_at=now)
        moves = [(entry.state, planned)] if entry.state in AGAIN else []
        if entry.state is not State.SUBMITTING:
            moves.append((State.PLANNED, meant))

        def also(ledger: Ledger) -> None:
            ledger.charge(job.job_key, attempt, charge)
            ledger.name(video_id, job.job_key, source=job.source.shown, now=now)

        return (await self.book.move_all(moves, also=also))[-1] if moves else entry

    async def _lost(
        self, job: Job, identity: Identity | None, entry: Entry, *, is_last: bool
    ) -> None:
        """The answer was lost. Whoever looks for the task says since when: at once, by both clocks.

        Where it is the run's last, nobody looks in it. If other bytes were sent than those of the
        job, its task is of no use.
        """
        changed = None
        if identity is not None and await asyncio.to_thread(is_changed, job, identity):
            changed = Reason(
                code=FILE_CHANGED,
                message=f"{identity.path} changed while it was uploaded",
                hint="run again once it is written",
            )
        if changed is not None or is_last:
            unknown = replace(
                entry, state=State.UNKNOWN, unknown_since=self.clock(), reason=changed
            )
            await self.book.move(unknown, old=State.SUBMITTING)

    async def _create(
        self, job: Job, identity: Identity | None, entry: Entry, before: Entry | None
    ) -> TaskId:
        asked = job.parameters
        with contextlib.ExitStack() as stack:
            upload: Upload | None = None
            url: str | None = None
            match job.source:
                case UrlSource(url=url):
                    pass
                case source:
                    file = await asyncio.to_thread(open_source, source, identity)
                    stack.callback(_close, file)
                    upload = upload_of(
                        job, source, file, dataset_id=self.dataset_id, attempt=entry.attempt
                    )
            try:
                answer = await self.client.create(
                    model_name=asked.model_name,
                    video_file=upload,
                    video_url=url,
                    video_start_offset_sec=asked.video_start_offset_sec,
                    video_end_offset_sec=asked.video_end_offset_sec,
                    video_clip_length=asked.video_clip_length,
                    video_embedding_scope=asked.video_embedding_scope,
                    idempotency_key=idempotency_key(self.dataset_id, job.job_key, entry.attempt),
                )
            except VideoChangedError as error:
                if error.task_id is not None:
                    self._claim(TaskId(error.task_id), before)
                raise
        return self._claim(TaskId(answer.id or ""), before)

    def _claim(self, task_id: TaskId, before: Entry | None) -> TaskId:
        """The task that a create is said to have made, unless it is another job's.

        Raises:
            SubmissionUnknown: it is; a task of this create's own may have been made.
        """
        is_own = before is not None and before.task_id == task_id
        if self.book.claim(task_id) or is_own or self.idempotent:
            return task_id
        raise SubmissionUnknown(f"the answer names task {task_id}, which is another video's")

    async def _changed(
        self, identity: Identity | None, entry: Entry, charge: Charge, error: VideoChangedError
    ) -> Reason | None:
        """What was sent is no version of the file: a task of it, if there is one, is of no use."""
        if isinstance(identity, FileIdentity):  # it was sent under a name that nobody knows
            error = VideoChangedError(identity.path, error.task_id)
        reason = Reason(code=FILE_CHANGED, message=str(error), hint="run again once it is written")
        if error.task_id is None:
            await self._unsent(entry, charge)
            return reason
        failed = replace(entry, state=State.FAILED, task_id=TaskId(error.task_id), reason=reason)
        await self.book.move(failed, old=State.SUBMITTING)
        return None

    async def _unread(
        self, entry: Entry, charge: Charge, error: UnreadableVideoError | StoreError | OSError
    ) -> Reason:
        """The video could not be read to its end, so no task was made."""
        await self._unsent(entry, charge)
        match error:
            case UnreadableVideoError():
                return error.reason
            case StoreError():
                return unreadable(error).reason
            case OSError():
                return Reason(
                    code="video_file_unreadable",
                    message=f"the file can't be read any more: {error.strerror}",
                    hint="run again once it can",
                )

    async def _refused(self, entry: Entry, charge: Charge, error: BatchembedError) -> None:
        """The create certainly made no task: the video's failure, or the whole run's."""
        if not isinstance(error, ApiError) or _ends_the_run(error):
            await self._unsent(entry, charge)
            raise error
        reason = Reason(
            code=error.code or f"http_{error.status_code}",
            message=error.server_message or str(error),
        )
        failed = replace(entry, state=State.FAILED, reason=reason)
        await self.book.move(failed, old=State.SUBMITTING, also=_withdrawal(entry))
        self._withdraw(charge)

    async def _unsent(self, entry: Entry, charge: Charge) -> None:
        await self.book.move(
            replace(entry, state=State.PLANNED), old=State.SUBMITTING, also=_withdrawal(entry)
        )
        self._withdraw(charge)

    def _withdraw(self, charge: Charge) -> None:
        self._begun -= 1
        self.gate.withdraw(charge)


def _close(file: BinaryIO) -> None:
    """Close it. Where a create is cancelled, a store may yet be read from: that is not waited for."""
    if isinstance(file, FileIO):
        file.close()
    else:
        closing = asyncio.get_running_loop().run_in_executor(None, file.close)
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())


def _withdrawal(entry: Entry) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.withdraw(entry.job_key, entry.attempt)


def _is_redirect(error: BaseException | None) -> bool:
    return isinstance(error, ApiError) and 300 <= (error.status_code or 0) < 400


def _is_elsewhere(error: BaseException | None) -> bool:
    """Whether the answer says that there is nothing to create at this address."""
    nothing = isinstance(error, ApiError) and error.status_code in {404, 405}
    return nothing or _is_redirect(error)


def _ends_the_run(error: ApiError) -> bool:
    """Whether a create was refused for what every other one has too: key, address, model."""
    if isinstance(error, AuthenticationError) or error.status_code is None:
        return True
    if _is_elsewhere(error) or is_too_early(error):
        return True
    return error.code == "parameter_invalid" and "model_name" in (error.server_message or "")

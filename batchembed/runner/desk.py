"""How hundreds of jobs share few requests for their tasks' statuses.

Each job waits in one `api.retry.poll` of its own. Its looks are answered together with those of
others (`runner.gathering`); where a page shows the end of a task that sleeps, its sleep ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from batchembed.api.models import TasksStatusResponse
from batchembed.api.retry import PollPolicy, Sleep, poll
from batchembed.api.waiting import is_done
from batchembed.core.model import TaskId
from batchembed.errors import ApiTimeoutError, AuthenticationError, BatchembedError
from batchembed.runner.gathering import Gathering, Nothing, StatusClient
from batchembed.runner.listen import Event, Warned
from batchembed.runner.outage import Outages, Uniform, now_s
from batchembed.runner.refusals import is_of_one_task

#: What a page says of a task spares its next look, if that is due within so much of the wait for it.
_SPARED = 0.25
#: First looks are spread over so much of their time, to both sides: runs that began together part.
_JITTER = 0.1


class _AwayError(Exception):
    """Carries the error of an outage past the patience of one task's poll."""

    def __init__(self, error: BatchembedError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A task's end."""

    answer: TasksStatusResponse
    waited_s: float
    unseen_s: float | None  #: of that, since it was last seen not to have ended; None: it never was


@dataclass(frozen=True, slots=True)
class _Nap:
    """A wait between two looks; from `late_s` on, a page spares the second."""

    alarm: asyncio.Timeout
    late_s: float


class StatusDesk:
    """Waits for tasks, for all jobs of one run. For one event loop."""

    def __init__(
        self,
        client: StatusClient,
        *,
        listing: bool,
        gather_s: float,
        sleep: Sleep = asyncio.sleep,
        uniform: Uniform = random.uniform,
        notice: Callable[[Event], None] | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: how many requests there are at once is its affair.
            listing: whether the service lists tasks cheaply; else each look is a request.
            gather_s: how long a look waits for others to be answered with, about.
            sleep: waits, in the loop's time.
            uniform: draws between two bounds.
            notice: is told, once each, of statuses that nobody knows.
        """
        self._gather_s = gather_s
        self._sleep = sleep
        self._uniform = uniform
        self._notice = notice
        self._naps: dict[TaskId, _Nap] = {}
        self._outages = Outages(sleep=sleep, uniform=uniform)
        self._gathering = Gathering(
            client,
            outages=self._outages,
            listing=listing,
            window=self._window,
            news=self._wake,
            odd=self._warn,
        )

    def created(self, task_id: TaskId) -> None:
        """A task of ours. In order of creation: those of earlier runs first, ended ones too."""
        self._gathering.where.created(task_id)

    def forget(self, task_id: TaskId) -> None:
        """Nobody waits for it any more. Its place among the created stays."""
        self._gathering.forget(task_id)

    def shared_s(self, wait_s: float) -> float:
        """A wait between looks, shorter where so many tasks are waited for that looks are shared."""
        return self._gathering.where.shared_s(wait_s) if self._gathering.shares else wait_s

    async def first_looks(self, task_ids: Iterable[TaskId]) -> dict[TaskId, TasksStatusResponse]:
        """The tasks' statuses now, as far as the service gives them.

        In order of creation: those that nobody has told of yet count as created now. One that has
        ended, or that the service does not have, is not asked for again: the wait for it ends at
        once.

        Raises:
            AuthenticationError: the key is refused, and not one task alone.
        """
        asked = tuple(dict.fromkeys(task_ids))
        for task_id in asked:
            if not self._gathering.where.knows(task_id):
                self.created(task_id)
        answers = await asyncio.gather(*map(self._gathering.ask, asked))
        found: dict[TaskId, TasksStatusResponse] = {}
        for task_id, told in zip(asked, answers, strict=True):
            if isinstance(told, AuthenticationError) and not is_of_one_task(told):
                raise told
            if isinstance(told, BatchembedError):
                self._gathering.keep(task_id, told)
            elif told is not Nothing.NEWS:
                found[task_id] = told
                if is_done(told):
                    self._gathering.keep(task_id, told)
        return found

    async def wait_for_done(self, task_id: TaskId, *, policy: PollPolicy) -> Noticed:
        """Wait until the task is ready or failed. Errors that pass are looked through.

        Raises:
            NotFoundError: the service has no such task.
            ApiTimeoutError: the policy's deadline passed first.
            BatchembedError: another error that does not pass; or one that passes, where no poll of
                the whole run was answered for longer than the policy bears, or ever.
        """
        began_s = now_s()
        spread = self._uniform(1 - _JITTER, 1 + _JITTER)
        policy = replace(policy, first_look_s=policy.first_look_s * spread)
        look = functools.partial(self._look, task_id, policy)
        nap = functools.partial(self._nap, task_id, policy.first_wait_s)
        try:
            answer = await poll(look, is_done, policy, sleep=nap)
        except _AwayError as away:
            raise away.error from away
        except ApiTimeoutError as error:
            raise ApiTimeoutError(f"task {task_id}: {error}") from error
        seen_s = self._gathering.unended_s(task_id)
        self.forget(task_id)
        return Noticed(
            answer=answer,
            waited_s=now_s() - began_s,
            unseen_s=None if seen_s is None else now_s() - seen_s,
        )

    async def _look(self, task_id: TaskId, policy: PollPolicy) -> TasksStatusResponse:
        told = await self._gathering.ask(task_id)
        if isinstance(told, BatchembedError):
            raise told
        if told is not Nothing.NEWS:
            return told
        error = self._outages.outlasts(policy)
        if error is not None:
            raise _AwayError(error)
        return TasksStatusResponse(id=task_id)  # no status: it is still waited for

    async def _window(self) -> None:
        await self._sleep(self._gather_s * self._uniform(0.5, 1.5))

    async def _nap(self, task_id: TaskId, first_wait_s: float, seconds: float) -> None:
        """Sleep, until a page brings the task's end, or spares the look after a sleep nearly over."""
        if self._gathering.has_news(task_id):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as alarm:
                spared_s = min(_SPARED * seconds, first_wait_s)
                self._naps[task_id] = _Nap(alarm, now_s() + seconds - spared_s)
                try:
                    await self._sleep(seconds)
                finally:
                    self._naps.pop(task_id, None)

    def _wake(self, task_id: TaskId, has_ended: bool) -> bool:
        """Take what a page says of a task; whether it is wanted."""
        nap = self._naps.get(task_id)
        if nap is None:
            return has_ended
        if has_ended or now_s() >= nap.late_s:
            del self._naps[task_id]
            nap.alarm.reschedule(0.0)  # a moment long past: it ends at once
            return True
        return False

    def _warn(self, status: str) -> None:
        if self._notice is not None:
            self._notice(
                Warned(message=f"the service gives the unknown status {status!r}: it is waited for")
            )

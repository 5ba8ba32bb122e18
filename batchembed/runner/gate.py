"""The one place that says who may create a task next, and when: quota, budget, and what the service says."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime

from batchembed.api.convert import moment_of
from batchembed.core.model import Budget, Quota
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge, Charges, NeverFits, Wait
from batchembed.core.run_report import Parked
from batchembed.core.standing import Standing
from batchembed.errors import ApiError, RateLimits, UsageLimitError
from batchembed.runner.listen import Event, Waiting

#: The same wait is told again after so long.
_TOLD_AGAIN_S = 60.0

_STOPPED = Reason(
    code="stopped", message="the run was stopped before this video was sent", hint="run again"
)


@dataclass(kw_only=True)
class Gate:
    """Lets creates through, one after the other in the order they ask.

    A short wait is slept. A long one parks the run: nothing more is let through, and `parked` says
    until when. Every wait ends at once when `stop` is set.
    """

    quota: Quota
    budget: Budget
    tasks: int  #: in flight at once
    uploads: int | None = None  #: creates of files on their way at once; None: any number
    requests: int | None = None  #: as many, of creates by URL
    longest_video_sec: float | None  #: as long counts a video of unknown length
    charges: InitVar[Iterable[Charge]]  #: of earlier runs
    blocked_until: InitVar[float | None]  #: as it was remembered
    blocked_why: InitVar[str] = "the service takes no creates, as it said to an earlier run"
    clock: Callable[[], float]  #: seconds since 1970
    sleep: Callable[[float], Awaitable[None]]
    stop: asyncio.Event
    notice: Callable[[Event], None]
    #: Keeps until when the service takes no creates, and why; None: no longer.
    remember: Callable[[float | None, str], Awaitable[None]]
    chance: Callable[[], float] = random.random  #: 0 to 1, for jitter

    def __post_init__(
        self, charges: Iterable[Charge], blocked_until: float | None, blocked_why: str
    ) -> None:
        now = self.clock()
        self._charges = Charges(
            self.quota,
            self.budget,
            earlier=charges,
            longest_video_sec=self.longest_video_sec,
            now=now,
        )
        self._standing = Standing(blocked_until=blocked_until, why=blocked_why, now=now)
        self._remembered = blocked_until
        self._slots = asyncio.Semaphore(self.tasks)
        self._uploads = _at_once(self.uploads)
        self._requests = _at_once(self.requests)
        self._over = 0  # in flight beyond `tasks`, from earlier runs
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._holds: set[object] = set()
        self._closed: Parked | None = None
        self._held_back = 0
        self._told: tuple[str, float] | None = None

    @property
    def parked(self) -> Parked | None:
        """Why the run submits less than it has, if so, and when to come back."""
        if self._closed is not None or not self._held_back:
            return self._closed
        many = "1 video is" if self._held_back == 1 else f"{self._held_back:,} videos are"
        return Parked(why=f"{self._budget_words()}: {many} held back", until=None)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """One of the tasks that may be in flight, in the order they ask."""
        return self._slots

    @contextlib.asynccontextmanager
    async def resumed(self) -> AsyncIterator[None]:
        """One that is in flight already: it counts, and need not wait."""
        over = self._slots.locked()
        if over:
            self._over += 1
        else:
            await self._slots.acquire()
        try:
            yield
        finally:
            if self._over:
                self._over -= 1
            else:
                self._slots.release()

    def sending(self, *, upload: bool) -> AbstractAsyncContextManager[None]:
        """Held from before `admit` until the answer: what is let through leaves at once.

        Else it would wait for its lane, and leave after a refusal that all others wait for.
        """
        return self._uploads if upload else self._requests

    async def admit(self, video_sec: float | None) -> Charge | Reason:
        """Wait for the turn to create a task, and take it.

        Args:
            video_sec: of the video to be submitted; None where it is not known.

        Returns:
            The charge, which counts from now on; or why nothing may be sent: `stopped`, `parked`,
            `quota_too_small` or `budget_spent`.
        """
        async with self._turn:
            while True:
                self._changed.clear()
                if self.stop.is_set():
                    return _STOPPED
                if self._closed is not None:
                    return _parked(self._closed)
                if not self._charges.affords(video_sec):
                    return self._over_budget(video_sec)
                if self._holds:
                    await self._pause(None)
                    continue
                wait = await self._wait(video_sec)
                if isinstance(wait, NeverFits):
                    return _quota_too_small(wait)
                if wait.seconds <= 0:
                    return await self._let_through(video_sec)
                if wait.seconds > self.quota.max_inline_wait_s:
                    self._closed = Parked(why=wait.why, until=self.clock() + wait.seconds)
                    continue
                self._tell(wait)
                await self._pause(wait.seconds)

    def charge(self, charge: Charge) -> None:
        """A create of an earlier run, that nobody knew of, counts from now on."""
        self._charges.add_earlier(charge)

    def withdraw(self, charge: Charge) -> None:
        """A create certainly made no task: it costs nothing."""
        self._charges.withdraw(charge)
        self._changed.set()

    def learn(self, charge: Charge, video_sec: float) -> Charge:
        """The length of a video has become known; the charge as it is now."""
        known = self._charges.learn(charge, video_sec)
        self._changed.set()
        return known

    def heard(self, limits: RateLimits | None, server_date: float | None) -> None:
        """Take in the headers of a create's answer; its Date in seconds since 1970."""
        self._standing.heard(limits, now=self.clock(), server_date=server_date)
        self._changed.set()

    async def refused(self, error: ApiError) -> None:
        """Take in that a create was refused for what every other one would be: all of them wait.

        A `UsageLimitError` parks the run: no waiting helps.
        """
        words = (error.server_message or "the service takes no creates for now").rstrip(".")
        if isinstance(error, UsageLimitError):
            self._closed = Parked(why=words, until=None)
        else:
            until = self._standing.refused(
                error.limits,
                retry_after_s=error.retry_after_s,
                why=words,
                now=self.clock(),
                server_date=_server_date(error),
                jitter=self.chance(),
            )
            await self._keep(until, words)
        self._changed.set()

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[], None]]:
        """Let nothing through while a create is in doubt.

        Yields:
            To be called when a listing has been read: whoever is in doubt then no longer holds.
        """
        hold = object()
        self._holds.add(hold)
        try:
            yield self._settled
        finally:
            self._holds.discard(hold)
            self._changed.set()

    def _settled(self) -> None:
        self._holds.clear()
        self._changed.set()

    async def _wait(self, video_sec: float | None) -> Wait | NeverFits:
        """The longer of what the quota and the service ask."""
        now = self.clock()
        own = self._charges.wait(video_sec, now=now)
        theirs = self._standing.wait(now)
        if isinstance(own, NeverFits) or own.seconds >= theirs.seconds:
            return own
        if theirs.seconds > self.quota.max_inline_wait_s:  # the next run parks without asking
            await self._keep(now + theirs.seconds, theirs.why)
        return theirs

    async def _let_through(self, video_sec: float | None) -> Charge:
        now = self.clock()
        charge = Charge(at=now, video_sec=video_sec)
        self._charges.add(charge)
        self._standing.spend(now)
        if self._remembered is not None:
            await self._keep(None, "")
        return charge

    async def _keep(self, until: float | None, why: str) -> None:
        if until != self._remembered:
            self._remembered = until
            await self.remember(until, why)

    async def _pause(self, seconds: float | None) -> None:
        """Until something has changed, the run is to stop, or so many seconds are over."""
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self.stop.wait()),
        ]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self.sleep(seconds)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _tell(self, wait: Wait) -> None:
        now = self.clock()
        if self._told is not None:
            why, at = self._told
            if why == wait.why and abs(now - at) < _TOLD_AGAIN_S:
                return
        self._told = (wait.why, now)
        self.notice(Waiting(why=wait.why, seconds=wait.seconds))

    def _over_budget(self, video_sec: float | None) -> Reason:
        self._held_back += 1
        minutes = (video_sec if video_sec is not None else self.longest_video_sec or 0.0) / 60
        length = f"{minutes:,.1f} more"
        if video_sec is None:
            length = f"a video of unknown length, which may have {minutes:,.1f},"
        return Reason(
            code="budget_spent",
            message=f"{self._budget_words()}: {self._charges.spent_sec / 60:,.1f} minutes are "
            f"submitted, and {length} would go beyond it",
            hint="raise the budget"
            + (", or run again: it is for each run" if self.budget.per == "run" else ""),
        )

    def _budget_words(self) -> str:
        budget = self.budget
        limits = []
        if budget.video_minutes is not None:
            limits.append(f"{budget.video_minutes:,g} minutes")
        if budget.amount is not None:
            limits.append(f"{budget.amount:,g} {budget.currency}")
        return f"the budget of {' and '.join(limits)} for each {budget.per} is spent"


def _at_once(most: int | None) -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext() if most is None else asyncio.Semaphore(most)


def _parked(parked: Parked) -> Reason:
    if parked.until is None:
        return Reason(code="parked", message=parked.why, hint="run again when it is settled")
    when = datetime.fromtimestamp(math.ceil(parked.until), tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Reason(
        code="parked", message=f"{parked.why}; come back after {when}", hint="run again then"
    )


def _quota_too_small(never: NeverFits) -> Reason:
    return Reason(
        code="quota_too_small",
        message=never.why,
        hint="raise the quota if the account allows it, or split the video",
    )


def _server_date(error: ApiError) -> float | None:
    """The moment of an answer by the server's clock, in seconds since 1970."""
    moment = moment_of(error.headers.get("date"))
    return None if moment is None else moment.timestamp()

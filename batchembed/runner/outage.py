"""What all polls of a run share when the service is away or asks to wait: one pause, and one probe."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import TypeVar

from batchembed.api.repeats import asked_s, is_transient
from batchembed.api.retry import PollPolicy, Sleep
from batchembed.errors import BatchembedError, RateLimitError

T = TypeVar("T")
Uniform = Callable[[float, float], float]

#: Probes that may fail before the run has had one answer.
_FIRST_PROBES = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
#: A service that asks for more is asked again after so long.
_LONGEST_ASKED_S = 300.0
#: Those that waited out a pause go on within this time, not all at once.
_SPREAD_S = 1.0


class Outages:
    """Lets polls through while they are answered. After an error one is tried at a time, ever later."""

    def __init__(self, *, sleep: Sleep, uniform: Uniform) -> None:
        self._sleep = sleep
        self._uniform = uniform
        self._probing = asyncio.Lock()
        self._error: BatchembedError | None = None  #: since the last answer
        self._since_s = 0.0
        self._resume_s = 0.0
        self._asked_until_s = 0.0  #: by the service
        self._failed = 0  #: rounds of failures; those of one moment are one
        self._in_a_row = 0
        self._was_answered = False
        self.was_limited = False  #: whether polls have ever been too many

    async def ask(self, request: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None: there was none, by an error that passes.

        Raises:
            BatchembedError: an error that does not pass: it is an answer too.
        """
        if not self._is_away():
            return await self._tried(request)
        began = self._failed
        async with self._probing:
            if self._is_away():
                if self._failed != began:
                    return None  # another has just tried for all that wait here
                await self._sleep(max(0.0, self._resume_s - now_s()))
                return await self._tried(request)
        await self._sleep(self._uniform(0.0, _SPREAD_S))
        return await self._tried(request)

    async def _tried(self, request: Callable[[], Awaitable[T]]) -> T | None:
        began = self._failed
        try:
            answer = await request()
        except BatchembedError as error:
            if is_transient(error):
                self._note(error, is_new=self._failed == began)
                return None
            self._note_answer(began)
            raise
        self._note_answer(began)
        return answer

    def _is_away(self) -> bool:
        return self._error is not None

    def _note_answer(self, began: int) -> None:
        self._was_answered = True
        # One that was sent before the service asked to wait does not take that back.
        if self._failed == began or now_s() >= self._asked_until_s:
            self._error, self._in_a_row = None, 0

    def _note(self, error: BatchembedError, *, is_new: bool) -> None:
        moment_s = now_s()
        if self._error is None:
            self._since_s = moment_s
        self._error = error
        self.was_limited = self.was_limited or isinstance(error, RateLimitError)
        if is_new:
            self._failed += 1
            self._in_a_row += 1
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._in_a_row - 1, 16))
        asked = min(asked_s(error) or 0.0, _LONGEST_ASKED_S)
        self._asked_until_s = max(self._asked_until_s, moment_s + asked)
        own_s = moment_s + self._uniform(longest_s / 2, longest_s)
        self._resume_s = max(self._resume_s, own_s, self._asked_until_s)

    def outlasts(self, policy: PollPolicy) -> BatchembedError | None:
        """The last error, where nothing else has come for longer than the policy bears, or ever."""
        if self._error is None:
            return None
        lasted = now_s() - self._since_s >= policy.longest_outage_s
        never = not self._was_answered and self._in_a_row >= _FIRST_PROBES
        return copy.copy(self._error) if lasted or never else None


def now_s() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()

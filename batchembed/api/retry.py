"""Retrying and polling as values; the only import of tenacity.

Retrying asks "is this request worth sending again?", polling "is the task done yet?". Both are
bounded, take their sleep from the caller, and honour what the server asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import tenacity

from batchembed.api.repeats import RetryBudget, asked_s, is_transient
from batchembed.errors import ApiTimeoutError

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
BlockingSleep = Callable[[float], None]

#: What a client without an event loop sleeps with.
blocking_sleep: BlockingSleep = tenacity.nap.sleep
#: Each wait between two looks is so many times the one before.
_GROWTH = 1.5
#: Looks at a task that may fail before one has been answered.
_FIRST_LOOKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, how long, and with which waits a request is repeated."""

    attempts: int = 5
    total_s: float = 120.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    #: A server that asks for more is not slept out: its error is raised.
    longest_retry_after_s: float = 60.0
    #: Whether a create that was refused with 429 is sent again; else its error is raised at once.
    repeat_limited_creates: bool = True

    def at_most(self, retries: int | None) -> RetryPolicy:
        """The same with so many attempts after the first; None changes nothing."""
        return self if retries is None else replace(self, attempts=max(0, retries) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """When to look at a task again. Equal waits poll at a constant pace; no deadline waits for ever."""

    first_look_s: float = 0.0  #: nothing is asked before
    first_wait_s: float = 5.0  #: after the first look
    longest_wait_s: float = 5.0
    deadline_s: float | None = None
    #: A server that asks for more is not slept out: its error is raised.
    longest_retry_after_s: float = 300.0
    #: When nothing but errors has come for so long, the last of them is raised.
    longest_outage_s: float = 900.0


#: What stands in for the look before the first one.
_EARLY = object()


def _is_early(state: tenacity.RetryCallState) -> bool:
    outcome = state.outcome
    return outcome is not None and not outcome.failed and outcome.result() is _EARLY


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    outcome = state.outcome
    return outcome.exception() if outcome is not None and outcome.failed else None


class _ServerAdvice(tenacity.wait.wait_base):
    """Wait as `own` says, and no less than the server asked: it may ask for nothing at all."""

    def __init__(self, own: tenacity.wait.wait_base) -> None:
        self._own = own

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return max(self._own(retry_state), asked_s(_error_of(retry_state)) or 0.0)


def _spent_s(state: tenacity.RetryCallState) -> float:
    """How long it has gone on: as the clock says, or as long as was slept."""
    return max(state.seconds_since_start or 0.0, state.idle_for)


class _UpTo(tenacity.wait.wait_base):
    """Wait no longer than to the deadline: there is a last look at it."""

    def __init__(self, own: tenacity.wait.wait_base, deadline_s: float) -> None:
        self._own = own
        self._deadline_s = deadline_s

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        left_s = self._deadline_s - _spent_s(retry_state)
        return max(0.0, min(self._own(retry_state), left_s))


class _Outage(tenacity.stop.stop_base):
    """Stop where nothing but errors has come for so long, or at the first few looks."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._since_s: float | None = None
        self._answered = False
        self._errors = 0
        self.error: BaseException | None = None  #: the last one, where it has stopped

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = _error_of(retry_state)
        if error is None:
            self._since_s = None
            self._answered = self._answered or not _is_early(retry_state)
            return False
        self._errors += 1
        if self._since_s is None:
            self._since_s = _spent_s(retry_state)
        lasted = _spent_s(retry_state) - self._since_s >= self._longest_s
        if lasted or (not self._answered and self._errors >= _FIRST_LOOKS):
            self.error = error
        return self.error is not None


class _Late(tenacity.stop.stop_base):
    """Stop at the deadline."""

    def __init__(self, deadline_s: float | None) -> None:
        self._deadline_s = deadline_s

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return self._deadline_s is not None and _spent_s(retry_state) >= self._deadline_s


class _Spent(tenacity.stop.stop_base):
    """Stop where the client's budget pays for no more."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return not self._budget.spend(_error_of(retry_state))


class _Attempts(tenacity.AsyncRetrying):
    """Keeps nothing of a decision once it is made: of ten thousand that wait, each has its own.

    What is left of it also holds this object, a cycle that would keep the collector busy.
    """

    async def iter(self, retry_state: tenacity.RetryCallState) -> Any:  # noqa: ANN401  # as tenacity
        try:
            return await super().iter(retry_state)
        finally:
            self.iter_state.reset()


def _retry_terms(
    policy: RetryPolicy, worth: Callable[[BaseException], bool], budget: RetryBudget
) -> dict[str, Any]:
    def patient(error: BaseException) -> bool:
        asked = asked_s(error)
        return worth(error) and (asked is None or asked <= policy.longest_retry_after_s)

    return {
        "retry": tenacity.retry_if_exception(patient),
        "wait": _ServerAdvice(
            tenacity.wait_random_exponential(
                multiplier=policy.first_wait_s, max=policy.longest_wait_s
            )
        ),
        # The budget is asked last: it pays only for what will be sent.
        "stop": tenacity.stop_any(
            tenacity.stop_after_attempt(policy.attempts),
            tenacity.stop_before_delay(policy.total_s),
            _Spent(budget),
        ),
        "reraise": True,
    }


def retrying(
    policy: RetryPolicy,
    worth: Callable[[BaseException], bool],
    budget: RetryBudget,
    *,
    sleep: Sleep = asyncio.sleep,
) -> tenacity.AsyncRetrying:
    """Repeat a request by `policy` while `worth` and `budget` allow; then its last error is raised."""
    return _Attempts(sleep=sleep, **_retry_terms(policy, worth, budget))


def blocking_retrying(
    policy: RetryPolicy,
    worth: Callable[[BaseException], bool],
    budget: RetryBudget,
    *,
    sleep: BlockingSleep = blocking_sleep,
) -> tenacity.Retrying:
    """As `retrying`, in the caller's thread."""
    return tenacity.Retrying(sleep=sleep, **_retry_terms(policy, worth, budget))


def _looking(policy: PollPolicy) -> tenacity.wait.wait_base:
    """The waits of a policy: that for the first look, then growing ones."""
    constant = policy.first_wait_s == policy.longest_wait_s
    early = policy.first_look_s > 0
    growing = _ServerAdvice(
        tenacity.wait_exponential_jitter(
            # The wait for the first look counts as one: the next is the first of those that grow.
            multiplier=policy.first_wait_s / (_GROWTH if early else 1),
            max=policy.longest_wait_s,
            exp_base=_GROWTH,
            jitter=0 if constant else policy.first_wait_s,
        )
    )
    return (
        tenacity.wait_chain(tenacity.wait_fixed(policy.first_look_s), growing) if early else growing
    )


class _Polling:
    """A policy as tenacity takes it; `stop` is asked once for each look, so each has its own."""

    def __init__(self, policy: PollPolicy, done: Callable[[T], bool]) -> None:
        def passing(error: BaseException) -> bool:
            asked = asked_s(error)
            return is_transient(error) and (asked is None or asked <= policy.longest_retry_after_s)

        self._early = policy.first_look_s > 0
        self._policy = policy
        self._outage = _Outage(policy.longest_outage_s)
        wait = _looking(policy)
        self.terms: dict[str, Any] = {
            "retry": tenacity.retry_if_exception(passing)
            | tenacity.retry_if_result(lambda answer: answer is _EARLY or not done(answer)),
            "wait": wait if policy.deadline_s is None else _UpTo(wait, policy.deadline_s),
            "stop": tenacity.stop_any(self._outage, _Late(policy.deadline_s)),
        }

    def is_early(self) -> bool:
        """Whether this look is the one before the first: nothing is asked."""
        early, self._early = self._early, False
        return early

    def given_up(self, error: tenacity.RetryError) -> BaseException:
        """An outage's last error, or that it is late."""
        if self._outage.error is not None:
            return self._outage.error
        last = error.last_attempt.exception()
        said = "" if last is None else f" ({last})"
        return ApiTimeoutError(f"still processing after {self._policy.deadline_s or 0:g} s{said}")


async def poll(
    look: Callable[[], Awaitable[T]],
    done: Callable[[T], bool],
    policy: PollPolicy,
    *,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Look until `done`; errors that pass are looked through, while they do not last.

    Raises:
        ApiTimeoutError: the policy's deadline passed first.
    """
    polling = _Polling(policy, done)

    async def each() -> object:
        return _EARLY if polling.is_early() else await look()

    try:
        answer: T = await _Attempts(sleep=sleep, **polling.terms)(each)
    except tenacity.RetryError as error:
        raise polling.given_up(error) from error
    return answer


def blocking_poll(
    look: Callable[[], T],
    done: Callable[[T], bool],
    policy: PollPolicy,
    *,
    sleep: BlockingSleep = blocking_sleep,
) -> T:
    """As `poll`, in the caller's thread."""
    polling = _Polling(policy, done)

    def each() -> object:
        return _EARLY if polling.is_early() else look()

    try:
        answer = cast("T", tenacity.Retrying(sleep=sleep, **polling.terms)(each))
    except tenacity.RetryError as error:
        raise polling.given_up(error) from error
    return answer

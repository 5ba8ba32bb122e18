"""Retrying and polling as values; the only import of tenacity.

Retrying asks "is this request worth sending again?", polling "is the task done yet?". Both are
bounded, take their sleep from the caller, and honour what the server asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from batchembed.errors import (
    AnswerError,
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    RateLimitError,
    ServerError,
)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

#: Statuses, besides 429 and 5xx, that pass by themselves.
_PASSING = frozenset({408, 409, 425})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, how long, and with which waits a request is repeated."""

    attempts: int = 5
    total_s: float = 120.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    #: A server that asks for more is not slept out: its error is raised.
    longest_retry_after_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """When to look at a task again. Equal waits poll at a constant pace; no deadline waits for ever."""

    first_wait_s: float = 5.0
    longest_wait_s: float = 5.0
    deadline_s: float | None = None


def is_transient(error: BaseException) -> bool:
    """Whether a GET that failed so is worth repeating."""
    if isinstance(error, ApiError):
        return isinstance(error, (RateLimitError, ServerError)) or error.status_code in _PASSING
    return isinstance(error, (ApiConnectionError, ApiTimeoutError, AnswerError))


def was_not_accepted(error: BaseException) -> bool:
    """Whether a create that failed so certainly made no task, and is worth repeating."""
    return isinstance(error, (ApiConnectionError, RateLimitError))


class _ServerAdvice(tenacity.wait.wait_base):
    """Wait as long as the server asked, else as `fallback` says."""

    def __init__(self, fallback: tenacity.wait.wait_base) -> None:
        self._fallback = fallback

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        asked = _asked_s(retry_state)
        return self._fallback(retry_state) if asked is None else asked


def _asked_s(retry_state: tenacity.RetryCallState) -> float | None:
    outcome = retry_state.outcome
    error = outcome.exception() if outcome is not None and outcome.failed else None
    return error.retry_after_s if isinstance(error, ApiError) else None


def retrying(
    policy: RetryPolicy, worth: Callable[[BaseException], bool], *, sleep: Sleep = asyncio.sleep
) -> tenacity.AsyncRetrying:
    """Repeat a request by `policy` while `worth` says so; then its last error is raised."""

    def patient(error: BaseException) -> bool:
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        return worth(error) and (asked is None or asked <= policy.longest_retry_after_s)

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(patient),
        wait=_ServerAdvice(
            tenacity.wait_random_exponential(
                multiplier=policy.first_wait_s, max=policy.longest_wait_s
            )
        ),
        stop=tenacity.stop_after_attempt(policy.attempts)
        | tenacity.stop_before_delay(policy.total_s),
        sleep=sleep,
        reraise=True,
    )


async def poll(
    look: Callable[[], Awaitable[T]],
    done: Callable[[T], bool],
    policy: PollPolicy,
    *,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Look until `done`; errors that pass are looked through.

    Raises:
        ApiTimeoutError: the policy's deadline passed first.
    """
    growing = tenacity.wait_exponential_jitter(
        multiplier=policy.first_wait_s,
        max=policy.longest_wait_s,
        exp_base=1.5,
        jitter=0 if policy.first_wait_s == policy.longest_wait_s else policy.first_wait_s,
    )
    poller = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(is_transient)
        | tenacity.retry_if_result(lambda answer: not done(answer)),
        wait=_ServerAdvice(growing),
        stop=tenacity.stop_never
        if policy.deadline_s is None
        else tenacity.stop_before_delay(policy.deadline_s),
        sleep=sleep,
        reraise=True,
    )
    try:
        answer: T = await poller(look)
    except tenacity.RetryError as error:
        raise ApiTimeoutError(f"still processing after {policy.deadline_s:g} s") from error
    return answer

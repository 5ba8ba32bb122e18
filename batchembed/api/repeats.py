"""Which failures are worth another request, how long the server asks to wait, and what it may cost."""

from __future__ import annotations

import threading

from batchembed.errors import (
    AnswerError,
    AnswerTooLargeError,
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    NotSentError,
    RateLimitError,
    ServerError,
)

#: Statuses, besides 429 and 5xx, that pass by themselves.
_PASSING = frozenset({408, 409, 425})


def is_transient(error: BaseException) -> bool:
    """Whether a GET that failed so is worth repeating."""
    if isinstance(error, ApiError):
        return isinstance(error, (RateLimitError, ServerError)) or error.status_code in _PASSING
    return isinstance(error, (ApiConnectionError, ApiTimeoutError, AnswerError)) and not isinstance(
        error, AnswerTooLargeError
    )


def was_not_accepted(error: BaseException) -> bool:
    """Whether a create that failed so certainly made no task, and is worth repeating."""
    return isinstance(error, (NotSentError, RateLimitError)) or is_too_early(error)


def is_too_early(error: BaseException) -> bool:
    """Whether a request was sent back unread: it is to come again, over a connection that is old."""
    return isinstance(error, ApiError) and error.status_code == 425


def asked_s(error: BaseException | None) -> float | None:
    """Seconds that the server asked to wait, if the error is one in which it did."""
    return error.retry_after_s if isinstance(error, ApiError) else None


class RetryBudget:
    """What the retries of one client may cost together: a server in trouble is not hammered.

    In a full outage a client sends `capacity / cost` requests more than it has calls. Figures after
    the standard retry mode of the AWS SDKs. Threads may share it.
    """

    def __init__(
        self, *, capacity: float = 100.0, cost: float = 5.0, timeout_cost: float = 10.0
    ) -> None:
        self._capacity = capacity
        self._left = capacity
        self._cost = cost
        self._timeout_cost = timeout_cost
        self._lock = threading.Lock()

    def spend(self, error: BaseException | None) -> bool:
        """Pay for a retry after `error`; False where that can't be afforded."""
        cost = self._timeout_cost if isinstance(error, ApiTimeoutError) else self._cost
        with self._lock:
            if cost > self._left:
                return False
            self._left -= cost
            return True

    def earn(self) -> None:
        """A request was answered: give a retry back."""
        with self._lock:
            self._left = min(self._capacity, self._left + self._cost)

"""What a run notes of every request: how many there were, the service's clock, its request ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from batchembed.api.observe import Answered, Kind
from batchembed.errors import RateLimits

#: Of the last answer to the job whose context this is.
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def take_request_id() -> str | None:
    """The id of the last answer to this job, once."""
    request_id = _request_id.get()
    _request_id.set(None)
    return request_id


def _unheard(_limits: RateLimits | None, _date: float | None) -> None:
    """Nobody wants to know of limits."""


class Observer:
    """Told by the client of each request and each answer."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sent: Counter[str] = Counter()
        self._server: tuple[float, float] | None = None  #: its last Date, and when it came
        #: Told of the limits in a create's answer, and of its Date.
        self.heard: Callable[[RateLimits | None, float | None], None] = _unheard

    def sent(self, kind: Kind) -> None:
        """A request leaves."""
        self._sent[kind] += 1

    def answered(self, answered: Answered) -> None:
        """An answer has come, whatever its status."""
        _request_id.set(answered.request_id)
        if answered.server_date is not None:
            self._server = (answered.server_date, self._monotonic())
        if answered.kind == "create" and answered.limits is not None:
            self.heard(answered.limits, answered.server_date)

    def server_now(self) -> float | None:
        """The service's clock, whatever ours is set to; None until it has told."""
        if self._server is None:
            return None
        date, at = self._server
        return date + self._monotonic() - at

    @property
    def requests(self) -> tuple[tuple[str, int], ...]:
        """Requests sent, by kind."""
        return tuple(sorted(self._sent.items()))

"""What the service said of creates: how many are left until when, and until when it takes none.

Moments are in seconds since 1970 of this machine's clock, and come from the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchembed.core.quota import DAY_S, Wait
from batchembed.errors import RateLimits

#: What is further away is not believed: a header in milliseconds, a clock that is wrong.
LONGEST_S = 31 * DAY_S
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 60.0
#: Answers' dates are whole seconds: resets that differ by less are the same one.
_SAME_RESET_S = 2.0


@dataclass(slots=True, kw_only=True)
class _Pause:
    until: float
    longest_s: float  #: what was asked; more is left only where the clock was set back
    why: str

    def left_s(self, now: float) -> float:
        """Seconds until it is over."""
        self.until = min(self.until, now + self.longest_s)
        return max(0.0, self.until - now)


class Standing:
    """How creates stand with the service, by its answers."""

    def __init__(self, *, blocked_until: float | None, why: str, now: float) -> None:
        """Begin with the block that an earlier run was told of, if there is one."""
        self._block = _Pause(until=now, longest_s=0.0, why="")
        if blocked_until is not None and blocked_until > now:
            longest_s = min(LONGEST_S, blocked_until - now)
            self._block = _Pause(until=blocked_until, longest_s=longest_s, why=why)
        self._window: _Pause | None = None
        self._remaining = 0
        self._refusals = 0
        self._skew_s = 0.0  # the server's clock less ours, by its last Date

    def wait(self, now: float) -> Wait:
        """How long a create has to wait."""
        blocked_s = self._block.left_s(now)
        if blocked_s > 0:
            return Wait(seconds=blocked_s, why=self._block.why)
        if self._window is None or self._remaining > 0:
            return Wait(seconds=0.0)
        return Wait(seconds=self._window.left_s(now), why=self._window.why)

    def spend(self, now: float) -> None:
        """A create leaves."""
        if self._window is not None and self._window.left_s(now) == 0:
            self._window = None
        self._remaining = max(0, self._remaining - 1)

    def heard(self, limits: RateLimits | None, *, now: float, server_date: float | None) -> None:
        """Take in what an answer's headers say.

        Args:
            limits: what they say, if anything.
            now: the moment of the answer.
            server_date: its Date: the server's clock.
        """
        reset_s = self._reset_s(limits, now=now, server_date=server_date)
        if limits is None or limits.remaining is None or reset_s is None:
            return
        window = self._window
        if window is not None and now + reset_s <= window.until + _SAME_RESET_S:
            # Answers overtake each other, and what is on its way is not counted in them.
            self._remaining = min(self._remaining, limits.remaining)
            return
        most = "requests" if limits.limit is None else f"limit of {limits.limit:,} requests"
        why = f"the service's {most} is used up"
        self._window = _Pause(until=now + reset_s, longest_s=reset_s, why=why)
        self._remaining = limits.remaining

    def refused(
        self,
        limits: RateLimits | None,
        *,
        retry_after_s: float | None,
        why: str,
        now: float,
        server_date: float | None,
        jitter: float,
    ) -> float:
        """Take in a 429; until when no create may leave.

        Without a time in it: after 1 s to 60 s, longer each time while refusals repeat.

        Args:
            limits: as for `heard`.
            retry_after_s: what the server asks to wait, if it does.
            why: in words.
            now: the moment of the answer.
            server_date: its Date: the server's clock.
            jitter: 0 to 1, by chance.
        """
        blocked_s = self._block.left_s(now)
        reset_s = self._reset_s(limits, now=now, server_date=server_date)
        asked_s = retry_after_s
        if asked_s is None and limits is not None and not limits.remaining:
            asked_s = reset_s
        seconds = min(asked_s or 0.0, LONGEST_S)
        if blocked_s == 0:  # else it left with the one that is waited for already
            repeats = now - self._block.until <= _LONGEST_BACKOFF_S and self._refusals > 0
            self._refusals = self._refusals + 1 if repeats else 1
            seconds = max(seconds, _backoff_s(self._refusals, jitter))
        if seconds > blocked_s:
            self._block = _Pause(until=now + seconds, longest_s=seconds, why=why)
        return self._block.until

    def _reset_s(
        self, limits: RateLimits | None, *, now: float, server_date: float | None
    ) -> float | None:
        """Seconds until the limits' reset, by the server's clock; None where it can't be believed."""
        if server_date is not None:
            self._skew_s = server_date - now
        if limits is None or limits.reset_at is None:
            return None
        seconds = limits.reset_at - now - self._skew_s
        return seconds if 0 < seconds <= LONGEST_S else None


def _backoff_s(refusals: int, jitter: float) -> float:
    most = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(refusals, 16))
    return max(_FIRST_BACKOFF_S, most * (0.5 + 0.5 * jitter))

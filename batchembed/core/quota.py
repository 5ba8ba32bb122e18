"""What creates have cost, and what quota and budget leave for the next one.

Lengths are counted in whole milliseconds, so that sums are exact. Moments are in seconds since
1970 and come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from batchembed.core.model import Budget, Quota
from batchembed.core.segments import to_ms

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One create that made a task, or may have; `video_sec` is None where it is not known."""

    at: float
    video_sec: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """So many seconds until one more create is allowed, and what forbids it now; 0: nothing does."""

    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverFits:
    """No waiting helps: the video alone is longer than all that a window may hold."""

    why: str


@dataclass(slots=True, kw_only=True)
class _Kept:
    at: float
    creates: int  #: 0 once it is withdrawn
    video_ms: int
    budgeted: bool  #: it counts against the budget


class _Window:
    """The charges of the last `length_s`; together they may weigh `most`."""

    def __init__(
        self, length_s: float, most: int, says: str, weigh: Callable[[_Kept], int]
    ) -> None:
        self.length_s = length_s
        self.most = most
        self.says = says
        self.weigh = weigh
        self._start = 0  # of the first charge in it
        self._used = 0

    def holds(self, kept: _Kept, now: float) -> bool:
        return kept.at + self.length_s > now

    def move(self, charges: list[_Kept], now: float) -> None:
        """Let it end now; it may move back too, where the clock was set back."""
        while self._start < len(charges) and not self.holds(charges[self._start], now):
            self._used -= self.weigh(charges[self._start])
            self._start += 1
        while self._start > 0 and self.holds(charges[self._start - 1], now):
            self._start -= 1
            self._used += self.weigh(charges[self._start])

    def change(self, charges: list[_Kept], kept: _Kept, weight: int) -> None:
        """One of the charges weighs so much more; it may be in the window or not."""
        if self._start < len(charges) and charges[self._start].at <= kept.at:
            self._used += weight

    def wait_s(self, charges: list[_Kept], weight: int, now: float) -> float:
        """Seconds until so much more fits; no more than all of it."""
        free = self.most - self._used - weight
        at = self._start
        while free < 0:
            free += self.weigh(charges[at])
            at += 1
        return 0.0 if at == self._start else charges[at - 1].at + self.length_s - now


def _creates(kept: _Kept) -> int:
    return kept.creates


def _video_ms(kept: _Kept) -> int:
    return kept.video_ms


def _windows(quota: Quota) -> Iterator[_Window]:
    requests, hourly, daily = (
        quota.requests_per_minute,
        quota.video_minutes_per_hour,
        quota.video_minutes_per_day,
    )
    if requests is not None:
        yield _Window(MINUTE_S, requests, f"{requests:,} requests a minute", _creates)
    if hourly is not None:
        most = round(hourly * _MINUTE_MS)
        yield _Window(HOUR_S, most, f"{hourly:,g} minutes of video an hour", _video_ms)
    if daily is not None:
        most = round(daily * _MINUTE_MS)
        yield _Window(DAY_S, most, f"{daily:,g} minutes of video a day", _video_ms)


def budget_ms(budget: Budget) -> int | None:
    """How much video may be submitted; None where there is no limit."""
    limits = []
    if budget.video_minutes is not None:
        limits.append(budget.video_minutes)
    if budget.amount is not None and budget.price_per_minute:
        limits.append(budget.amount / budget.price_per_minute)
    return round(min(limits) * _MINUTE_MS) if limits else None


class Charges:
    """Every create there was, as far as a quota or a budget still asks for it.

    A video of unknown length counts as the longest that the model takes. Windows slide: a charge
    leaves one when it is as old as the window is long. A charge from the future (the clock was set
    back) is taken to be made now.
    """

    def __init__(
        self,
        quota: Quota,
        budget: Budget,
        *,
        earlier: Iterable[Charge] = (),
        longest_video_sec: float | None,
        now: float,
    ) -> None:
        """Begin with the charges of earlier runs, in any order."""
        self.budget = budget
        self._windows = tuple(_windows(quota))
        self._budget_ms = budget_ms(budget)
        self._longest_ms = 0 if longest_video_sec is None else to_ms(longest_video_sec)
        self._budgets_earlier = budget.per == "dataset"
        self._began = now
        self._charges: list[_Kept] = []
        self._kept: dict[Charge, list[_Kept]] = {}
        self._spent_ms = 0
        for charge in sorted(earlier, key=lambda each: each.at):
            if _is_old(charge, now):
                if self._budgets_earlier:
                    self._spent_ms += self._length_ms(charge.video_sec)
            else:
                self._add(charge, budgeted=self._budgets_earlier)

    @property
    def spent_sec(self) -> float:
        """Video that counts against the budget."""
        return self._spent_ms / 1000

    def affords(self, video_sec: float | None) -> bool:
        """Whether the budget has room for one more create."""
        if self._budget_ms is None:
            return True
        return self._spent_ms + self._length_ms(video_sec) <= self._budget_ms

    def wait(self, video_sec: float | None, *, now: float) -> Wait | NeverFits:
        """How long one more create has to wait for the quota."""
        self._set_back(now)
        video_ms = self._length_ms(video_sec)
        longest = Wait(seconds=0.0)
        for window in self._windows:
            window.move(self._charges, now)
            weight = window.weigh(_Kept(at=now, creates=1, video_ms=video_ms, budgeted=False))
            if weight > window.most:
                if video_sec is not None:
                    minutes = f"{video_ms / _MINUTE_MS:,.1f} minutes of video"
                    return NeverFits(why=f"{minutes}, and the quota is {window.says}")
                weight = window.most  # it may be shorter than the longest
            seconds = window.wait_s(self._charges, weight, now)
            if seconds > longest.seconds:
                longest = Wait(seconds=seconds, why=f"the quota of {window.says} is used up")
        return longest

    def add(self, charge: Charge) -> None:
        """Count a create of this run."""
        self._add(charge, budgeted=True)

    def add_earlier(self, charge: Charge) -> None:
        """Count a create of an earlier run, as if it was made now."""
        self._add(charge, budgeted=self._budgets_earlier)

    def withdraw(self, charge: Charge) -> None:
        """Forget a create that made no task."""
        length_ms = self._length_ms(charge.video_sec)
        found = self._kept.get(charge)
        if found:
            self._change(found.pop(), creates=-1, video_ms=-length_ms)
        elif self._budgets_earlier and _is_old(charge, self._began):
            self._spent_ms -= length_ms

    def learn(self, charge: Charge, video_sec: float) -> Charge:
        """Say how long a charge's video was; the charge as it is now."""
        known = Charge(at=charge.at, video_sec=video_sec)
        more_ms = self._length_ms(video_sec) - self._length_ms(charge.video_sec)
        found = self._kept.get(charge)
        if found:
            kept = found.pop()
            self._kept.setdefault(known, []).append(kept)
            self._change(kept, creates=0, video_ms=more_ms)
        elif self._budgets_earlier and _is_old(charge, self._began):
            self._spent_ms += more_ms
        return known

    def _length_ms(self, video_sec: float | None) -> int:
        return self._longest_ms if video_sec is None else to_ms(video_sec)

    def _add(self, charge: Charge, *, budgeted: bool) -> None:
        self._set_back(charge.at)
        kept = _Kept(at=charge.at, creates=0, video_ms=0, budgeted=budgeted)
        self._kept.setdefault(charge, []).append(kept)
        for window in self._windows:
            window.move(self._charges, charge.at)
        self._charges.append(kept)
        self._change(kept, creates=1, video_ms=self._length_ms(charge.video_sec))

    def _change(self, kept: _Kept, *, creates: int, video_ms: int) -> None:
        """Change a charge, and the windows that hold it."""
        before = [window.weigh(kept) for window in self._windows]
        kept.creates += creates
        kept.video_ms += video_ms
        if kept.budgeted:
            self._spent_ms += video_ms
        for window, weight in zip(self._windows, before, strict=True):
            window.change(self._charges, kept, window.weigh(kept) - weight)

    def _set_back(self, now: float) -> None:
        for kept in reversed(self._charges):
            if kept.at <= now:
                break
            kept.at = now


def _is_old(charge: Charge, now: float) -> bool:
    """Whether no window holds it any more."""
    return charge.at + DAY_S <= now

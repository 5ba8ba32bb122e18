"""How long a task is expected to take: learned from this run's own tasks, as a line over duration."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: What is left of a task's weight when the next is learned: about the last twenty count.
_FADE = 0.95
#: The first look comes at so much of the expected time: else nobody would see a service get faster.
_EARLY = 0.9
#: One task alone moves what is expected no further than by this factor: a machine may have slept.
_OUTLIER = 4.0
#: A line is not followed further than to so many times the longest video seen.
_REACH = 2.0
#: A shorter duration is none.
_SHORTEST_SEC = 0.001
#: A spread of durations below this share of their mean says nothing about the slope.
_FLAT = 0.01


@dataclass(slots=True)
class _Mean:
    """A fading mean."""

    weight: float = 0.0
    value: float = 0.0

    def learn(self, value: float) -> None:
        self.weight = _FADE * self.weight + 1
        self.value += (value - self.value) / self.weight


@dataclass(slots=True)
class _Line:
    """A fading least-squares line: means, and the spread around them."""

    weight: float = 0.0
    duration_sec: float = 0.0
    elapsed_s: float = 0.0
    spread: float = 0.0  #: of durations, squared
    together: float = 0.0  #: of durations with elapsed times
    longest_sec: float = 0.0

    def learn(self, duration_sec: float, elapsed_s: float) -> None:
        before = _FADE * self.weight
        self.weight = before + 1
        off_sec, off_s = duration_sec - self.duration_sec, elapsed_s - self.elapsed_s
        self.duration_sec += off_sec / self.weight
        self.elapsed_s += off_s / self.weight
        share = before / self.weight
        self.spread = _FADE * self.spread + share * off_sec * off_sec
        self.together = _FADE * self.together + share * off_sec * off_s
        self.longest_sec = max(duration_sec, _FADE * self.longest_sec)

    def at(self, duration_sec: float) -> float:
        """Seconds; the line neither falls nor starts below nothing."""
        slope = 0.0
        if self.spread > self.weight * (_FLAT * self.duration_sec) ** 2:
            slope = max(0.0, self.together / self.spread)
        if slope * self.duration_sec > self.elapsed_s:
            slope = self.elapsed_s / self.duration_sec
        within = min(duration_sec, _REACH * self.longest_sec)
        return max(0.0, self.elapsed_s + slope * (within - self.duration_sec))


class Expectation:
    """When to look at a task first. A dozen numbers, however many tasks are learned from."""

    def __init__(self) -> None:
        self._all = _Mean()
        self._line = _Line()

    def learn(
        self, duration_sec: float | None, elapsed_s: float, unseen_s: float | None = 0.0
    ) -> None:
        """A task was seen to have ended.

        Args:
            duration_sec: of its video, or of the window in it; None: not known.
            elapsed_s: from its creation until its end was noticed. What no clock can have
                measured, below nothing or without end, is left out.
            unseen_s: of that, since it was last seen not to have ended: the end is taken to lie in
                the middle. None: it never was.
        """
        if not 0 <= elapsed_s < math.inf:
            return
        if unseen_s is not None:
            elapsed_s -= min(elapsed_s, unseen_s) / 2
        expected = self._expected_s(duration_sec)
        if expected:
            elapsed_s = min(max(elapsed_s, expected / _OUTLIER), expected * _OUTLIER)
        self._all.learn(elapsed_s)
        if duration_sec is not None and _SHORTEST_SEC <= duration_sec < math.inf:
            self._line.learn(duration_sec, elapsed_s)

    def first_look_s(self, duration_sec: float | None) -> float | None:
        """Seconds from the creation to the first look, a little before the expected end.

        None: nothing is known yet.
        """
        expected = self._expected_s(duration_sec)
        return None if expected is None else _EARLY * expected

    def margin_s(self, duration_sec: float | None) -> float | None:
        """How long before the expected end that look is: a good wait for the one after it."""
        expected = self._expected_s(duration_sec)
        return None if expected is None else (1 - _EARLY) * expected

    def _expected_s(self, duration_sec: float | None) -> float | None:
        if duration_sec is not None and self._line.weight:
            return self._line.at(duration_sec)
        return self._all.value if self._all.weight else None

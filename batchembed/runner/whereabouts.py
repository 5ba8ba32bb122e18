"""Where our tasks stand in the service's listing: newest first, with those of others between them."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from batchembed.core.model import TaskId

#: The service's largest page.
PAGE_TASKS = 50
#: Places that are remembered: those of the last pages.
_SIGHTINGS = 10 * PAGE_TASKS
#: Of the tasks that a page shows, such a share is about to be looked at.
_AT_ONCE = 0.25
#: Looks that share pages come no sooner after each other, nor for more pages a second.
_BRISK_S = 1.0
_PAGES_PER_S = 5.0


@dataclass(frozen=True, slots=True)
class _Sighting:
    """One of our tasks in a page: which one by order of creation, and how many not of ours were before it.

    The number is below zero where newer ones of ours are not listed.
    """

    nth: int
    others: int


@dataclass(slots=True)
class Page:
    """What a page is expected to show."""

    awaited: int  #: tasks of ours that are not forgotten: at most so many
    wanted: list[TaskId] = field(default_factory=list)


class Whereabouts:
    """Guesses in which page a task is, from the order of creation and from the pages seen so far."""

    def __init__(self) -> None:
        self._nth: dict[TaskId, int] = {}
        self._awaited: list[int] = []  #: the numbers in there, in order
        self._created = 0
        self._sightings: deque[_Sighting] = deque(maxlen=_SIGHTINGS)
        self._latest: list[_Sighting] | None = None  #: of each task; None: to be looked up
        self._page_tasks = PAGE_TASKS

    @property
    def has_seen(self) -> bool:
        """Whether a page has shown a task of ours yet."""
        return bool(self._sightings)

    def shared_s(self, wait_s: float) -> float:
        """A wait between looks, as much shorter as a page answers more of them."""
        pages = self.awaited / self._page_tasks
        each_s = wait_s / (_AT_ONCE * min(self.awaited, self._page_tasks))
        return min(wait_s, max(each_s, _BRISK_S, pages / _PAGES_PER_S))

    @property
    def awaited(self) -> int:
        """How many tasks are not forgotten."""
        return len(self._nth)

    def created(self, task_id: TaskId) -> None:
        """The newest task of ours, until the next."""
        self.forget(task_id)
        self._nth[task_id] = self._created
        self._awaited.append(self._created)
        self._created += 1

    def forget(self, task_id: TaskId) -> None:
        """It is asked for no more. Its place in the listing stays taken."""
        nth = self._nth.pop(task_id, None)
        if nth is not None:
            del self._awaited[bisect.bisect_left(self._awaited, nth)]

    def knows(self, task_id: TaskId) -> bool:
        """Whether it was created, and is not forgotten."""
        return task_id in self._nth

    def pages(self, wanted: Iterable[TaskId]) -> dict[int, Page]:
        """The pages where the wanted are expected; those that nobody created are in none."""
        found: dict[int, Page] = {}
        for task_id in wanted:
            nth = self._nth.get(task_id)
            if nth is not None:
                newer = int(max(0, self._created - 1 - nth + _others(self._known(), nth)))
                number = 1 + newer // self._page_tasks
                if number not in found:
                    found[number] = Page(self._around(nth, newer % self._page_tasks))
                found[number].wanted.append(task_id)
        return found

    def _known(self) -> Sequence[_Sighting]:
        """The latest sighting of each task that was seen, in order of creation."""
        if self._latest is None:
            latest = {sighting.nth: sighting for sighting in self._sightings}
            self._latest = sorted(latest.values(), key=lambda sighting: sighting.nth)
        return self._latest

    def _around(self, nth: int, newer: int) -> int:
        """How many awaited tasks are in the page of our nth, which has so many newer ones before it."""
        first = bisect.bisect_left(self._awaited, nth + newer + 1 - self._page_tasks)
        return bisect.bisect_right(self._awaited, nth + newer) - first

    def saw(self, page: int, listed: Sequence[TaskId], page_tasks: int) -> None:
        """A page came.

        Args:
            page: its number, from 1.
            listed: its tasks, newest first.
            page_tasks: how many a page has, as the service says.
        """
        self._latest = None
        if page_tasks != self._page_tasks:
            self._page_tasks = page_tasks
            self._sightings.clear()
        for newer, task_id in enumerate(listed, (page - 1) * page_tasks):
            nth = self._nth.get(task_id)
            if nth is not None:
                self._sightings.append(_Sighting(nth, newer - (self._created - 1 - nth)))


def _others(known: Sequence[_Sighting], nth: int) -> float:
    """How many others are newer than our nth task, going by those of ours that were seen around it."""
    if not known:
        return 0
    at = bisect.bisect_left(known, nth, key=lambda sighting: sighting.nth)
    older, newer = known[max(0, at - 1)], known[min(at, len(known) - 1)]
    if nth >= newer.nth or nth <= older.nth:
        return newer.others if nth >= newer.nth else older.others
    share = (nth - older.nth) / (newer.nth - older.nth)
    return older.others + share * (newer.others - older.others)

"""Looks into the service's listing for a task that it denies, before its job is called lost.

A wrong route denies tasks that are there, and a mixed-up answer to a create names another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from batchembed.core.problems import Reason
from batchembed.core.reconcile import Found, Listing, judge
from batchembed.core.states import KEPT_S, Entry
from batchembed.errors import ServiceError
from batchembed.runner.book import Book
from batchembed.runner.outage import now_s
from batchembed.runner.tasks_listed import NoListingError

_EMPTY = Listing(tasks=(), complete=True)


@dataclass(kw_only=True)
class Search:
    """Searches for missing tasks, for all jobs of one run. For one event loop."""

    read: Callable[[], Awaitable[Listing]]
    book: Book
    dataset_id: str
    clock: Callable[[], float]
    fresh_s: float  #: a listing serves everybody so long: less than a task was denied before
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _began_s: float = float("-inf")
    _listing: Listing | ServiceError = _EMPTY

    async def find(self, entry: Entry) -> Found | Reason | None:
        """Look for the task of a job that was created, and that the service denies.

        Returns:
            The task that has the marker of the job's upload, under another id. A reason, where the
            task is listed, or nothing is proved. None: it is not there, or no service keeps it for
            so long, or there is no listing.
        """
        if entry.submitted_at is not None and self.clock() - entry.submitted_at > KEPT_S:
            return None
        listing = await self._latest()
        if isinstance(listing, ServiceError):
            return _denied(entry, f"its tasks can't be listed now: {listing}")
        if any(task.task_id == entry.task_id for task in listing.tasks):
            return _denied(entry, "it lists it all the same")
        if entry.intent is None or entry.intent.url_digest is None:
            found = judge(entry, listing, dataset_id=self.dataset_id, claimed=self.book.claimed)
            if isinstance(found, Found):
                return found
        if listing.flaw is not None:
            return _denied(entry, listing.flaw)
        return None

    async def _latest(self) -> Listing | ServiceError:
        async with self._turn:
            if now_s() - self._began_s >= self.fresh_s:
                began_s = now_s()
                self._listing = await self._read()
                self._began_s = began_s  # not of one that was cut short
            return self._listing

    async def _read(self) -> Listing | ServiceError:
        try:
            return await self.read()
        except NoListingError:
            return _EMPTY
        except ServiceError as error:
            return error


def _denied(entry: Entry, but: str) -> Reason:
    return Reason(
        code="task_denied",
        message=f"the service says that it has no task {entry.task_id}, but {but}",
        hint="run again: the task is paid for, and looked for until it is certainly not there",
    )

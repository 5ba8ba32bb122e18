"""The tasks of a listing over all its pages, with the official SDK's names.

A page tells how many there are, so no page is asked for past the last; where it does not, an empty
page is the end. Tasks that are made meanwhile push others to the next page: each comes once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from batchembed.api.models import TasksListResponse, VideoEmbeddingTask


@dataclass(frozen=True)
class SyncPager:
    """One page of a listing, newest task first; iterating goes on through the pages after it."""

    response: TasksListResponse
    number: int
    get_next: Callable[[], SyncPager]

    @property
    def items(self) -> Sequence[VideoEmbeddingTask]:
        """The tasks of this page."""
        return self.response.data or ()

    @property
    def has_next(self) -> bool:
        """Whether there is a page after this one."""
        return _has_next(self.response, self.number)

    def next_page(self) -> SyncPager | None:
        """The page after this one, if there is one."""
        return self.get_next() if self.has_next else None

    def iter_pages(self) -> Iterator[SyncPager]:
        """This page and those after it."""
        page: SyncPager | None = self
        while page is not None:
            yield page
            page = page.next_page()

    def __iter__(self) -> Iterator[VideoEmbeddingTask]:
        seen = _Seen()
        for page in self.iter_pages():
            fresh = seen.fresh(page.items)
            yield from fresh
            if page.items and not fresh:
                return


@dataclass(frozen=True)
class AsyncPager:
    """As `SyncPager`, for `async for`."""

    response: TasksListResponse
    number: int
    get_next: Callable[[], Awaitable[AsyncPager]]

    @property
    def items(self) -> Sequence[VideoEmbeddingTask]:
        """The tasks of this page."""
        return self.response.data or ()

    @property
    def has_next(self) -> bool:
        """Whether there is a page after this one."""
        return _has_next(self.response, self.number)

    async def next_page(self) -> AsyncPager | None:
        """The page after this one, if there is one."""
        return await self.get_next() if self.has_next else None

    async def iter_pages(self) -> AsyncIterator[AsyncPager]:
        """This page and those after it."""
        page: AsyncPager | None = self
        while page is not None:
            yield page
            page = await page.next_page()

    async def __aiter__(self) -> AsyncIterator[VideoEmbeddingTask]:
        seen = _Seen()
        async for page in self.iter_pages():
            fresh = seen.fresh(page.items)
            for task in fresh:
                yield task
            if page.items and not fresh:
                return


def _has_next(listing: TasksListResponse, number: int) -> bool:
    where = listing.page_info
    if where is None or where.total_page is None:
        return bool(listing.data)
    return number < where.total_page


class _Seen:
    """The ids that came before: a page with none but those is one that a server repeats for ever."""

    def __init__(self) -> None:
        self._ids: set[str | None] = set()

    def fresh(self, tasks: Sequence[VideoEmbeddingTask]) -> list[VideoEmbeddingTask]:
        """Those that did not come before."""
        found = [task for task in tasks if task.id is None or task.id not in self._ids]
        self._ids.update(task.id for task in found)
        return found

"""The tasks of a listing over all its pages, with the official SDK's names.

A page tells how many there are, so no page is asked for past the last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from batchembed.api.models import TasksListResponse, VideoEmbeddingTask


@dataclass(frozen=True)
class SyncPager:
    """One page of a listing, newest task first; iterating goes on through the pages after it."""

    response: TasksListResponse
    get_next: Callable[[], SyncPager]

    @property
    def items(self) -> Sequence[VideoEmbeddingTask]:
        """The tasks of this page."""
        return self.response.data or ()

    @property
    def has_next(self) -> bool:
        """Whether there is a page after this one."""
        return _has_next(self.response)

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
        for page in self.iter_pages():
            yield from page.items


@dataclass(frozen=True)
class AsyncPager:
    """As `SyncPager`, for `async for`."""

    response: TasksListResponse
    get_next: Callable[[], Awaitable[AsyncPager]]

    @property
    def items(self) -> Sequence[VideoEmbeddingTask]:
        """The tasks of this page."""
        return self.response.data or ()

    @property
    def has_next(self) -> bool:
        """Whether there is a page after this one."""
        return _has_next(self.response)

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
        async for page in self.iter_pages():
            for task in page.items:
                yield task


def _has_next(listing: TasksListResponse) -> bool:
    where = listing.page_info
    return bool(listing.data) and where is not None and (where.page or 1) < (where.total_page or 1)

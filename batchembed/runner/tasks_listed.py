"""Reads the service's listing of its tasks, to its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from batchembed.api.models import TasksListResponse, VideoEmbeddingTask
from batchembed.api.pager import AsyncPager
from batchembed.core.known_urls import KnownUrls
from batchembed.core.model import TaskId
from batchembed.core.reconcile import Listed, Listing
from batchembed.errors import ApiError

#: A listing's largest page.
PAGE = 50
#: Answers to a listing that say that there is none here.
_NO_LISTING = frozenset({400, 404, 405, 501})
#: Answers to a later page that say that it is no more.
_NO_PAGE = frozenset({400, 404, 410, 416, 422})
#: No task is older: a date before this stands for one that is not known.
_FIRST_YEAR = 2000
#: No video is longer.
_LONGEST_VIDEO_SEC = 1e6
#: How often an incomplete listing is read anew before it is a failure.
_READINGS = 5
_NONE_KNOWN = KnownUrls()


class Lists(Protocol):
    """What gives the service's tasks, page after page."""

    async def list(self, *, page: int | None = None, page_limit: int | None = None) -> AsyncPager:
        """One page, newest first."""
        ...


class NoListingError(Exception):
    """The service has no listing of its tasks."""


async def read_listing(client: Lists, known: KnownUrls = _NONE_KNOWN) -> Listing:
    """Every task of the service; those of `known` URLs, however it writes them.

    No time is asked for: that would be by another clock than the service's. Tasks that are made
    meanwhile push others to the next page, so none is missed; a listing that brings fewer than it
    says it has is read again, a few times: its last page may be no more. One that is no list, or
    does not say how many there are, is never complete: it may be anybody's page.

    Raises:
        NoListingError: there is none.
        ServiceError: it can't be had now.
    """
    tasks: dict[str, VideoEmbeddingTask] = {}
    complete = counted = False
    for _ in range(_READINGS):
        try:
            first = await client.list(page=1, page_limit=PAGE)
        except ApiError as error:
            if error.status_code in _NO_LISTING:
                raise NoListingError(str(error)) from error
            raise
        tasks = {}
        try:
            async for task in first:
                if task.id is not None:
                    tasks[task.id] = task
        except ApiError as error:
            if error.status_code not in _NO_PAGE:
                raise
        total = _total(first.response)
        counted = total is not None
        complete = total is not None and len(tasks) >= total
        if complete or not counted:
            break
    return Listing(
        tasks=tuple(listed(task, known) for task in tasks.values()),
        complete=complete,
        counted=counted,
    )


def _total(first: TasksListResponse) -> int | None:
    """How many tasks a listing says that it has; None where it shows more, or none at all."""
    total = None if first.page_info is None else first.page_info.total_results
    if total is None or total < len(first.data or ()) or (first.data is None and total > 0):
        return None
    return total


def listed(task: VideoEmbeddingTask, known: KnownUrls = _NONE_KNOWN) -> Listed:
    """A task of a listing, in the core's words.

    A service may write a zero value for what it does not know yet: that is not told.
    """
    about = None if task.video_embedding is None else task.video_embedding.metadata
    url_digest, like_digests = _url_digests(None if about is None else about.input_url, known)
    scope = None if about is None else about.video_embedding_scope
    return Listed(
        task_id=TaskId(task.id or ""),
        status=task.status,
        model_name=task.model_name or None,
        created_at=None if task.created_at is None else _seconds(task.created_at),
        input_filename=None if about is None else about.input_filename or None,
        url_digest=url_digest,
        like_digests=like_digests,
        video_clip_length=None if about is None else about.video_clip_length or None,
        video_embedding_scope=tuple(scope) if scope else None,
        duration_sec=None
        if about is None or task.status != "ready"
        else _video_sec(about.duration),
    )


def _seconds(moment: datetime) -> float | None:
    """A date as seconds since 1970: in UTC, where it does not say in which zone."""
    if moment.year < _FIRST_YEAR:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _video_sec(told: float | None) -> float | None:
    return told if told is not None and 0 < told <= _LONGEST_VIDEO_SEC else None


def _url_digests(url: str | None, known: KnownUrls) -> tuple[str | None, frozenset[str]]:
    if not url:
        return None, frozenset()
    try:
        return known.digests(url)
    except ValueError:  # nothing that we would have sent
        return None, frozenset()

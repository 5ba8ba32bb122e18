"""The search for a task that its service denies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from batchembed.core.keys import upload_stem
from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.reconcile import Found, Listed, Listing
from batchembed.core.states import Entry, Intent, State
from batchembed.errors import ServerError
from batchembed.runner.book import Book
from batchembed.runner.missing import Search
from batchembed.runner.tasks_listed import NoListingError
from tests.support.fakes import MemoryCalls

DATASET = "d" * 32
KEY = JobKey("a" * 64)
INTENT = Intent(
    model_name="local-v1", video_clip_length=6.0, video_embedding_scope=("clip",), start_ms=0
)
ENTRY = Entry(
    job_key=KEY, state=State.PROCESSING, attempt=2, task_id=TaskId("denied"), intent=INTENT
)
NAME = f"{upload_stem(DATASET, KEY)}-2.mp4"


def a_task(task_id: str, filename: str | None = "film.mp4", url: str | None = None) -> Listed:
    return Listed(
        task_id=TaskId(task_id),
        status="ready",
        model_name="local-v1",
        created_at=None,
        input_filename=filename,
        url_digest=url,
        video_clip_length=6.0,
        video_embedding_scope=("clip",),
    )


def a_search(
    read: Callable[[], Listing],
    *,
    claimed: str = "denied",
    fresh_s: float = 0.0,
    now: float = 0.0,
) -> Search:
    async def reading() -> Listing:
        await asyncio.sleep(0)
        return read()

    book = Book(MemoryCalls(), {}, [TaskId(claimed)], clock=lambda: 0.0)
    return Search(read=reading, book=book, dataset_id=DATASET, clock=lambda: now, fresh_s=fresh_s)


def found_in(*tasks: Listed, entry: Entry = ENTRY, complete: bool = True) -> Found | Reason | None:
    listing = Listing(tasks=tasks, complete=complete)
    return asyncio.run(a_search(lambda: listing).find(entry))


@pytest.mark.parametrize(("days", "is_looked_for"), [(6.9, True), (7.1, False)])
def test_what_no_service_keeps_so_long_is_not_looked_for(days: float, is_looked_for: bool) -> None:
    entry = replace(ENTRY, submitted_at=1_000.0)
    flawed = Listing(tasks=(a_task("denied"),), complete=False)

    found = asyncio.run(a_search(lambda: flawed, now=1_000.0 + days * 86_400.0).find(entry))

    assert (found is not None) is is_looked_for


def test_what_a_complete_listing_does_not_show_is_not_there() -> None:
    assert found_in(a_task("other"), a_task("older", NAME.replace("-2.", "-1."))) is None


def test_what_an_incomplete_listing_does_not_show_may_be_there() -> None:
    told = found_in(a_task("other"), complete=False)

    assert isinstance(told, Reason)
    assert "fewer tasks than it says" in told.message


@pytest.mark.parametrize("complete", [True, False])
def test_what_is_listed_is_there(complete: bool) -> None:
    told = found_in(a_task("denied"), complete=complete)

    assert isinstance(told, Reason)
    assert "no task denied, but it lists it" in told.message


def test_an_upload_of_this_attempt_is_the_job_s_under_whatever_id() -> None:
    task = a_task("true", NAME)

    assert found_in(a_task("other"), task) == Found(task=task, attempt=2)


def test_another_task_of_the_same_url_is_not_taken_for_it() -> None:
    entry = replace(ENTRY, intent=replace(INTENT, url_digest="u"))

    assert found_in(a_task("other", None, "u"), entry=entry) is None


def test_where_there_is_no_listing_nothing_speaks_for_the_task() -> None:
    def read() -> Listing:
        raise NoListingError("501")

    assert asyncio.run(a_search(read).find(ENTRY)) is None


def test_where_the_listing_can_not_be_had_nothing_is_proved() -> None:
    def read() -> Listing:
        raise ServerError(status_code=503)

    told = asyncio.run(a_search(read).find(ENTRY))

    assert isinstance(told, Reason)
    assert "can't be listed now: the service answered 503" in told.message


@pytest.mark.parametrize(("fresh_s", "expected"), [(60.0, 1), (0.0, 5)])
def test_jobs_that_search_at_one_time_share_a_listing(fresh_s: float, expected: int) -> None:
    readings: list[int] = []

    def read() -> Listing:
        readings.append(1)
        return Listing(tasks=(), complete=True)

    async def search_for_five() -> None:
        search = a_search(read, fresh_s=fresh_s)
        await asyncio.gather(*(search.find(ENTRY) for _ in range(5)))

    asyncio.run(search_for_five())

    assert len(readings) == expected


def test_a_listing_that_was_cut_short_serves_nobody() -> None:
    listing = Listing(tasks=(a_task("denied"),), complete=True)

    async def search_twice() -> Found | Reason | None:
        search = a_search(lambda: listing, fresh_s=60.0)
        first = asyncio.create_task(search.find(ENTRY))
        await asyncio.sleep(0)
        first.cancel()
        return await search.find(ENTRY)

    assert isinstance(asyncio.run(search_twice()), Reason)

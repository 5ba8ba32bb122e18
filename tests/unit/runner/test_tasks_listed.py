"""The listing of a service, read to its end, and what is made of each task in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchembed.api.models import (
    PageInfo,
    TasksListResponse,
    TasksStatusResponseVideoEmbedding,
    VideoEmbeddingMetadata,
    VideoEmbeddingTask,
)
from batchembed.api.pager import AsyncPager
from batchembed.core.reconcile import Listed, Listing
from batchembed.errors import ApiError, BadRequestError, NotFoundError, RateLimitError
from batchembed.runner.tasks_listed import listed, read_listing

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def shown(
    *, status: str = "ready", created_at: datetime | None = NOON, **about: object
) -> VideoEmbeddingTask:
    metadata = VideoEmbeddingMetadata(**about)  # type: ignore[arg-type]
    return VideoEmbeddingTask(
        id="t1",
        status=status,
        created_at=created_at,
        video_embedding=TasksStatusResponseVideoEmbedding(metadata=metadata),
    )


def of(**parts: object) -> Listed:
    return listed(shown(**parts))  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_a_time_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        naive = of(created_at=NOON.replace(tzinfo=None))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert naive.created_at == of().created_at == NOON.timestamp()


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1),  # noqa: DTZ001  what a service without zones writes
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
        datetime(1970, 1, 1, tzinfo=UTC),
        None,
    ],
)
def test_a_time_that_no_task_can_have_is_not_told(moment: datetime | None) -> None:
    assert of(created_at=moment).created_at is None


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=23)), timezone(-timedelta(hours=23))]
)
def test_a_time_at_the_end_of_all_times_is_read(zone: timezone) -> None:
    told = of(created_at=datetime.max.replace(tzinfo=zone)).created_at

    assert told is not None
    assert told > NOON.timestamp()


def test_zero_values_are_what_is_not_told() -> None:
    zero = of(input_filename="", input_url="", video_clip_length=0.0, video_embedding_scope=[])

    assert zero.input_filename is zero.url_digest is None
    assert zero.video_clip_length is None
    assert zero.video_embedding_scope is None
    assert not zero.named


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e308, None])
def test_a_duration_that_no_video_has_is_not_told(duration: float | None) -> None:
    assert of(duration=duration).duration_sec is None


def test_the_duration_of_a_task_that_is_not_ready_is_not_known() -> None:
    assert of(duration=12.5).duration_sec == 12.5
    assert of(duration=12.5, status="processing").duration_sec is None


def a_page(*ids: str, pages: int | None = 1, total: int | None) -> TasksListResponse:
    return TasksListResponse(
        data=[VideoEmbeddingTask(id=each) for each in ids],
        page_info=PageInfo(total_page=pages, total_results=total),
    )


@dataclass
class Pages:
    """A service that gives these answers to a listing's pages, one after the other."""

    answers: list[TasksListResponse | Exception]
    asked: list[int] = field(default_factory=list)

    async def list(self, *, page: int | None = None, page_limit: int | None = None) -> AsyncPager:
        number = page or 1
        self.asked.append(number)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return AsyncPager(answer, number, lambda: self.list(page=number + 1))


def read(*answers: TasksListResponse | Exception) -> tuple[Listing, list[int]]:
    service = Pages(list(answers))
    return asyncio.run(read_listing(service)), service.asked


def test_a_listing_is_complete_with_as_many_tasks_as_it_says_that_it_has() -> None:
    whole, asked = read(a_page("t3", "t2", pages=2, total=3), a_page("t1", pages=2, total=3))

    assert [task.task_id for task in whole.tasks] == ["t3", "t2", "t1"]
    assert (whole.flaw, asked) == (None, [1, 2])
    assert read(a_page(total=0))[0].flaw is None


@pytest.mark.parametrize(
    "answer",
    [
        TasksListResponse(),
        TasksListResponse(page_info=PageInfo(total_results=1)),
        TasksListResponse(data=[]),
        TasksListResponse(data=[], page_info=PageInfo(page=1, total_page=0)),
        a_page("t1", total=0),
    ],
)
def test_what_is_no_listing_or_does_not_say_how_many_there_are_is_not_complete(
    answer: TasksListResponse,
) -> None:
    found, _ = read(answer)

    assert not found.complete
    assert "does not say how many" in (found.flaw or "")


@pytest.mark.parametrize("data", [None, []])
def test_a_listing_of_nothing_is_complete(data: list[VideoEmbeddingTask] | None) -> None:
    found, _ = read(TasksListResponse(data=data, page_info=PageInfo(total_results=0)))

    assert found.complete


def test_a_listing_with_fewer_tasks_than_it_says_is_read_again_a_few_times() -> None:
    found, asked = read(a_page("t1", total=2))

    assert "fewer tasks" in (found.flaw or "")
    assert asked == [1] * 5
    assert read(a_page("t1", total=2), a_page("t2", "t1", total=2))[0].flaw is None


@pytest.mark.parametrize(
    "error", [BadRequestError(status_code=400), NotFoundError(status_code=404)]
)
def test_a_listing_that_shrinks_while_it_is_read_is_read_again(error: ApiError) -> None:
    found, asked = read(
        a_page("t3", "t2", pages=2, total=3), error, a_page("t3", "t2", pages=1, total=2)
    )

    assert (found.flaw, len(found.tasks)) == (None, 2)
    assert asked == [1, 2, 1]


def test_a_listing_that_always_moves_is_not_complete() -> None:
    first, no_page = a_page("t1", pages=2, total=2), BadRequestError(status_code=400)
    answers: list[TasksListResponse | Exception] = [first, no_page]

    found, asked = read(*answers * 5)

    assert found.flaw is not None
    assert [task.task_id for task in found.tasks] == ["t1"]
    assert asked == [1, 2] * 5


def test_a_listing_that_brought_all_its_tasks_is_complete_whatever_the_page_after_them_is() -> None:
    found, asked = read(a_page("t1", pages=None, total=1), BadRequestError(status_code=400))

    assert (found.flaw, asked) == (None, [1, 2])


def test_a_limit_on_a_later_page_is_told() -> None:
    with pytest.raises(RateLimitError):
        read(a_page("t1", pages=2, total=2), RateLimitError(status_code=429))

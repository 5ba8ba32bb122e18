"""How many jobs wait for their tasks with few requests, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TaskError, TasksStatusResponse
from batchembed.api.options import RequestOptions
from batchembed.api.pager import AsyncPager
from batchembed.api.retry import PollPolicy
from batchembed.core.expectation import Expectation
from batchembed.core.model import TaskId
from batchembed.errors import (
    ApiTimeoutError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from batchembed.runner.desk import Noticed, StatusDesk
from batchembed.runner.listen import Event, Warned
from tests.unit.runner.fake_tasks import FakeTasks, now_s, run

GATHER_S = 0.25
POLICY = PollPolicy(first_look_s=1, first_wait_s=1, longest_wait_s=10, deadline_s=86_400)


@pytest.fixture(autouse=True)
def _drawn_alike() -> None:
    """The waits' own jitter is drawn from the one generator that all share."""
    random.seed(4)


def a_desk(service: Any, **options: Any) -> StatusDesk:
    return StatusDesk(service, **({"listing": True, "gather_s": GATHER_S} | options))


def created(service: FakeTasks, desk: StatusDesk, count: int, **how: Any) -> list[TaskId]:
    """So many tasks of ours, one after the other."""
    tasks = []
    for number in range(len(service.tasks), len(service.tasks) + count):
        tasks.append(service.create(f"t{number}", **how))
        desk.created(tasks[-1])
    return tasks


async def waited(
    desk: StatusDesk, tasks: list[TaskId], policy: PollPolicy = POLICY
) -> list[TasksStatusResponse | BaseException]:
    """What the wait for each of them came to."""
    waits = (desk.wait_for_done(each, policy=policy) for each in tasks)
    return answers_of(await asyncio.gather(*waits, return_exceptions=True))


def answers_of(
    ends: list[Noticed | BaseException],
) -> list[TasksStatusResponse | BaseException]:
    return [end.answer if isinstance(end, Noticed) else end for end in ends]


def statuses(answers: list[TasksStatusResponse | BaseException]) -> Counter[str | type]:
    return Counter(
        str(each.status) if isinstance(each, TasksStatusResponse) else type(each)
        for each in answers
    )


class Carrying:
    """Carries so many jobs, so many at once, as a run does; notes how late each end was noticed."""

    def __init__(self, service: FakeTasks, desk: StatusDesk, *, at_once: int) -> None:
        self.late_s: list[float] = []
        self._service = service
        self._desk = desk
        self._turn = asyncio.Semaphore(at_once)
        self._expectation = Expectation()

    async def carry(self, jobs: int, *, takes_s: float, every_s: float = 0.0) -> None:
        each = (self._carry(number, takes_s, number * every_s) for number in range(jobs))
        await asyncio.gather(*each)

    async def _carry(self, number: int, takes_s: float, begins_s: float) -> None:
        async with self._turn:
            await asyncio.sleep(begins_s + 0.05)  # the create
            task_id = self._service.create(f"ours{number}", takes_s=takes_s)
            self._desk.created(task_id)
            born_s = now_s()
            first_wait_s = self._desk.shared_s(5)
            policy = PollPolicy(
                first_look_s=self._expectation.first_look_s(10) or first_wait_s,
                first_wait_s=min(first_wait_s, self._expectation.margin_s(10) or first_wait_s),
                longest_wait_s=60,
            )
            noticed = await self._desk.wait_for_done(task_id, policy=policy)
            assert noticed.answer.status == "ready"
            self._expectation.learn(10, now_s() - born_s, noticed.unseen_s)
            self.late_s.append(now_s() - self._service.tasks[task_id].ends_s)

    def mean_late_s(self) -> float:
        return sum(self.late_s) / len(self.late_s)


def test_two_hundred_short_tasks_need_fewer_requests_than_tasks_and_are_noticed_in_time() -> None:
    async def work() -> tuple[int, Carrying]:
        service = FakeTasks()
        carrying = Carrying(service, a_desk(service), at_once=64)
        await carrying.carry(200, takes_s=3)
        return len(service.asked), carrying

    requests, carrying = run(work())

    assert requests <= 100
    assert carrying.mean_late_s() < 0.6
    assert sorted(carrying.late_s)[190] < 1.5


def test_many_tasks_that_all_end_late_and_at_once_need_few_requests() -> None:
    async def work() -> tuple[Counter[str], Carrying]:
        service = FakeTasks()
        carrying = Carrying(service, a_desk(service), at_once=400)
        begun = asyncio.create_task(carrying.carry(400, takes_s=1e9, every_s=0.02))
        await asyncio.sleep(40)
        for task in service.tasks.values():
            task.ends_s = now_s() + 3
        await begun
        return service.counts, carrying

    counts, carrying = run(work())

    assert counts.total() <= 400
    assert counts["status"] <= 20
    assert carrying.mean_late_s() < 10


def test_tasks_of_others_between_ours_shift_the_pages_and_cost_little() -> None:
    async def work() -> tuple[int, Carrying]:
        service = FakeTasks()
        carrying = Carrying(service, a_desk(service), at_once=64)
        for number in range(300):
            service.create(f"before{number}", takes_s=0)

        async def others() -> None:
            while True:
                service.create(f"foreign{len(service.tasks)}", takes_s=5)
                await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311  no secret

        meanwhile = asyncio.create_task(others())
        await carrying.carry(200, takes_s=3)
        meanwhile.cancel()
        return len(service.asked), carrying

    requests, carrying = run(work())

    assert requests <= 200
    assert carrying.mean_late_s() < 0.6


def test_one_or_two_looks_are_asked_by_themselves() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service)
        await waited(desk, created(service, desk, 2, takes_s=0.5))
        return service

    assert run(work()).counts == {"status": 2}


def test_looks_that_fall_due_together_are_answered_by_one_page() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service)
        answers = await waited(desk, created(service, desk, 50, takes_s=0.5))
        assert statuses(answers) == {"ready": 50}
        return service

    assert run(work()).counts == {"list": 1}


def test_a_page_wakes_those_that_sleep_and_have_ended() -> None:
    async def work() -> tuple[float, FakeTasks]:
        service = FakeTasks()
        desk = a_desk(service)
        late, *others = created(service, desk, 10, takes_s=0.5)
        sleeper = asyncio.create_task(
            desk.wait_for_done(late, policy=PollPolicy(first_look_s=500, longest_wait_s=500))
        )
        await waited(desk, others)
        await sleeper
        return now_s(), service

    noticed_s, service = run(work())

    assert noticed_s < 2
    assert service.counts == {"list": 1}


def test_one_look_among_many_that_sleep_is_a_page_that_wakes_those_that_ended() -> None:
    async def work() -> tuple[Counter[str | type], float, FakeTasks]:
        service = FakeTasks()
        desk = a_desk(service)
        tasks = created(service, desk, 30, takes_s=0.5)
        asleep = asyncio.create_task(waited(desk, tasks[1:], PollPolicy(first_look_s=500)))
        ended = statuses(await waited(desk, tasks[:1])) + statuses(await asleep)
        return ended, now_s(), service

    ended, noticed_s, service = run(work())

    assert ended == {"ready": 30}
    assert noticed_s < 2
    assert service.counts == {"list": 1}


@pytest.mark.parametrize(("due_s", "pages"), [(11, 2), (19, 3)], ids=["nearly due", "later"])
def test_a_page_spares_the_looks_that_would_come_soon_after_it(due_s: float, pages: int) -> None:
    """One looks after 10 s, the others after `due_s`; all end before the look after that."""

    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service, uniform=lambda low, high: (low + high) / 2)
        first, *others = created(service, desk, 10, takes_s=20)
        alike = PollPolicy(first_look_s=due_s, first_wait_s=20, longest_wait_s=20)
        later = asyncio.create_task(waited(desk, others, alike))
        sooner = PollPolicy(first_look_s=10, first_wait_s=40, longest_wait_s=40)
        await waited(desk, [first], sooner)
        await later
        return service

    assert run(work()).counts == {"list": pages}


@pytest.mark.parametrize("count", [1, 60], ids=["asked singly", "in pages"])
def test_an_end_lies_between_the_last_look_before_it_and_its_notice(count: int) -> None:
    async def work() -> list[tuple[float, float | None, float]]:
        service = FakeTasks()
        desk = a_desk(service)

        async def noticed(task_id: TaskId) -> tuple[float, float | None, float]:
            end = await desk.wait_for_done(task_id, policy=POLICY)
            return service.tasks[task_id].ends_s, end.unseen_s, now_s()

        tasks = created(service, desk, count, takes_s=20)
        return await asyncio.gather(*map(noticed, tasks))

    for ended_s, unseen_s, noticed_s in run(work()):
        assert unseen_s is not None
        assert noticed_s - unseen_s <= ended_s + 0.03 <= noticed_s + 0.03
        assert unseen_s < 10


def test_a_task_that_was_never_seen_processing_says_so() -> None:
    async def work() -> float | None:
        service = FakeTasks()
        desk = a_desk(service)
        (task,) = created(service, desk, 1, takes_s=0)
        return (await desk.wait_for_done(task, policy=POLICY)).unseen_s

    assert run(work()) is None


@pytest.mark.parametrize(
    ("listing", "tasks", "shared_s"),
    [(True, 2, 5), (True, 8, 2.5), (True, 64, 1), (True, 1000, 4), (True, 9000, 5), (False, 64, 5)],
)
def test_waits_are_shorter_where_a_page_answers_many_but_never_for_many_pages_a_second(
    listing: bool, tasks: int, shared_s: float
) -> None:
    async def work() -> float:
        service = FakeTasks()
        desk = a_desk(service, listing=listing)
        created(service, desk, tasks, takes_s=1)
        assert desk.shared_s(0.05) == pytest.approx(0.05)
        return desk.shared_s(5)

    assert run(work()) == pytest.approx(shared_s)


def test_a_failure_in_a_page_is_confirmed_for_its_reason() -> None:
    async def work() -> tuple[list[Any], FakeTasks]:
        service = FakeTasks()
        desk = a_desk(service)
        tasks = created(service, desk, 9, takes_s=0.5)
        torn = created(service, desk, 1, takes_s=0.5, end="failed")
        return await waited(desk, tasks + torn), service

    answers, service = run(work())

    assert [answer.status for answer in answers] == ["ready"] * 9 + ["failed"]
    assert answers[-1].error == TaskError(message="torn")
    assert service.counts == {"list": 1, "status": 1}


def test_a_sleeper_whose_task_failed_is_woken_too() -> None:
    async def work() -> tuple[str | None, float]:
        service = FakeTasks()
        desk = a_desk(service)
        (torn,) = created(service, desk, 1, takes_s=0.5, end="failed")
        tasks = created(service, desk, 9, takes_s=0.5)
        sleeper = asyncio.create_task(
            desk.wait_for_done(torn, policy=PollPolicy(first_look_s=500, longest_wait_s=500))
        )
        await waited(desk, tasks)
        return (await sleeper).answer.status, now_s()

    status, noticed_s = run(work())

    assert status == "failed"
    assert noticed_s < 3


@pytest.mark.parametrize("count", [1, 10], ids=["asked singly", "in a page"])
def test_a_status_that_nobody_knows_is_waited_for_with_one_warning(count: int) -> None:
    async def work() -> tuple[Counter[str | type], list[Event]]:
        heard: list[Event] = []
        service = FakeTasks()
        desk = a_desk(service, notice=heard.append)
        tasks = created(service, desk, count, takes_s=20, word="queued\x1b[2J")
        return statuses(await waited(desk, tasks)), heard

    ended, heard = run(work())

    assert ended == {"ready": count}
    (warned,) = heard
    assert isinstance(warned, Warned)
    assert "'queued?[2J'" in warned.message


@pytest.mark.parametrize("status_code", [400, 403, 404, 405, 501])
def test_a_service_that_refuses_to_list_is_not_asked_to_again(status_code: int) -> None:
    kind = ServerError if status_code == 501 else BadRequestError

    def fault(asked: str, _number: int) -> Exception | None:
        return kind(status_code=status_code) if asked == "list" else None

    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = FakeTasks(fault=fault)
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 20, takes_s=4))), service

    ended, service = run(work())

    assert ended == {"ready": 20}
    assert service.counts["list"] == 1


def test_a_listing_that_is_always_broken_is_asked_for_ever_more_seldom() -> None:
    def fault(asked: str, _number: int) -> Exception | None:
        return ServerError(status_code=500) if asked == "list" else None

    async def work() -> tuple[FakeTasks, float]:
        service = FakeTasks(fault=fault)
        carrying = Carrying(service, a_desk(service), at_once=16)
        await carrying.carry(400, takes_s=3)
        return service, carrying.mean_late_s()

    service, late_s = run(work())

    assert service.counts["list"] <= 40
    assert late_s < 3


def test_a_page_that_fails_is_asked_for_again() -> None:
    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = FakeTasks(
            fault=lambda kind, number: ServerError(status_code=502) if number == 1 else None
        )
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 30, takes_s=0.5))), service

    ended, service = run(work())

    assert ended == {"ready": 30}
    assert 2 <= service.counts["list"] <= 4
    assert service.counts["status"] <= 2


def test_tasks_that_no_listing_shows_are_asked_for_singly() -> None:
    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = FakeTasks()
        desk = a_desk(service)
        hidden = created(service, desk, 20, takes_s=60, listed=False)
        shown = created(service, desk, 20, takes_s=60)
        return statuses(await waited(desk, hidden + shown)), service

    ended, service = run(work())

    assert ended == {"ready": 40}
    looks_each = service.counts["status"] / 20
    assert looks_each < 20
    assert service.counts["list"] < 60


def test_a_page_that_does_not_show_what_it_should_is_not_asked_for_again_and_again() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service)
        hidden = created(service, desk, 10, takes_s=100, listed=False)
        created(service, desk, 100, takes_s=0)
        shown = created(service, desk, 20, takes_s=100)
        assert statuses(await waited(desk, hidden + shown)) == {"ready": 30}
        return service

    pages = Counter(what for kind, what, _ in run(work()).asked if kind == "list")

    assert pages[1] > 5
    assert sum(pages.values()) - pages[1] <= 6


def test_looks_that_are_scattered_over_pages_are_asked_by_themselves() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service)
        tasks = created(service, desk, 400, takes_s=0)
        for number, task_id in enumerate(tasks):
            if number % 60:
                desk.forget(task_id)
        await waited(desk, tasks[::60], PollPolicy())
        return service

    assert run(work()).counts == {"status": 7}


class RepeatedPage(FakeTasks):
    """Gives its first page whatever is asked for."""

    async def list(
        self,
        *,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> AsyncPager:
        return await super().list(page=1, page_limit=page_limit)


def test_a_page_that_is_repeated_for_ever_misleads_nobody() -> None:
    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = RepeatedPage()
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 150, takes_s=3))), service

    ended, service = run(work())

    assert ended == {"ready": 150}
    assert len(service.asked) < 150 * 4


def test_a_service_with_smaller_pages_than_asked_for_is_understood() -> None:
    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = FakeTasks(page_tasks=10)
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 100, takes_s=0.5))), service

    ended, service = run(work())

    assert ended == {"ready": 100}
    assert service.counts["list"] <= 12
    assert service.counts["status"] <= 2


def test_tasks_of_earlier_runs_are_found_in_deep_pages() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks()
        desk = a_desk(service)
        old = created(service, desk, 400, takes_s=0)
        answers = await waited(desk, old[100:150], policy=PollPolicy())
        assert statuses(answers) == {"ready": 50}
        return service

    service = run(work())

    assert {what for kind, what, _ in service.asked if kind == "list"} <= {6, 7}
    assert service.counts["status"] <= 2


def test_a_task_that_the_service_does_not_have_is_nobody_elses_affair() -> None:
    async def work() -> Counter[str | type]:
        service = FakeTasks()
        desk = a_desk(service)
        tasks = created(service, desk, 10, takes_s=5)
        gone = TaskId("gone")
        desk.created(gone)
        return statuses(await waited(desk, [gone, *tasks]))

    assert run(work()) == {NotFoundError: 1, "ready": 10}


def test_a_task_that_never_ends_is_given_up_at_its_deadline() -> None:
    async def work() -> tuple[list[Any], float]:
        service = FakeTasks()
        desk = a_desk(service)
        tasks = created(service, desk, 10, takes_s=1e9)
        answers = await waited(desk, tasks, PollPolicy(first_look_s=3, deadline_s=100))
        return answers, now_s()

    answers, ended_s = run(work())

    assert {type(answer) for answer in answers} == {ApiTimeoutError}
    assert str(answers[3]) == "task t3: still processing after 100 s"
    assert 95 < ended_s < 110


def test_the_end_is_looked_for_at_the_deadline_even_where_the_first_look_would_come_later() -> None:
    async def work() -> tuple[list[Any], list[float]]:
        service = FakeTasks()
        desk = a_desk(service)
        (task,) = created(service, desk, 1, takes_s=1)
        answers = await waited(desk, [task], PollPolicy(first_look_s=1000, deadline_s=10))
        return answers, service.times_s()

    answers, times_s = run(work())

    assert statuses(answers) == {"ready": 1}
    assert times_s == [pytest.approx(10, abs=0.5)]


def test_a_run_that_never_gets_an_answer_gives_up_after_few_requests() -> None:
    async def work() -> FakeTasks:
        service = FakeTasks(fault=lambda *_: ServerError(status_code=503))
        desk = a_desk(service)

        async def until_one_gives_up() -> None:
            async with asyncio.TaskGroup() as group:
                for task in created(service, desk, 500, takes_s=5):
                    group.create_task(desk.wait_for_done(task, policy=POLICY))

        with pytest.raises(ExceptionGroup) as raised:
            await until_one_gives_up()
        assert raised.group_contains(ServerError)
        return service

    service = run(work())

    assert len(service.asked) <= 10


@pytest.mark.parametrize("listing", [True, False])
def test_an_outage_is_sat_out_with_few_requests_and_fails_no_task(listing: bool) -> None:
    gone_s = (10.0, 310.0)

    def fault(_kind: str, _number: int) -> Exception | None:
        return ServerError(status_code=503) if gone_s[0] < now_s() < gone_s[1] else None

    async def work() -> tuple[Counter[str | type], FakeTasks, float]:
        service = FakeTasks(fault=fault)
        desk = a_desk(service, listing=listing)
        tasks = created(service, desk, 200, takes_s=40)
        return statuses(await waited(desk, tasks)), service, now_s()

    ended, service, ended_s = run(work())
    meanwhile = [at for at in service.times_s() if gone_s[0] < at < gone_s[1]]

    assert ended == {"ready": 200}
    assert len(meanwhile) <= 40
    assert ended_s < gone_s[1] + 70


def test_an_outage_that_lasts_ends_the_run() -> None:
    async def work() -> tuple[Counter[str | type], float]:
        service = FakeTasks(fault=lambda *_: ServerError(status_code=503) if now_s() > 10 else None)
        desk = a_desk(service)
        tasks = created(service, desk, 100, takes_s=40)
        return statuses(await waited(desk, tasks)), now_s()

    ended, ended_s = run(work())

    assert ended == {ServerError: 100}
    assert 900 < ended_s < 1100


def test_a_service_that_answers_now_and_then_ends_no_run() -> None:
    async def work() -> Counter[str | type]:
        service = FakeTasks(
            fault=lambda _, number: None if number % 4 == 0 else ServerError(status_code=500)
        )
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 40, takes_s=300)))

    assert run(work()) == {"ready": 40}


@pytest.mark.parametrize("listing", [True, False])
def test_all_polls_wait_as_long_as_the_service_asks(listing: bool) -> None:
    def fault(_kind: str, number: int) -> Exception | None:
        return RateLimitError(status_code=429, retry_after_s=30) if number == 1 else None

    async def work() -> tuple[Counter[str | type], list[float]]:
        service = FakeTasks(fault=fault)
        desk = a_desk(service, listing=listing)
        (first, *others) = created(service, desk, 40, takes_s=0.5)
        polls = asyncio.create_task(waited(desk, [first]))
        await asyncio.sleep(2)
        answers = await waited(desk, others) + await polls
        return statuses(answers), service.times_s()

    ended, times_s = run(work())

    assert ended == {"ready": 40}
    limited_s, *later = times_s
    assert min(later) >= limited_s + 30
    if not listing:
        assert max(later) - min(later) > 0.5  # they do not all go on at one moment


def test_a_service_that_has_limited_polls_is_asked_at_the_pace_of_the_manifest() -> None:
    def fault(_kind: str, number: int) -> Exception | None:
        return RateLimitError(status_code=429, retry_after_s=3) if number == 1 else None

    async def work() -> tuple[float, float]:
        service = FakeTasks(fault=fault)
        desk = a_desk(service)
        tasks = created(service, desk, 40, takes_s=5)
        before_s = desk.shared_s(5)
        await waited(desk, tasks[:10])
        return before_s, desk.shared_s(5)

    assert run(work()) == (1, 5)


def test_an_answer_that_was_under_way_does_not_take_a_pause_back() -> None:
    class Uneven(FakeTasks):
        """Limits one task's look at once, and answers another's later."""

        async def status(
            self, task_id: str, *, request_options: RequestOptions | None = None
        ) -> TasksStatusResponse:
            if len(self.asked) == 1:
                await asyncio.sleep(1)
            return await super().status(task_id)

    def fault(_kind: str, number: int) -> Exception | None:
        return RateLimitError(status_code=429, retry_after_s=30) if number == 1 else None

    async def work() -> list[float]:
        service = Uneven(fault=fault)
        desk = a_desk(service, listing=False)
        first, second, third = created(service, desk, 3, takes_s=0)
        polls = asyncio.create_task(waited(desk, [first, second], PollPolicy()))
        await asyncio.sleep(5)
        await waited(desk, [third], PollPolicy())
        await polls
        return service.times_s()

    times_s = run(work())

    assert sum(at < 30 for at in times_s) == 2  # that one, and the one that was under way


def test_a_wait_of_hours_that_is_asked_of_a_poll_is_bounded() -> None:
    def fault(_kind: str, number: int) -> Exception | None:
        return RateLimitError(status_code=429, retry_after_s=11382) if number == 1 else None

    async def work() -> tuple[Counter[str | type], float]:
        service = FakeTasks(fault=fault)
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 10, takes_s=1))), now_s()

    ended, ended_s = run(work())

    assert ended == {"ready": 10}
    assert 300 < ended_s < 320


def test_a_refused_key_is_raised() -> None:
    async def work() -> Counter[str | type]:
        service = FakeTasks(fault=lambda *_: AuthenticationError(status_code=401))
        desk = a_desk(service)
        return statuses(await waited(desk, created(service, desk, 10, takes_s=1)))

    assert run(work()) == {AuthenticationError: 10}


def test_tasks_in_flight_are_looked_at_together_and_those_that_ended_not_again() -> None:
    async def work() -> tuple[Counter[str | None], Counter[str | type], FakeTasks, int]:
        service = FakeTasks()
        desk = a_desk(service)
        ended = created(service, desk, 60, takes_s=0)
        going = created(service, desk, 60, takes_s=100)
        gone = TaskId("gone")
        found = await desk.first_looks([*ended, *going, gone])
        asked = len(service.asked)
        waits = statuses(await waited(desk, [*ended, gone], PollPolicy()))
        return Counter(each.status for each in found.values()), waits, service, asked

    found, waits, service, asked = run(work())

    assert found == {"ready": 60, "processing": 60}
    assert waits == {"ready": 60, NotFoundError: 1}
    assert asked <= 6
    assert len(service.asked) == asked


def test_first_looks_at_tasks_of_an_earlier_run_need_few_pages_though_others_came_since() -> None:
    async def work() -> tuple[int, FakeTasks]:
        service = FakeTasks()
        desk = a_desk(service)
        ours = []
        for number in range(300):
            ours.append(service.create(f"ours{number}", takes_s=100))
            if number % 3 == 0:
                service.create(f"foreign{number}", takes_s=100)
        for number in range(60):
            service.create(f"late{number}", takes_s=100)
        return len(await desk.first_looks(ours)), service

    found, service = run(work())

    assert found == 300
    assert len(service.asked) < 50


def test_a_refused_key_is_told_by_the_first_looks() -> None:
    async def work() -> None:
        service = FakeTasks(fault=lambda *_: AuthenticationError(status_code=401))
        desk = a_desk(service)
        with pytest.raises(AuthenticationError):
            await desk.first_looks(created(service, desk, 10, takes_s=0))

    run(work())


def test_first_looks_that_nobody_answers_are_left_out() -> None:
    async def work() -> dict[TaskId, TasksStatusResponse]:
        service = FakeTasks(fault=lambda *_: ServerError(status_code=503))
        desk = a_desk(service)
        return await desk.first_looks(created(service, desk, 10, takes_s=0))

    assert run(work()) == {}


def test_without_a_listing_each_look_is_asked_at_once() -> None:
    async def work() -> tuple[FakeTasks, list[float]]:
        service = FakeTasks(takes_s=0.0)
        desk = a_desk(service, listing=False)
        await waited(desk, created(service, desk, 20, takes_s=0), PollPolicy())
        return service, service.times_s()

    service, times_s = run(work())

    assert service.counts == {"status": 20}
    assert set(times_s) == {0.0}


def test_whoever_asks_for_all_may_be_cancelled_and_another_takes_over() -> None:
    async def work() -> Counter[str | type]:
        service = FakeTasks(takes_s=5)
        desk = a_desk(service)
        tasks = created(service, desk, 10, takes_s=0)
        waits = [
            asyncio.create_task(desk.wait_for_done(each, policy=PollPolicy())) for each in tasks
        ]
        for moment in (0.01, 3.0):  # while it waits for others, and while it asks
            await asyncio.sleep(moment)
            waits.pop(0).cancel()
        return statuses(answers_of(await asyncio.gather(*waits, return_exceptions=True)))

    assert run(work()) == {"ready": 8}


def test_nothing_goes_on_once_all_are_cancelled() -> None:
    async def work() -> tuple[int, int]:
        service = FakeTasks(takes_s=5)
        desk = a_desk(service)
        tasks = created(service, desk, 60, takes_s=100)
        waits = asyncio.create_task(waited(desk, tasks))
        await asyncio.sleep(4)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        left = len(asyncio.all_tasks()) - 1
        asked = len(service.asked)
        await asyncio.sleep(1000)
        return left, len(service.asked) - asked

    assert run(work()) == (0, 0)


def test_a_single_look_is_asked_in_its_own_jobs_context() -> None:
    job: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="none")
    seen: dict[str, str] = {}

    class Noting(FakeTasks):
        async def status(
            self, task_id: str, *, request_options: RequestOptions | None = None
        ) -> TasksStatusResponse:
            seen[task_id] = job.get()
            return await super().status(task_id)

    async def carry(desk: StatusDesk, task_id: TaskId) -> None:
        job.set(f"job of {task_id}")
        await desk.wait_for_done(task_id, policy=POLICY)

    async def work() -> None:
        service = Noting()
        desk = a_desk(service)
        await asyncio.gather(*(carry(desk, each) for each in created(service, desk, 2, takes_s=0)))

    run(work())

    assert seen == {"t0": "job of t0", "t1": "job of t1"}


def test_a_hundred_runs_that_begin_at_once_do_not_look_in_lockstep() -> None:
    """Chi-square over ten bins of the spread: 21.67 is passed by one uniform draw in a hundred."""
    draw = random.Random(11)  # noqa: S311  no secret

    async def first_s() -> float:
        service = FakeTasks()
        desk = a_desk(service, listing=False, uniform=draw.uniform)
        policy = PollPolicy(first_look_s=100)
        await waited(desk, created(service, desk, 1, takes_s=0), policy)
        return service.times_s()[0]

    async def work() -> list[float]:
        return list(await asyncio.gather(*(first_s() for _ in range(100))))

    firsts = run(work())
    bins = Counter(int((at - 90) / 2) for at in firsts)

    assert set(bins) <= set(range(10))
    assert sum((bins[each] - 10) ** 2 / 10 for each in range(10)) < 21.67


def test_the_first_looks_of_runs_that_begin_at_once_are_spread_too() -> None:
    draw = random.Random(12)  # noqa: S311  no secret

    async def first_s() -> float:
        service = FakeTasks()
        desk = a_desk(service, gather_s=1.0, uniform=draw.uniform)
        await desk.first_looks(created(service, desk, 20, takes_s=0))
        return service.times_s()[0]

    async def work() -> list[float]:
        return list(await asyncio.gather(*(first_s() for _ in range(100))))

    bins = Counter(int((at - 0.5) * 10) for at in run(work()))

    assert set(bins) <= set(range(10))
    assert sum((bins[each] - 10) ** 2 / 10 for each in range(10)) < 21.67


class Wire(httpx.AsyncBaseTransport):
    """The fake service, as HTTP has it."""

    def __init__(self, service: FakeTasks) -> None:
        self._service = service

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer: object
        if request.url.path.endswith("/status"):
            answer = await self._service.status(request.url.path.split("/")[-2])
        else:
            query = request.url.params
            page = await self._service.list(
                page=int(query["page"]), page_limit=int(query["page_limit"])
            )
            answer = page.response
        return httpx.Response(200, content=msgspec.json.encode(answer))


def test_the_client_of_the_api_is_asked_for_whole_pages() -> None:
    async def work() -> tuple[Counter[str | type], FakeTasks]:
        service = FakeTasks()
        async with AsyncTasksClient(base_url="http://fake/v1.3", transport=Wire(service)) as client:
            desk = a_desk(client)
            tasks = created(service, desk, 70, takes_s=0.5)
            tasks += created(service, desk, 1, takes_s=0.5, end="failed")
            answers = await waited(desk, tasks)
        return statuses(answers), service

    ended, service = run(work())

    assert ended == {"ready": 70, "failed": 1}
    assert service.counts == {"list": 2, "status": 1}

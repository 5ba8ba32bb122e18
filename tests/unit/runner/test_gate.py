"""The gate: who may create a task next, and when. No time passes but the fake clock's."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from batchembed.core.model import Budget, Quota
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.run_report import Parked
from batchembed.errors import RateLimitError, RateLimits, UsageLimitError
from batchembed.runner.gate import Gate
from batchembed.runner.listen import Event, Waiting

T = TypeVar("T")
NOW = 1_764_000_000.0
NO_QUOTA = Quota(
    requests_per_minute=None,
    video_minutes_per_hour=None,
    video_minutes_per_day=None,
    max_inline_wait_s=600,
)
NO_BUDGET = Budget(
    video_minutes=None, amount=None, price_per_minute=None, currency="USD", per="run"
)


@dataclass(kw_only=True)
class World:
    """A clock that only sleeping moves, and what a gate told."""

    now: float = NOW
    slept: list[float] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    remembered: list[tuple[float | None, str]] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    sleeps_for_ever: bool = False

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.sleeps_for_ever:
            await asyncio.Event().wait()
        self.now += seconds

    async def remember(self, until: float | None, why: str) -> None:
        self.remembered.append((until, why))

    def gate(
        self,
        *,
        quota: Quota = NO_QUOTA,
        budget: Budget = NO_BUDGET,
        charges: Iterable[Charge] = (),
        blocked_until: float | None = None,
        tasks: int = 1000,
    ) -> Gate:
        return Gate(
            quota=quota,
            budget=budget,
            tasks=tasks,
            longest_video_sec=7200,
            charges=charges,
            blocked_until=blocked_until,
            clock=lambda: self.now,
            sleep=self.sleep,
            stop=self.stop,
            notice=self.told.append,
            remember=self.remember,
            chance=lambda: 1.0,
        )


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 10))


async def admitted(gate: Gate, video_sec: float | None = 6.0) -> Charge:
    charge = await gate.admit(video_sec)
    assert isinstance(charge, Charge), charge
    return charge


async def turned_away(gate: Gate, video_sec: float | None = 6.0) -> Reason:
    reason = await gate.admit(video_sec)
    assert isinstance(reason, Reason), reason
    return reason


async def settle() -> None:
    """Let everything come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def too_many(
    retry_after_s: float | None = None,
    *,
    limits: RateLimits | None = None,
    date: str | None = None,
    message: str | None = None,
) -> RateLimitError:
    return RateLimitError(
        status_code=429,
        headers={} if date is None else {"date": date},
        retry_after_s=retry_after_s,
        limits=limits,
        message=message,
    )


def test_a_hundred_creates_at_25_a_minute_take_three_minutes_and_keep_their_order() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate(quota=dataclasses.replace(NO_QUOTA, requests_per_minute=25))
        order: list[int] = []

        async def create(number: int) -> Charge:
            charge = await admitted(gate)
            order.append(number)
            return charge

        charges = await asyncio.gather(*(create(number) for number in range(100)))

        assert order == list(range(100))
        assert [charge.at - NOW for charge in charges] == [
            60.0 * (number // 25) for number in range(100)
        ]
        assert world.slept == [60.0, 60.0, 60.0]
        waiting = Waiting(why="the quota of 25 requests a minute is used up", seconds=60.0)
        assert world.told == [waiting] * 3
        assert gate.parked is None

    run(scene())


def test_an_answer_that_asks_for_three_hours_parks_the_run_and_the_next_one_without_a_request() -> (
    None
):
    async def scene() -> None:
        world = World()
        gate = world.gate()
        charge = await admitted(gate)
        gate.withdraw(charge)
        await gate.refused(too_many(11_382, message="You have exceeded the rate limit."))

        for _ in range(2):
            reason = await turned_away(gate)
            assert reason.code == "parked"
            assert reason.message == (
                "You have exceeded the rate limit; come back after 2025-11-24 19:09:42 UTC"
            )
        until = NOW + 11_382
        assert gate.parked == Parked(why="You have exceeded the rate limit", until=until)
        assert world.remembered == [(until, "You have exceeded the rate limit")]
        assert world.slept == []
        assert world.told == []

        world.now += 1000
        again = world.gate(blocked_until=until)
        assert (await turned_away(again)).code == "parked"
        assert again.parked == Parked(
            why="the service takes no creates, as it said to an earlier run", until=until
        )

        world.now = until
        open_again = world.gate(blocked_until=until)
        await admitted(open_again)
        await admitted(open_again)
        assert open_again.parked is None
        assert world.remembered[1:] == [(None, "")]

    run(scene())


def test_the_minutes_of_a_day_are_sent_and_the_rest_is_left_for_when_the_first_is_a_day_old() -> (
    None
):
    async def scene() -> None:
        world = World()
        quota = dataclasses.replace(NO_QUOTA, video_minutes_per_day=60)
        earlier = [Charge(at=NOW - 3600, video_sec=1800.0)]
        gate = world.gate(quota=quota, charges=earlier)
        sent = [await admitted(gate, 900.0) for _ in range(2)]
        reason = await turned_away(gate, 60.0)
        assert reason.code == "parked"
        assert reason.message.startswith("the quota of 60 minutes of video a day is used up; ")
        assert gate.parked is not None
        assert gate.parked.until == NOW - 3600 + 86_400
        assert world.remembered == []  # the charges themselves are

        world.now = gate.parked.until
        again = world.gate(quota=quota, charges=[*earlier, *sent])
        await admitted(again, 1800.0)
        assert (await turned_away(again, 1.0)).code == "parked"

    run(scene())


def test_a_short_refusal_makes_all_creates_wait_and_is_told_once() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate()
        await gate.refused(too_many(2.5))
        charges = await asyncio.gather(*(admitted(gate) for _ in range(5)))
        assert {charge.at for charge in charges} == {NOW + 2.5}
        assert world.told == [Waiting(why="the service takes no creates for now", seconds=2.5)]
        assert world.remembered == [
            (NOW + 2.5, "the service takes no creates for now"),
            (None, ""),
        ]

    run(scene())


def test_the_time_of_a_refusal_is_read_by_the_servers_clock() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate()
        limits = RateLimits(remaining=0, reset_at=NOW + 3600 + 90)
        await gate.refused(too_many(limits=limits, date="Mon, 24 Nov 2025 17:00:00 GMT"))
        assert (await admitted(gate)).at == NOW + 90

    run(scene())


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 2026 99999999999999999999:00:00 GMT", "Mon, 01 Jan", "", "now"]
)
def test_a_date_that_is_none_leaves_a_refusal_to_our_clock(date: str) -> None:
    async def scene() -> None:
        gate = World().gate()
        limits = RateLimits(remaining=0, reset_at=NOW + 90)
        await gate.refused(too_many(limits=limits, date=date))
        assert (await admitted(gate)).at >= NOW + 90

    run(scene())


def test_what_remains_by_the_services_answers_is_not_exceeded_and_parks_durably() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate()
        await admitted(gate)
        gate.heard(RateLimits(limit=3, remaining=2, reset_at=NOW + 7200), NOW)
        await admitted(gate)
        await admitted(gate)
        assert (await turned_away(gate)).code == "parked"
        assert world.remembered == [(NOW + 7200, "the service's limit of 3 requests is used up")]

    run(scene())


def test_an_account_without_credit_parks_the_run_and_nobody_can_say_until_when() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate()
        await gate.refused(UsageLimitError(status_code=429, message="no credit"))
        assert await turned_away(gate) == Reason(
            code="parked", message="no credit", hint="run again when it is settled"
        )
        assert gate.parked == Parked(why="no credit", until=None)
        assert world.remembered == []

    run(scene())


def test_a_refusal_that_comes_while_another_waits_lengthens_the_wait_or_parks() -> None:
    async def scene() -> None:
        world = World(sleeps_for_ever=True)
        gate = world.gate()
        await gate.refused(too_many(10))
        waiting = asyncio.create_task(gate.admit(6.0))
        await settle()
        assert not waiting.done()

        await gate.refused(too_many(601))

        reason = await waiting
        assert isinstance(reason, Reason)
        assert reason.code == "parked"

    run(scene())


@pytest.mark.parametrize("why", ["quota", "block", "hold"])
def test_every_wait_ends_at_once_when_the_run_is_to_stop(why: str) -> None:
    async def scene() -> None:
        world = World(sleeps_for_ever=True)
        quota = dataclasses.replace(NO_QUOTA, requests_per_minute=1)
        gate = world.gate(quota=quota if why == "quota" else NO_QUOTA)
        await admitted(gate)
        if why == "block":
            await gate.refused(too_many(60))
        with gate.holding():
            waiting = [asyncio.create_task(gate.admit(6.0)) for _ in range(3)]
            await settle()
            assert not any(each.done() for each in waiting)

            world.stop.set()

            reasons = await asyncio.gather(*waiting)
            assert [reason.code for reason in reasons if isinstance(reason, Reason)] == [
                "stopped"
            ] * 3

    run(scene())


def test_creates_wait_while_one_is_in_doubt_until_a_listing_has_been_read() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate()
        with gate.holding(), gate.holding() as settled:
            waiting = asyncio.create_task(admitted(gate))
            await settle()
            assert not waiting.done()
            settled()
            await waiting
            with gate.holding():
                waiting = asyncio.create_task(admitted(gate))
                await settle()
                assert not waiting.done()
            await waiting

    run(scene())


def test_a_budget_holds_back_what_it_can_not_pay_and_lets_smaller_videos_through() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate(budget=dataclasses.replace(NO_BUDGET, video_minutes=10))
        await admitted(gate, 540.0)
        before = gate.parked
        reason = await turned_away(gate, 120.0)
        assert reason.code == "budget_spent"
        assert reason.message == (
            "the budget of 10 minutes for each run is spent: 9.0 minutes are submitted, and 2.0 "
            "more would go beyond it"
        )
        last = await admitted(gate, 60.0)
        assert (await turned_away(gate, None)).code == "budget_spent"
        assert gate.parked == Parked(
            why="the budget of 10 minutes for each run is spent: 2 videos are held back",
            until=None,
        )
        assert before is None
        gate.withdraw(last)
        await admitted(gate, 60.0)

    run(scene())


def test_a_budget_of_a_dataset_remembers_what_earlier_runs_spent() -> None:
    async def scene() -> None:
        budget = dataclasses.replace(
            NO_BUDGET, amount=0.42, price_per_minute=0.042, per="dataset", currency="EUR"
        )
        earlier = [Charge(at=NOW - 1e7, video_sec=600.0)]
        gate = World().gate(budget=budget, charges=earlier)
        reason = await turned_away(gate, 6.0)
        assert reason.message.startswith("the budget of 0.42 EUR for each dataset is spent: 10.0")
        assert reason.hint == "raise the budget"

    run(scene())


def test_a_video_that_never_fits_the_quota_is_told_so_and_stops_nobody() -> None:
    async def scene() -> None:
        gate = World().gate(quota=dataclasses.replace(NO_QUOTA, video_minutes_per_hour=10))
        assert (await turned_away(gate, 601.0)).code == "quota_too_small"
        await admitted(gate, 600.0)
        assert gate.parked is None

    run(scene())


def test_a_create_that_made_no_task_gives_its_place_back() -> None:
    async def scene() -> None:
        world = World(sleeps_for_ever=True)
        gate = world.gate(quota=dataclasses.replace(NO_QUOTA, requests_per_minute=1))
        charge = await admitted(gate)
        waiting = asyncio.create_task(admitted(gate))
        await settle()
        assert not waiting.done()
        gate.withdraw(charge)
        await waiting

    run(scene())


def test_a_length_that_becomes_known_makes_room() -> None:
    async def scene() -> None:
        world = World()
        gate = world.gate(quota=dataclasses.replace(NO_QUOTA, video_minutes_per_hour=121))
        charge = await admitted(gate, None)
        gate.learn(charge, 60.0)
        await admitted(gate, 7200.0)
        assert world.slept == []

    run(scene())


def test_no_more_tasks_are_in_flight_than_may_be_and_they_take_turns() -> None:
    async def scene() -> None:
        gate = World().gate(tasks=2)
        order: list[int] = []
        inside = 0
        most = 0

        async def one(number: int) -> None:
            nonlocal inside, most
            async with gate.slot():
                order.append(number)
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(one(number) for number in range(6)))
        assert order == list(range(6))
        assert most == 2

    run(scene())


def test_one_that_is_cancelled_while_it_waits_leaves_the_turn_to_the_next() -> None:
    async def scene() -> None:
        world = World(sleeps_for_ever=True)
        gate = world.gate(quota=dataclasses.replace(NO_QUOTA, requests_per_minute=1))
        charge = await admitted(gate)
        first, second = (asyncio.create_task(gate.admit(6.0)) for _ in range(2))
        await settle()
        first.cancel()
        gate.withdraw(charge)
        assert isinstance(await second, Charge)
        with pytest.raises(asyncio.CancelledError):
            await first

    run(scene())

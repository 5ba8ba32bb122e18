"""Quota and budget: what they let through, and never more."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchembed.core.model import Budget, Quota
from batchembed.core.quota import DAY_S, HOUR_S, MINUTE_S, Charge, Charges, NeverFits, Wait

NO_QUOTA = Quota(
    requests_per_minute=None,
    video_minutes_per_hour=None,
    video_minutes_per_day=None,
    max_inline_wait_s=600,
)
NO_BUDGET = Budget(
    video_minutes=None, amount=None, price_per_minute=None, currency="USD", per="run"
)
NOW = 1_764_000_000.0


def charges(
    *earlier: Charge,
    quota: Quota = NO_QUOTA,
    budget: Budget = NO_BUDGET,
    longest_video_sec: float | None = 7200,
    now: float = NOW,
) -> Charges:
    return Charges(quota, budget, earlier=earlier, longest_video_sec=longest_video_sec, now=now)


def wait_s(held: Charges, video_sec: float | None, now: float) -> float:
    wait = held.wait(video_sec, now=now)
    assert isinstance(wait, Wait)
    return wait.seconds


quotas = st.builds(
    Quota,
    requests_per_minute=st.none() | st.integers(1, 5),
    video_minutes_per_hour=st.none() | st.integers(1, 30),
    video_minutes_per_day=st.none() | st.integers(1, 60),
    max_inline_wait_s=st.just(600.0),
)
#: Seconds after the one before, and its length in seconds; None where nobody knows it.
requests = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 1.0, 59.9, 60.0, 600.0, 3600.0, 90_000.0]),
        st.none() | st.integers(1, 1_200_000).map(lambda ms: ms / 1000),
    ),
    max_size=30,
)


@given(quotas, requests)
def test_who_waits_as_told_never_breaks_a_limit_in_any_window(
    quota: Quota, wanted: list[tuple[float, float | None]]
) -> None:
    longest = 900.0
    held = charges(quota=quota, longest_video_sec=longest)
    now = NOW
    sent: list[Charge] = []
    for later, video_sec in wanted:
        now += later
        wait = held.wait(video_sec, now=now)
        if isinstance(wait, NeverFits):
            continue
        now += wait.seconds
        assert held.wait(video_sec, now=now) == Wait(seconds=0.0)
        charge = Charge(at=now, video_sec=video_sec)
        held.add(charge)
        sent.append(charge)

    # A window that breaks a limit does so too when it is moved to end at a charge.
    for charge in sent:
        for length_s, limit, of in (
            (MINUTE_S, quota.requests_per_minute, lambda _: 1),
            (HOUR_S, quota.video_minutes_per_hour, lambda each: (each.video_sec or 0) / 60),
            (DAY_S, quota.video_minutes_per_day, lambda each: (each.video_sec or 0) / 60),
        ):
            within = [each for each in sent if charge.at - length_s < each.at <= charge.at]
            # Floats of today's size are 0.2 microseconds apart: what is as old as the window may stand in it.
            young = [each for each in within if each.at + length_s > charge.at]
            assert limit is None or sum(map(of, young)) <= limit + 1e-9


@given(quotas, requests)
def test_nobody_starves(quota: Quota, wanted: list[tuple[float, float | None]]) -> None:
    """A wait is never longer than the longest window, and comes down as time goes by."""
    held = charges(quota=quota, longest_video_sec=900.0)
    now = NOW
    for later, video_sec in wanted:
        now += later
        wait = held.wait(video_sec, now=now)
        if isinstance(wait, NeverFits):
            assert video_sec is not None
            continue
        assert 0 <= wait.seconds <= DAY_S
        half = now + wait.seconds / 2
        assert wait_s(held, video_sec, half) == pytest.approx(now + wait.seconds - half, abs=1e-6)
        now += wait.seconds
        held.add(Charge(at=now, video_sec=video_sec))


@given(quotas, requests, st.integers(1, 60_000), st.integers(0, 60_000))
def test_a_longer_video_never_waits_less(
    quota: Quota, before: list[tuple[float, float | None]], short_ms: int, more_ms: int
) -> None:
    held = charges(quota=quota)
    at = NOW
    for later, video_sec in before:
        at += later
        held.add(Charge(at=at, video_sec=video_sec))

    shorter, longer = (held.wait(ms / 1000, now=at) for ms in (short_ms, short_ms + more_ms))

    if isinstance(shorter, NeverFits):
        assert isinstance(longer, NeverFits)
    else:
        assert isinstance(longer, NeverFits) or longer.seconds >= shorter.seconds


@given(quotas, requests, st.data())
def test_a_charge_that_is_withdrawn_or_learned_leaves_no_trace(
    quota: Quota, wanted: list[tuple[float, float | None]], data: st.DataObject
) -> None:
    budget = dataclasses.replace(NO_BUDGET, video_minutes=1000)
    held = charges(quota=quota, budget=budget)
    at = NOW
    left: list[Charge] = []
    for later, video_sec in wanted:
        at += later
        charge = Charge(at=at, video_sec=video_sec)
        held.wait(video_sec, now=at)
        held.add(charge)
        left.append(charge)
    for charge in tuple(left):
        fate = data.draw(st.sampled_from(["keep", "withdraw", "learn"]))
        if fate == "withdraw":
            held.withdraw(charge)
            left.remove(charge)
        elif fate == "learn":
            left[left.index(charge)] = held.learn(charge, 30.0)

    fresh = charges(quota=quota, budget=budget)
    for charge in left:
        fresh.add(charge)
    assert held.spent_sec == fresh.spent_sec
    for ahead in (0.0, 30.0, 3000.0, 80_000.0):
        assert held.wait(1.0, now=at + ahead) == fresh.wait(1.0, now=at + ahead)


def test_a_video_longer_than_a_whole_window_is_told_so_and_not_waited_for() -> None:
    held = charges(quota=dataclasses.replace(NO_QUOTA, video_minutes_per_hour=10))
    never = held.wait(601.0, now=NOW)
    assert isinstance(never, NeverFits)
    assert never.why == "10.0 minutes of video, and the quota is 10 minutes of video an hour"
    assert held.wait(600.0, now=NOW) == Wait(seconds=0.0)


def test_a_video_of_unknown_length_takes_what_the_longest_would_until_it_is_known() -> None:
    held = charges(quota=dataclasses.replace(NO_QUOTA, video_minutes_per_hour=180))
    charge = Charge(at=NOW, video_sec=None)
    held.add(charge)
    assert wait_s(held, 3600.0, NOW) == 0.0
    assert wait_s(held, 3601.0, NOW) == HOUR_S

    assert held.learn(charge, 60.0) == Charge(at=NOW, video_sec=60.0)

    assert wait_s(held, 3601.0, NOW) == 0.0


def test_a_window_shorter_than_the_longest_video_still_takes_one_of_unknown_length() -> None:
    quota = dataclasses.replace(NO_QUOTA, video_minutes_per_hour=10)
    held = charges(quota=quota)
    assert wait_s(held, None, NOW) == 0.0
    held.add(Charge(at=NOW, video_sec=None))
    assert wait_s(held, None, NOW + 1) == HOUR_S - 1
    other = charges(Charge(at=NOW, video_sec=1.0), quota=quota)
    assert wait_s(other, None, NOW + 1) == HOUR_S - 1


def test_charges_of_earlier_runs_count_in_any_order() -> None:
    quota = dataclasses.replace(NO_QUOTA, requests_per_minute=2)
    earlier = [Charge(at=NOW - age, video_sec=6.0) for age in (10.0, 70.0, 50.0)]
    assert wait_s(charges(*earlier, quota=quota), 6.0, NOW) == 10.0


def test_a_charge_from_the_future_counts_as_made_now() -> None:
    quota = dataclasses.replace(NO_QUOTA, requests_per_minute=1)
    held = charges(Charge(at=NOW + 10 * DAY_S, video_sec=6.0), quota=quota)
    assert wait_s(held, 6.0, NOW) == MINUTE_S
    assert wait_s(held, 6.0, NOW + 59) == 1.0
    assert wait_s(held, 6.0, NOW + 60) == 0.0


def test_a_clock_that_jumps_ahead_and_back_forgets_no_charge() -> None:
    quota = dataclasses.replace(NO_QUOTA, requests_per_minute=1)
    held = charges(quota=quota)
    held.add(Charge(at=NOW, video_sec=6.0))
    assert wait_s(held, 6.0, NOW + HOUR_S) == 0.0
    assert wait_s(held, 6.0, NOW + 1) == MINUTE_S - 1


def test_the_budget_of_a_run_begins_anew_and_that_of_a_dataset_goes_on() -> None:
    earlier = (
        Charge(at=NOW - 40 * DAY_S, video_sec=300.0),
        Charge(at=NOW - 1, video_sec=240.0),
    )
    of_run = dataclasses.replace(NO_BUDGET, video_minutes=10)
    of_dataset = dataclasses.replace(of_run, per="dataset")
    assert charges(*earlier, budget=of_run).affords(600.0)
    held = charges(*earlier, budget=of_dataset)
    assert held.spent_sec == 540.0
    assert held.affords(60.0)
    assert not held.affords(60.001)

    held.withdraw(earlier[0])

    assert held.affords(360.0)
    assert not held.affords(360.001)


def test_the_smaller_of_two_budgets_holds_and_a_price_of_nothing_holds_nothing() -> None:
    money = dataclasses.replace(NO_BUDGET, amount=0.42, price_per_minute=0.042)
    assert charges(budget=money).affords(600.0)
    assert not charges(budget=money).affords(600.01)
    assert not charges(budget=dataclasses.replace(money, video_minutes=5)).affords(301.0)
    assert charges(budget=dataclasses.replace(money, price_per_minute=0.0)).affords(1e6)
    assert not charges(budget=dataclasses.replace(NO_BUDGET, video_minutes=0)).affords(0.001)


def test_a_video_of_unknown_length_is_paid_as_the_longest_there_is() -> None:
    budget = dataclasses.replace(NO_BUDGET, video_minutes=120)
    assert charges(budget=budget).affords(None)
    held = charges(budget=dataclasses.replace(budget, video_minutes=121))
    charge = Charge(at=NOW, video_sec=None)
    held.add(charge)
    assert not held.affords(61.0)
    held.learn(charge, 60.0)
    assert held.affords(7200.0)

"""What a run will do, told beforehand: the same arithmetic as the run's own gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from batchembed.core.forecast import (
    COLLECT,
    HOLD_BACK,
    LOOK_UP,
    NOTHING,
    READ,
    REJECT,
    SKIP,
    SUBMIT,
    WAIT,
    Forecast,
    Planned,
    forecast,
    plan_line,
)
from batchembed.core.model import Budget, Quota
from batchembed.core.quota import DAY_S, Charge, Charges

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


def submits(*lengths: float | None) -> list[Planned]:
    return [
        Planned(video_id=f"v{number}", action=SUBMIT, video_sec=length)
        for number, length in enumerate(lengths)
    ]


def foresee(
    planned: Iterable[Planned],
    *,
    quota: Quota = NO_QUOTA,
    budget: Budget = NO_BUDGET,
    earlier: Iterable[Charge] = (),
    blocked_until: float | None = None,
    limit: int | None = None,
    unnamed: int = 0,
) -> Forecast:
    charges = Charges(quota, budget, earlier=earlier, longest_video_sec=7200, now=NOW)
    return forecast(
        planned,
        charges=charges,
        blocked_until=blocked_until,
        now=NOW,
        limit=limit,
        unnamed=unnamed,
    )


def test_nine_thousand_minutes_at_three_thousand_a_day_take_two_days_to_send() -> None:
    quota = dataclasses.replace(NO_QUOTA, video_minutes_per_day=3000)
    told = foresee(submits(*[3600.0] * 150), quota=quota)
    assert told.lasts_s == 2 * DAY_S
    assert plan_line(told, hosted=True) == (
        "plan: submit 150 videos, 9,000.0 minutes; in 150 creates and some 300 other requests; "
        "the last can be sent after 2.0 days at the quota"
    )


def test_what_earlier_runs_sent_and_what_the_service_said_delay_the_last() -> None:
    quota = dataclasses.replace(NO_QUOTA, requests_per_minute=1)
    earlier = [Charge(at=NOW - 20, video_sec=6.0)]
    assert foresee(submits(6.0), quota=quota, earlier=earlier).lasts_s == 40
    assert foresee(submits(6.0, 6.0), quota=quota, blocked_until=NOW + 100).lasts_s == 160
    assert foresee(submits(6.0), blocked_until=NOW - 100).lasts_s == 0
    assert foresee([], blocked_until=NOW + 100).lasts_s == 0


def test_the_cost_is_an_estimate_at_the_users_price_for_what_can_be_measured() -> None:
    budget = dataclasses.replace(NO_BUDGET, price_per_minute=0.042, currency="EUR")
    told = foresee(submits(600.0, None), budget=budget)
    assert told.cost == 0.42
    assert plan_line(told, hosted=True) == (
        "plan: submit 2 videos, 10.0 minutes and 1 of unknown length; in 2 creates and some 4 other "
        "requests; 0.42 EUR, an estimate at 0.042 EUR a minute, without those of unknown length"
    )


def test_a_cost_that_is_hardly_one_is_not_called_nothing() -> None:
    budget = dataclasses.replace(NO_BUDGET, price_per_minute=0.042)
    assert "; under 0.01 USD, an estimate" in plan_line(
        foresee(submits(6.0), budget=budget), hosted=True
    )
    free = dataclasses.replace(budget, price_per_minute=0.0)
    assert "; 0.00 USD, an estimate" in plan_line(foresee(submits(6.0), budget=free), hosted=True)


def test_what_budget_quota_and_limit_hold_back_is_told_with_its_reason() -> None:
    quota = dataclasses.replace(NO_QUOTA, video_minutes_per_hour=20)
    budget = dataclasses.replace(NO_BUDGET, video_minutes=30)
    told = foresee(submits(1201.0, 900.0, 1000.0, 60.0, 60.0), quota=quota, budget=budget, limit=2)
    assert [(each.action, each.why) for each in told.videos] == [
        (HOLD_BACK, "20.0 minutes of video, and the quota is 20 minutes of video an hour"),
        (SUBMIT, ""),
        (HOLD_BACK, "it would go beyond the budget"),
        (SUBMIT, ""),
        (HOLD_BACK, "it would go beyond the limit"),
    ]
    assert told.counts == {HOLD_BACK: 3, SUBMIT: 2}
    assert told.held_back.tasks == 3
    assert told.submit.video_sec == 960


def test_everything_else_is_counted_and_needs_requests_too() -> None:
    planned = [
        Planned(video_id=action, action=action)
        for action in (SKIP, NOTHING, REJECT, READ, COLLECT, WAIT, LOOK_UP)
    ]
    told = foresee(planned, unnamed=1)
    assert told.others == 7
    assert plan_line(told, hosted=True) == (
        "plan: 1 in doubt; 1 in flight; 1 to collect; 1 to be read first; "
        "1 rejected; 1 skipped; 1 to leave alone; 1 task in flight of videos that are no longer named"
    )


def test_no_request_is_told_of_an_engine_inside() -> None:
    assert plan_line(foresee(submits(6.0)), hosted=False) == "plan: submit 1 video, 0.1 minutes"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(119, "119 s"), (120, "2 minutes"), (7200, "2.0 hours"), (86_400, "1.0 days")],
)
def test_a_length_of_time_is_told_in_the_unit_that_reads_best(seconds: float, words: str) -> None:
    told = plan_line(foresee(submits(6.0), blocked_until=NOW + seconds), hosted=False)
    assert told.endswith(f"the last can be sent after {words} at the quota")

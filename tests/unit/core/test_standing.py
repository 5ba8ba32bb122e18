"""What the service says of creates is believed, as far as it can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchembed.core.standing import LONGEST_S, Standing
from batchembed.errors import RateLimits

NOW = 1_764_000_000.0


def fresh(*, blocked_until: float | None = None) -> Standing:
    return Standing(blocked_until=blocked_until, why="as before", now=NOW)


def refuse(
    standing: Standing,
    now: float,
    *,
    retry_after_s: float | None = None,
    limits: RateLimits | None = None,
    jitter: float = 1.0,
    server_date: float | None = None,
) -> float:
    until = standing.refused(
        limits,
        retry_after_s=retry_after_s,
        why="too many",
        now=now,
        server_date=server_date,
        jitter=jitter,
    )
    return until - now


def test_as_many_creates_leave_as_remain_until_the_reset() -> None:
    standing = fresh()
    limits = RateLimits(limit=25, remaining=2, used=23, reset_at=NOW + 40)
    standing.heard(limits, now=NOW, server_date=NOW)
    for _ in range(2):
        assert standing.wait(NOW + 1).seconds == 0
        standing.spend(NOW + 1)

    told = standing.wait(NOW + 1)

    assert told.seconds == 39
    assert told.why == "the service's limit of 25 requests is used up"
    assert standing.wait(NOW + 40).seconds == 0


def test_an_answer_that_was_overtaken_gives_no_create_back() -> None:
    standing = fresh()
    for remaining in (3, 1, 2):
        limits = RateLimits(remaining=remaining, reset_at=NOW + 40)
        standing.heard(limits, now=NOW, server_date=NOW)
    standing.spend(NOW)
    assert standing.wait(NOW).seconds == 40
    later = RateLimits(remaining=2, reset_at=NOW + 100)
    standing.heard(later, now=NOW + 41, server_date=NOW + 41)
    assert standing.wait(NOW + 41).seconds == 0


def test_the_reset_is_read_by_the_servers_clock() -> None:
    standing = fresh()
    hour_ahead = NOW + 3600
    limits = RateLimits(remaining=0, reset_at=hour_ahead + 30)
    standing.heard(limits, now=NOW, server_date=hour_ahead)
    assert standing.wait(NOW).seconds == 30
    without_date = RateLimits(remaining=0, reset_at=hour_ahead + 300)
    assert refuse(standing, NOW, limits=without_date) == 300


@pytest.mark.parametrize(
    "reset_at", [None, 60.0, NOW - 1, NOW, NOW + LONGEST_S + 1, NOW * 1000], ids=str
)
def test_a_reset_that_can_not_be_is_not_believed(reset_at: float | None) -> None:
    standing = fresh()
    limits = RateLimits(remaining=0, reset_at=reset_at)
    standing.heard(limits, now=NOW, server_date=NOW)
    assert standing.wait(NOW).seconds == 0
    assert refuse(standing, NOW, limits=limits, server_date=NOW) == 2


def test_a_refusal_holds_as_long_as_it_asks() -> None:
    standing = fresh()
    assert refuse(standing, NOW, retry_after_s=11_382) == 11_382
    assert standing.wait(NOW + 11_381).seconds == 1
    assert standing.wait(NOW + 11_381).why == "too many"
    assert standing.wait(NOW + 11_382).seconds == 0


def test_a_refusal_without_a_time_holds_until_the_reset() -> None:
    limits = RateLimits(remaining=0, reset_at=NOW + 500)
    assert refuse(fresh(), NOW, limits=limits, server_date=NOW) == 500


def test_refusals_that_ask_for_nothing_hold_longer_each_time_up_to_a_minute() -> None:
    standing = fresh()
    now = NOW
    waits = []
    for _ in range(9):
        waits.append(refuse(standing, now, retry_after_s=0.0))
        now += waits[-1]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert refuse(standing, now + 61) == 2


def test_refusals_of_creates_that_left_together_are_one() -> None:
    standing = fresh()
    assert refuse(standing, NOW) == 2
    assert refuse(standing, NOW + 0.5) == 1.5
    assert refuse(standing, NOW + 0.6, retry_after_s=5) == 5
    assert refuse(standing, NOW + 0.7, retry_after_s=1) == pytest.approx(4.9)
    assert refuse(standing, NOW + 6) == 4


def test_what_was_remembered_holds_and_no_longer_than_can_be() -> None:
    assert fresh(blocked_until=NOW + 100).wait(NOW).seconds == 100
    assert fresh(blocked_until=NOW + 100).wait(NOW).why == "as before"
    assert fresh(blocked_until=NOW - 1).wait(NOW).seconds == 0
    assert fresh(blocked_until=NOW + 400 * 86_400).wait(NOW).seconds == LONGEST_S


@pytest.mark.parametrize("is_remembered", [False, True])
def test_a_clock_that_is_set_back_lengthens_no_block(*, is_remembered: bool) -> None:
    standing = fresh(blocked_until=NOW + 10 if is_remembered else None)
    if not is_remembered:
        refuse(standing, NOW, retry_after_s=10)
    back = NOW - 86_400
    assert standing.wait(back).seconds == 10
    assert standing.wait(back + 9).seconds == 1
    assert standing.wait(back + 10).seconds == 0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 500),
            st.none() | st.floats(0, 1e9),
            st.none() | st.integers(0, 3),
            st.none() | st.floats(-1e6, 1e9),
            st.floats(0, 1),
        ),
        max_size=20,
    )
)
def test_nothing_the_service_says_blocks_for_ever_or_opens_before_what_it_asked(
    answers: list[tuple[float, float | None, int | None, float | None, float]],
) -> None:
    standing = fresh()
    now = NOW
    asked_until = now
    for later, retry_after_s, remaining, reset_in_s, jitter in answers:
        now += later
        limits = RateLimits(
            remaining=remaining, reset_at=None if reset_in_s is None else now + reset_in_s
        )
        standing.heard(limits, now=now, server_date=now)
        refuse(standing, now, retry_after_s=retry_after_s, limits=limits, jitter=jitter)
        asked_until = max(asked_until, now + min(retry_after_s or 0.0, LONGEST_S))
        wait = standing.wait(now)
        assert 0 < wait.seconds <= LONGEST_S
        assert now + wait.seconds >= asked_until - 1e-3

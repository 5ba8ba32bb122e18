"""How long a task is expected to take, as learned from those before it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchembed.core.expectation import Expectation

DURATIONS = st.none() | st.floats(min_value=0, max_value=7200)
ELAPSED = st.floats(min_value=0, max_value=86_400)
LEARNED = st.lists(st.tuples(DURATIONS, ELAPSED), max_size=60)


def learned(tasks: list[tuple[float | None, float]]) -> Expectation:
    expectation = Expectation()
    for duration_sec, elapsed_s in tasks:
        expectation.learn(duration_sec, elapsed_s)
    return expectation


def expected_s(expectation: Expectation, duration_sec: float | None) -> float:
    """The first look and the margin after it: the whole expected time."""
    first = expectation.first_look_s(duration_sec)
    margin = expectation.margin_s(duration_sec)
    assert first is not None
    assert margin is not None
    return first + margin


def test_nothing_is_expected_before_a_task_has_ended() -> None:
    assert Expectation().first_look_s(10) is None
    assert Expectation().first_look_s(None) is None
    assert Expectation().margin_s(10) is None


@given(tasks=LEARNED, asked=DURATIONS)
def test_an_expectation_is_never_negative_and_never_far_beyond_what_was_seen(
    tasks: list[tuple[float | None, float]], asked: float | None
) -> None:
    first = learned(tasks).first_look_s(asked)

    if first is not None:
        longest = max(elapsed for _, elapsed in tasks)
        shortest = min((d for d, _ in tasks if d and d >= 0.001), default=1.0)
        assert 0 <= first <= longest * max(1.0, 2 * 7200 / shortest)


@given(
    overhead_s=st.floats(min_value=0, max_value=60),
    rate=st.floats(min_value=0.01, max_value=2),
    seed=st.integers(min_value=0, max_value=2**32),
)
def test_it_comes_to_expect_what_tasks_take(overhead_s: float, rate: float, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  no secret
    expectation = Expectation()

    for _ in range(200):
        duration_sec = draw.uniform(4, 120)
        noise = draw.uniform(0.9, 1.1)
        expectation.learn(duration_sec, noise * (overhead_s + rate * duration_sec))

    for duration_sec in (20.0, 60.0, 100.0):
        true_s = overhead_s + rate * duration_sec
        assert expected_s(expectation, duration_sec) == pytest.approx(true_s, rel=0.15)


@given(factor=st.sampled_from([0.5, 2.0]), seed=st.integers(min_value=0, max_value=2**32))
def test_it_follows_a_service_that_becomes_twice_as_fast_or_slow(factor: float, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  no secret
    expectation = Expectation()
    for speed in (1.0, factor):
        for _ in range(80):
            duration_sec = draw.uniform(4, 120)
            noise = draw.uniform(0.9, 1.1)
            expectation.learn(duration_sec, speed * noise * (20 + 0.25 * duration_sec))

    assert expected_s(expectation, 60) == pytest.approx(factor * 35, rel=0.15)


def test_it_follows_a_service_that_it_only_ever_sees_at_its_own_looks() -> None:
    """A task that ended before the first look is learned as if it had taken until that look."""
    expectation = learned([(10, 30.0)] * 40)

    for _ in range(120):
        expectation.learn(10, max(15.0, expectation.first_look_s(10) or 0))

    assert expected_s(expectation, 10) == pytest.approx(15, rel=0.25)


@given(
    takes_s=st.floats(min_value=5, max_value=600),
    first_wait_s=st.floats(min_value=0.5, max_value=5),
)
def test_it_comes_to_expect_what_tasks_take_however_seldom_it_looks(
    takes_s: float, first_wait_s: float
) -> None:
    """The first ends are noticed late; how late, the look before them says."""
    expectation = Expectation()

    for _ in range(120):
        at_s = expectation.first_look_s(10) or first_wait_s
        wait_s = min(first_wait_s, expectation.margin_s(10) or first_wait_s)
        before_s = None
        while at_s < takes_s:
            before_s, at_s, wait_s = at_s, at_s + wait_s, 1.5 * wait_s
        expectation.learn(10, at_s, None if before_s is None else at_s - before_s)

    assert expected_s(expectation, 10) == pytest.approx(takes_s, rel=0.2)


def test_an_end_is_taken_to_lie_in_the_middle_of_what_was_not_seen() -> None:
    expectation = Expectation()

    expectation.learn(10, 20.0, 8.0)

    assert expected_s(expectation, 10) == pytest.approx(16)


def test_the_first_look_is_a_little_before_the_expected_end() -> None:
    expectation = learned([(10, 20.0)] * 5)

    assert expectation.first_look_s(10) == pytest.approx(18)
    assert expectation.margin_s(10) == pytest.approx(2)


def test_a_video_of_unknown_length_is_expected_to_take_what_the_others_took() -> None:
    expectation = learned([(10, 20.0), (100, 40.0)] * 50)

    assert expected_s(expectation, None) == pytest.approx(30, rel=0.05)


def test_tasks_of_unknown_length_are_learned_from_too() -> None:
    expectation = learned([(None, 20.0)])

    assert expected_s(expectation, None) == pytest.approx(20)
    assert expected_s(expectation, 3600) == pytest.approx(20)


def test_videos_of_one_length_say_nothing_about_others() -> None:
    expectation = learned([(10, 20.0), (10, 22.0)] * 10)

    assert expected_s(expectation, 7200) == pytest.approx(21, rel=0.05)


def test_one_task_that_took_for_ever_changes_little() -> None:
    """A laptop was closed while a task ran, or a clock jumped."""
    expectation = learned([(10, 20.0)] * 30)

    expectation.learn(10, 86_400)

    assert expected_s(expectation, 10) < 25


@pytest.mark.parametrize("elapsed_s", [-1.0, math.inf, math.nan])
def test_what_no_clock_can_have_measured_is_left_out(elapsed_s: float) -> None:
    expectation = learned([(10, 20.0)])

    expectation.learn(10, elapsed_s)

    assert expected_s(expectation, 10) == pytest.approx(20)

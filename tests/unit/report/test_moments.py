"""Moments and lengths of time in words; when the service deletes what was paid for."""

from __future__ import annotations

import pytest

from batchembed.core.model import JobKey
from batchembed.core.states import KEPT_S, Entry, Staged, State
from batchembed.report.expiry import expires_at, nearest_expiry
from batchembed.report.moments import come_back, length, minute, rfc3339
from tests.unit.report.reports import BEGAN_AT, a_job


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (3 * 86_400 - 1, "72 h"),
        (3 * 86_400, "3 d"),
    ],
)
def test_a_length_has_one_unit(seconds: float, words: str) -> None:
    assert length(seconds) == words


def test_moments_are_of_utc() -> None:
    assert rfc3339(BEGAN_AT + 0.25) == "2026-11-25T23:10:00.250Z"
    assert minute(BEGAN_AT) == "2026-11-25 23:10 UTC"
    assert come_back(BEGAN_AT, BEGAN_AT - 11_382) == (
        "come back after 2026-11-25 23:10 UTC (in 3 h)"
    )


@pytest.mark.parametrize(
    ("until", "words"),
    [(BEGAN_AT, "23:10"), (BEGAN_AT + 0.4, "23:11"), (BEGAN_AT + 59, "23:11")],
)
def test_a_run_at_the_minute_that_is_told_is_not_too_early(until: float, words: str) -> None:
    assert come_back(until, BEGAN_AT - 60).startswith(f"come back after 2026-11-25 {words} UTC")


def test_a_task_expires_seven_days_after_its_creation() -> None:
    entry = a_job("k", State.READY, task="t", submitted_at=BEGAN_AT)

    assert expires_at(entry, "twelvelabs") == BEGAN_AT + KEPT_S
    assert expires_at(entry, "local") is None


def test_a_create_in_doubt_expires_seven_days_after_its_intent() -> None:
    entry = Entry(job_key=JobKey("k"), state=State.UNKNOWN, attempt=1, intended_at=BEGAN_AT)

    assert expires_at(entry, "twelvelabs") == BEGAN_AT + KEPT_S


def test_what_is_staged_or_lost_expires_no_more() -> None:
    staged = Entry(
        job_key=JobKey("k"),
        state=State.STAGED,
        attempt=1,
        staged=Staged(file="f", rows=(), sha256="s"),
        submitted_at=BEGAN_AT,
    )
    lost = a_job("k", State.LOST, task="t", submitted_at=BEGAN_AT)

    assert expires_at(staged, "twelvelabs") is None
    assert expires_at(lost, "twelvelabs") is None
    assert expires_at(None, "twelvelabs") is None


def test_the_nearest_expiry_is_that_of_the_oldest_task() -> None:
    tasks = [a_job("k", State.READY, task="t", submitted_at=BEGAN_AT + n) for n in (50, 10, 30)]

    assert nearest_expiry([None, *tasks], "twelvelabs") == BEGAN_AT + 10 + KEPT_S
    assert nearest_expiry([None], "twelvelabs") is None

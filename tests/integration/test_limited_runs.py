"""Runs within a quota and a budget: slower, parked, or held back, and the next one goes on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.errors import ExitCode
from batchembed.runner.listen import Waiting
from tests.support.media import make_video
from tests.support.runs import Bench, Heard

FILMS = ("a", "b", "c")
DAY_S = 86_400


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 6 s."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(FILMS):
        make_video(folder / f"{name}.mp4", seconds=6.0, seed=seed, fps=5)
    return folder


@pytest.fixture
def bench(films: Path, tmp_path: Path) -> Bench:
    shutil.copytree(films, tmp_path / "v")
    return Bench(folder=tmp_path)


async def no_time(seconds: float) -> None:
    """Let the others do what they can; the bench's clock goes on by itself."""
    await asyncio.sleep(0)


def write(bench: Bench, settings: str) -> None:
    bench.write("  - glob: v/*.mp4\n", more=settings)


def committed(report: RunReport) -> int:
    return report.counts[Outcome.COMMITTED]


def codes(report: RunReport) -> list[str]:
    return [reason.code for video in report.videos for reason in video.reasons]


def test_requests_a_minute_make_a_run_wait_and_lose_nothing(bench: Bench) -> None:
    write(bench, "quota: {requests_per_minute: 1}\n")
    bench.sleep = no_time
    heard = Heard()

    report = bench.run(heard=heard)

    assert (report.exit_code, committed(report)) == (ExitCode.OK, 3)
    waits = [each for each in heard.events if isinstance(each, Waiting)]
    assert {each.why for each in waits} == {"the quota of 1 requests a minute is used up"}
    assert report.parked is None


def test_minutes_a_day_park_each_run_and_the_days_after_go_on(bench: Bench) -> None:
    write(bench, "quota: {video_minutes_per_day: 0.1}\n")
    first = bench.run()
    too_early = bench.run()
    bench.now += DAY_S + 600
    second = bench.run()
    bench.now += DAY_S + 600
    third = bench.run()

    assert first.exit_code is too_early.exit_code is second.exit_code is ExitCode.AGAIN
    assert third.exit_code is ExitCode.OK
    assert [committed(report) for report in (first, too_early, second, third)] == [1, 1, 2, 3]
    assert [report.submitted for report in (first, too_early, second, third)] == [1, 0, 1, 1]
    assert codes(first) == ["parked", "parked"]
    assert first.parked is not None
    assert first.parked.until == pytest.approx(1_000_000 + DAY_S, abs=120)
    assert bench.rows().num_rows == 3


def test_a_budget_for_each_run_is_spent_and_the_next_run_has_its_own(bench: Bench) -> None:
    write(bench, "budget: {amount: 0.2, price_per_minute: 1}\n")
    first, second = bench.run(), bench.run()

    assert (first.exit_code, first.submitted, codes(first)) == (
        ExitCode.AGAIN,
        2,
        ["budget_spent"],
    )
    assert first.cost == pytest.approx(0.2)
    assert first.parked is not None
    assert first.parked.until is None
    assert (second.exit_code, second.submitted, second.parked) == (ExitCode.OK, 1, None)


def test_a_budget_of_the_dataset_is_spent_once_over_all_runs(bench: Bench) -> None:
    write(bench, "budget: {video_minutes: 0.2, per: dataset}\n")
    reports = [bench.run(), bench.run()]
    raised = bench.run(overrides=["budget.video_minutes=0.3"])

    assert [report.submitted for report in reports] == [2, 0]
    assert [codes(report) for report in reports] == [["budget_spent"]] * 2
    assert (raised.exit_code, raised.submitted) == (ExitCode.OK, 1)


def test_a_video_that_the_quota_can_never_take_is_left_and_the_others_are_not(
    bench: Bench,
) -> None:
    make_video(bench.folder / "v" / "long.mp4", seconds=13.0, seed=9, fps=5)
    write(bench, "quota: {video_minutes_per_hour: 0.2, max_inline_wait_s: 7200}\n")
    bench.sleep = no_time

    report = bench.run()

    assert committed(report) >= 2
    assert "quota_too_small" in codes(report)

"""Runs during which the clock is set, at any moment of them: nothing is stuck, or paid for twice.

The real loop and a real ledger against a service in memory; see `tests/stateful`. Time really
passes too, in a loop whose timers cost none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchembed.core.outcome import Outcome
from batchembed.core.states import State
from batchembed.errors import ExitCode
from tests.stateful.bench import SETTLE_S, Bench, Event, FileVideo, Jump, UrlVideo
from tests.stateful.checks import problems
from tests.stateful.service import Fate

JUMPS: tuple[Jump, ...] = ("day on", "hour back", "to 2038")
VIDEOS: dict[str, FileVideo | UrlVideo] = {
    "file": FileVideo(content=b"one"),
    "url": UrlVideo(number=1, end=20.0, signature=1),
}
FATES = {
    "slow": Fate(lasts_s=30.0),
    "lost answer": Fate(answer="lost after", lag_s=SETTLE_S - 2.5),
    "lost answer, late name": Fate(answer="lost after", lag_s=1.0, hidden_s=4.0, lasts_s=4.0),
}
#: Each moment until the first looks at a task, and some of those after.
MOMENTS = (*range(1, 25), 30, 45)


class Benches:
    """Makes a bench of one video, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folders = (folder / f"{number}" for number in range(10_000))

    def __call__(self, video: str, *fates: Fate) -> Bench:
        bench = Bench(folder=next(self._folders))
        bench.put(0, VIDEOS[video])
        bench.vectors[bench.key(0)] = bench.expected(0)
        bench.service.fates.extend(fates)
        return bench


@pytest.fixture
def benches(tmp_path: Path) -> Benches:
    return Benches(tmp_path)


def told(bench: Bench, events: dict[int, Event]) -> Iterator[str]:
    """What a run over these events does wrong."""
    report = bench.run(events=events)
    assert report is not None
    if report.exit_code is not ExitCode.OK:
        yield f"{events}: {report.halted} {[video.reasons for video in report.videos]}"
    yield from (f"{events}: {problem}" for problem in problems(bench, set()))


def wrong(benches: Benches, video: str, fate: str, jump: Jump) -> list[str]:
    """What goes wrong if the clock jumps, at whichever moment of a run."""
    return [
        problem
        for moment in MOMENTS
        for problem in told(benches(video, FATES[fate]), {moment: jump})
    ]


@pytest.mark.parametrize(
    ("video", "fate", "jump"),
    [
        ("file", "slow", "day on"),
        ("file", "slow", "hour back"),
        ("file", "lost answer", "day on"),
        ("file", "lost answer", "to 2038"),
        ("file", "lost answer", "hour back"),
        ("file", "lost answer, late name", "hour back"),
        ("url", "slow", "hour back"),
        ("url", "lost answer", "day on"),
        ("url", "lost answer", "hour back"),
        ("url", "lost answer, late name", "hour back"),
    ],
)
def test_a_clock_that_is_set_in_a_run_neither_stops_a_task_nor_pays_twice(
    benches: Benches, video: str, fate: str, jump: Jump
) -> None:
    assert wrong(benches, video, fate, jump) == []


@pytest.mark.parametrize("jump", ["hour back", "day back"])
def test_a_clock_that_is_set_back_between_runs_ages_no_doubt(benches: Benches, jump: Jump) -> None:
    bench = benches("file", Fate(answer="lost after", lag_s=SETTLE_S - 1.0))
    bench.run(once=(lambda: bench.service.tasks, "kill"))
    assert [entry.state for entry in bench.entries().values()] == [State.SUBMITTING]

    assert list(told(bench, {1: jump})) == []


@pytest.mark.parametrize("jump", ["hour on", "day on", "day back", "to 2038"])
def test_a_quota_goes_on_after_the_clock_is_set(tmp_path: Path, jump: Jump) -> None:
    for moment in range(1, 60, 7):
        bench = Bench(folder=tmp_path / f"{moment}", requests_per_minute=2)
        for slot in range(5):
            bench.put(slot, FileVideo(content=f"film {slot}".encode()))
            bench.vectors[bench.key(slot)] = bench.expected(slot)

        assert list(told(bench, {moment: jump})) == []
        assert bench.world.monotonic() < 240.0


@pytest.mark.parametrize("jump", ["day on", "day back", "to 2038"])
def test_a_block_of_the_service_is_over_when_it_said_whatever_the_clock(
    tmp_path: Path, jump: Jump
) -> None:
    bench = Bench(folder=tmp_path)
    bench.put(0, FileVideo(content=b"one"))
    bench.service.fates.append(Fate(answer="blocked"))
    parked = bench.run()
    assert parked is not None
    assert parked.exit_code is ExitCode.AGAIN
    bench.run(events={1: jump})

    bench.world.passed_s += 31 * 86_400.0
    report = bench.run()

    assert report is not None
    assert report.videos[0].outcome is Outcome.COMMITTED


@pytest.mark.parametrize("ahead_s", [86_400.0, 365 * 86_400.0])
def test_a_block_that_a_clock_dated_too_late_is_over_when_it_said(
    tmp_path: Path, ahead_s: float
) -> None:
    bench = Benches(tmp_path)("file", Fate(answer="blocked"))  # for 11,382 s
    bench.world.set_s = ahead_s
    bench.run()
    bench.world.set_s = 0.0
    parked = bench.run()
    assert parked is not None
    assert parked.exit_code is ExitCode.AGAIN

    bench.world.passed_s += 11_400.0

    assert list(told(bench, {})) == []


def test_a_create_that_a_clock_dated_too_late_leaves_the_quota_in_time(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path, requests_per_minute=1)
    for slot in range(2):
        bench.put(slot, FileVideo(content=f"film {slot}".encode()))
        bench.vectors[bench.key(slot)] = bench.expected(slot)
    second = bench.videos.pop(1)
    bench.world.set_s = 365 * 86_400.0
    assert list(told(bench, {})) == []
    bench.world.set_s = 0.0
    assert list(told(bench, {})) == []
    bench.put(1, second)
    bench.world.passed_s += 61.0
    began_s = bench.world.monotonic()

    assert list(told(bench, {})) == []

    assert bench.world.monotonic() - began_s < 30.0


@pytest.mark.parametrize("jump", JUMPS)
def test_a_task_of_an_earlier_run_ends_whatever_the_clock_says_of_its_age(
    benches: Benches, jump: Jump
) -> None:
    bench = benches("file", Fate(lasts_s=50.0))
    bench.run(once=(lambda: bench.world.monotonic() > 10.0, "stop"))
    assert [entry.state for entry in bench.entries().values()] == [State.PROCESSING]

    reports = [bench.run(events={1: jump})]
    bench.world.passed_s += 60.0
    reports.append(bench.run())

    assert {report.exit_code for report in reports if report} <= {ExitCode.OK, ExitCode.AGAIN}
    assert reports[-1] is not None
    assert reports[-1].exit_code is ExitCode.OK
    assert len(bench.service.tasks) == 1

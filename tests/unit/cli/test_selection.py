"""What a command line means by names, patterns, failures and lengths of time."""

from __future__ import annotations

import click
import pytest

from batchembed.cli.durations import seconds_of
from batchembed.cli.running import new_run_id
from batchembed.cli.selection import chosen, require_retry
from batchembed.core.model import JobKey, Video
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import UsageError
from tests.unit.report.reports import BEGAN_AT, a_video

VIDEOS: list[Video] = [
    a_video(name, Outcome.PENDING).video
    for name in ("day1/a.mp4", "day1/b.mp4", "day2/a.mp4", "odd[1].mp4", "odd1.mp4")
]


@pytest.mark.parametrize(
    ("patterns", "named"),
    [
        ((), ()),
        (("day1/b.mp4",), ("day1/b.mp4",)),
        (("day1/*",), ("day1/a.mp4", "day1/b.mp4")),
        (("day2/*", "*/a.mp4"), ("day1/a.mp4", "day2/a.mp4")),
        (("day?/b.mp4",), ("day1/b.mp4",)),
        (("odd[1].mp4",), ("odd[1].mp4",)),
        (("odd[1-9].mp4",), ("odd1.mp4",)),
    ],
    ids=["all", "an id", "a pattern", "two", "one letter", "an id with brackets", "a range"],
)
def test_a_pattern_names_videos_in_the_manifests_order(
    patterns: tuple[str, ...], named: tuple[str, ...]
) -> None:
    assert chosen(VIDEOS, patterns) == named


@pytest.mark.parametrize("named", ["DAY1/A.MP4", "", "day1"])
def test_an_id_that_names_nothing_is_a_usage_error(named: str) -> None:
    with pytest.raises(UsageError, match="names no video"):
        chosen(VIDEOS, ("day1/*", named))


@pytest.mark.parametrize("pattern", ["day1/z*", "day1/?", "day1/[z].mp4"])
def test_a_pattern_that_matches_nothing_is_taken_for_no_slip_of_the_pen(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"no id of the manifest matches this pattern$"):
        chosen(VIDEOS, ("day1/*", pattern))


def test_a_slip_of_the_pen_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match=r"did you mean day1/b\.mp4\?"):
        chosen(VIDEOS, ("day1/b.mp5",))
    with pytest.raises(UsageError, match="did you mean transient"):
        require_retry("failed:transiant", ())


STRANGE = Entry(
    job_key=JobKey("k"),
    state=State.FAILED,
    attempt=1,
    reason=Reason(code="sunspots", message="m"),
)


@pytest.mark.parametrize(
    "wanted",
    ["failed", "failed:lost", "failed:transient", "failed:worker_crashed", "failed:sunspots", None],
)
def test_a_failure_can_be_named_by_class_or_code(wanted: str | None) -> None:
    require_retry(wanted, [STRANGE])


@pytest.mark.parametrize(
    "wanted", ["", "lost", "failed:", "Failed", "failed:rejected", "failed:moonlight", ":lost"]
)
def test_what_names_no_failure_is_a_usage_error(wanted: str) -> None:
    with pytest.raises(UsageError, match="--retry"):
        require_retry(wanted, [STRANGE])


def seconds(typed: str) -> float | None:
    context = click.Context(click.Command("run"))
    return seconds_of(context, click.Option(["--max-runtime"]), typed)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("45m", 2700), ("8h", 28_800), (" 2 D ", 172_800)],
)
def test_a_length_of_time_has_a_unit_or_is_in_seconds(typed: str, expected: float) -> None:
    assert seconds(typed) == expected


@pytest.mark.parametrize("typed", ["", "0", "0h", "-5", "8 hours", "1:30", "1e3", "inf", "h"])
def test_what_is_no_length_of_time_is_a_usage_error(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="write it as 90s, 45m or 8h"):
        seconds(typed)


def test_runs_are_named_by_their_beginning_and_never_alike() -> None:
    names = {new_run_id(BEGAN_AT) for _ in range(20)}

    assert len(names) > 15
    assert {name[:17] for name in names} == {"20261125T231000Z-"}
    assert {len(name) for name in names} == {23}

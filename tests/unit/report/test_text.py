"""What a person reads at the end of a run."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import Parked
from batchembed.core.states import State
from batchembed.report.text import how_to_read, printable, summary
from tests.unit.report.reports import BEGAN_AT, REPORT, a_job, a_video


def test_a_summary_counts_and_says_how_to_read() -> None:
    lines = summary(REPORT).splitlines()

    assert lines[0] == "scenes: 1 video: 1 committed"
    assert lines[1] == "submitted 1 task, collected 1.5 minutes of video in 2.0 s"
    assert lines[2] == "dataset: 1,234 rows in /out (record 3)"
    assert len([line for line in lines if "python -c" in line]) == 2


def test_what_did_not_make_it_is_named_with_its_reason() -> None:
    reason = Reason(code="video_duration_too_short", message="duration 3 s is below 4 s")
    report = replace(
        REPORT,
        videos=(a_video("a\x1b[2J", Outcome.REJECTED, reason),),
        halted="the service answered 401",
        kept=("old",),
        warnings=("another onnxruntime",),
    )

    text = summary(report)

    assert "  rejected a\\x1b[2J: duration 3 s is below 4 s [video_duration_too_short]" in text
    assert "stopped early: the service answered 401" in text
    assert "kept 1 video of earlier runs" in text
    assert "warning: another onnxruntime" in text
    assert "\x1b" not in text


def test_a_long_list_is_cut_and_says_where_the_rest_is() -> None:
    reason = Reason(code="c", message="m")
    videos = tuple(a_video(f"{n}", Outcome.FAILED, reason) for n in range(50))

    text = summary(replace(REPORT, videos=videos))

    assert text.count("  failed ") == 20
    assert "and 30 more: see _batchembed/videos.jsonl" in text
    assert "run --retry failed" in text
    unpublished = summary(replace(REPORT, videos=videos, record=None, rows=0))
    assert "and 30 more: `--format json` has all" in unpublished


def test_a_long_list_of_what_is_pending_is_not_said_to_be_in_the_dataset() -> None:
    videos = tuple(
        a_video(f"{n}", Outcome.PENDING, Reason(code="task_deadline", message=f"task {n}"))
        for n in range(50)
    )

    assert "and 30 more: `--format json` has all" in summary(replace(REPORT, videos=videos))


def test_a_dataset_that_is_not_there_is_not_explained() -> None:
    assert "nothing is published" in summary(replace(REPORT, record=None, rows=0))


@pytest.mark.parametrize("path", ["/plain", "/it's", '/a "b"', "/$HOME", "/é ü"])
def test_the_lines_to_paste_are_one_word_of_a_shell(path: str) -> None:
    for line in how_to_read(path, "python"):
        python, flag, code = shlex.split(line)
        assert (python, flag) == ("python", "-c")
        compile(code, "pasted", "exec")
        assert repr(path)[1:-1] in code


def test_on_a_store_no_glob_is_offered() -> None:
    (line,) = how_to_read("s3://bucket/demo", "python")
    assert "open_dataset" in line
    assert "read it with pyarrow:" in summary(replace(REPORT, dataset="s3://bucket/demo"))


def test_control_characters_are_shown_and_not_sent() -> None:
    assert printable("a\nb\x07ü") == "a\\nb\\x07ü"


def test_a_parked_run_says_when_to_come_back() -> None:
    """Three hours after its end, which is two seconds after 23:10."""
    parked = Parked(why="the day's 600 minutes are spent", until=BEGAN_AT + 3 * 3600)

    text = summary(replace(REPORT, parked=parked))

    assert (
        "parked: the day's 600 minutes are spent; come back after 2026-11-26 02:10 UTC (in 3 h)"
    ) in text.splitlines()


def test_a_run_that_no_time_sets_free_is_parked_without_one() -> None:
    text = summary(replace(REPORT, parked=Parked(why="no credit is left", until=None)))

    assert "parked: no credit is left; run again once that has changed" in text


def test_lost_tasks_say_what_it_costs_to_create_them_again() -> None:
    """Two videos of one job are one task."""
    reason = Reason(code="task_lost", message="the service no longer has it")
    lost = a_job("k", State.LOST, task="t", reason=reason)
    videos = tuple(
        a_video(name, Outcome.FAILED, reason, entry=lost, seconds=90.0) for name in ("a", "b")
    )

    text = summary(replace(REPORT, videos=videos, price_per_minute=0.042))

    assert (
        "the service no longer has 1 task: `--retry failed:lost` creates it again: "
        "1.5 minutes of video (about 0.06 USD)"
    ) in text.splitlines()
    assert "USD" not in summary(replace(REPORT, videos=videos))


def test_a_create_without_an_answer_is_told_on_a_hosted_engine_alone() -> None:
    doubt = a_job("k", State.UNKNOWN, unknown_since=BEGAN_AT)
    report = replace(REPORT, videos=(a_video("a", Outcome.PENDING, entry=doubt),))

    assert "1 create without an answer" not in summary(report)
    assert "1 create without an answer, the oldest since 2026-11-25 23:10 UTC" in summary(
        replace(report, engine="twelvelabs")
    )


def test_what_a_run_cost_is_an_estimate() -> None:
    text = summary(replace(REPORT, price_per_minute=0.823, adopted=2))

    assert "submitted 1 task (about 1.23 USD), collected" in text
    assert "(less than 0.01 USD)" in summary(replace(REPORT, price_per_minute=0.0032))
    assert "found 2 tasks again in the service's listing" in text


def test_videos_that_are_left_for_one_reason_are_one_line() -> None:
    reason = Reason(code="parked", message="come back tomorrow")
    left = tuple(a_video(f"v{n}", Outcome.PENDING, reason) for n in range(500))
    other = a_video("slow", Outcome.PENDING, Reason(code="task_deadline", message="not ready"))

    lines = summary(replace(REPORT, videos=(*left, other))).splitlines()

    assert "  pending 500 videos: come back tomorrow [parked]" in lines
    assert "  pending slow: not ready [task_deadline]" in lines
    assert not [line for line in lines if "v17" in line]

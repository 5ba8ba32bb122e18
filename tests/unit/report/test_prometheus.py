"""The figures of a run for Prometheus."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import Parked, RunReport
from batchembed.core.states import State
from batchembed.errors import ExitCode
from batchembed.report.prometheus import last_success, metrics
from tests.unit.report.reports import BEGAN_AT, REPORT, a_job, a_video


def samples(report: RunReport, *, before: float | None = None) -> dict[str, float]:
    """Every sample by its name and the labels beside the dataset's."""
    read: dict[str, float] = {}
    text = metrics(report, last_success=before).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("dataset") == report.name
            read[" ".join([sample.name, *labels.values()])] = sample.value
    return read


def test_a_run_that_ended_well_is_told_in_base_units() -> None:
    read = samples(replace(REPORT, price_per_minute=0.25 / 1.5))

    assert read["batchembed_videos committed"] == 1
    assert read["batchembed_videos failed"] == 0
    assert read["batchembed_rows"] == 1234
    assert read["batchembed_last_run_submitted_tasks"] == 1
    assert read["batchembed_last_run_submitted_video_seconds"] == 90
    assert read["batchembed_last_run_requests status"] == 2
    assert read["batchembed_last_run_cost USD"] == 0.25
    assert read["batchembed_last_run_timestamp_seconds"] == BEGAN_AT + 2
    assert read["batchembed_last_run_duration_seconds"] == 2
    assert read["batchembed_last_run_exit_code"] == 0
    assert read["batchembed_last_success_timestamp_seconds"] == BEGAN_AT + 2
    assert "batchembed_results_expire_timestamp_seconds" not in read
    assert "batchembed_last_run_parked_until_timestamp_seconds" not in read


def test_failures_are_counted_by_class_and_what_is_left_by_state() -> None:
    lost = Reason(code="task_lost", message="gone")
    report = replace(
        REPORT,
        engine="twelvelabs",
        exit_code=ExitCode.AGAIN,
        parked=Parked(why="quota", until=BEGAN_AT + 60),
        videos=(
            a_video("r", Outcome.REJECTED, Reason(code="c", message="m")),
            a_video("l", Outcome.FAILED, lost, entry=a_job("k", State.LOST, task="t", reason=lost)),
            a_video("n", Outcome.PENDING),
            a_video("u", Outcome.PENDING, entry=a_job("ku", State.UNKNOWN, unknown_since=BEGAN_AT)),
            a_video(
                "p",
                Outcome.PENDING,
                entry=a_job("kp", State.PROCESSING, task="t2", submitted_at=BEGAN_AT - 86_400),
            ),
        ),
    )

    read = samples(report)

    assert read["batchembed_failed_videos rejected"] == 1
    assert read["batchembed_failed_videos lost"] == 1
    assert read["batchembed_failed_videos task"] == 0
    assert read["batchembed_pending_videos new"] == 1
    assert read["batchembed_pending_videos unknown"] == 1
    assert read["batchembed_pending_videos processing"] == 1
    assert read["batchembed_in_doubt_tasks"] == 1
    assert read["batchembed_last_run_parked"] == 1
    assert read["batchembed_last_run_parked_until_timestamp_seconds"] == BEGAN_AT + 60
    assert read["batchembed_results_expire_timestamp_seconds"] == BEGAN_AT + 6 * 86_400
    assert "batchembed_last_success_timestamp_seconds" not in read


def test_the_last_success_outlives_runs_that_fail() -> None:
    well = metrics(REPORT, last_success=None).decode()

    failed = samples(replace(REPORT, exit_code=ExitCode.INCOMPLETE), before=last_success(well))

    assert failed["batchembed_last_run_exit_code"] == 3
    assert failed["batchembed_last_success_timestamp_seconds"] == BEGAN_AT + 2


def test_a_name_that_is_no_word_stays_one_label() -> None:
    text = metrics(replace(REPORT, name='a "b"\\\n'), last_success=None).decode()

    assert r'batchembed_rows{dataset="a \"b\"\\\n"} 1234.0' in text.splitlines()


@pytest.mark.parametrize(
    "text", ["", "up 1\n", "not a metric at all {", '{"version": 1}', "batchembed_rows{"]
)
def test_somebody_elses_file_tells_of_no_success(text: str) -> None:
    assert last_success(text) is None

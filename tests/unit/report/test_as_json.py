"""A run's report as JSON, and its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from batchembed import resources
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import Parked, RunReport
from batchembed.core.states import State
from batchembed.report.as_json import report_dict
from tests.unit.report.reports import BEGAN_AT, REPORT, a_job, a_video

_LOST = Reason(code="task_lost", message="gone")
_TORN = Reason(code="video_file_broken", message="the film is torn", hint="remux it")

HOSTED = replace(
    REPORT,
    engine="twelvelabs",
    price_per_minute=0.05,
    parked=Parked(why="quota", until=BEGAN_AT + 60.5),
    videos=(
        a_video("a", Outcome.COMMITTED),
        a_video("b", Outcome.REJECTED, _TORN),
        a_video("c", Outcome.FAILED, _LOST, entry=a_job("kc", State.LOST, task="t1", reason=_LOST)),
        a_video("d", Outcome.PENDING, entry=a_job("kd", State.UNKNOWN, unknown_since=BEGAN_AT)),
        a_video(
            "e",
            Outcome.PENDING,
            entry=a_job("ke", State.PROCESSING, task="t2", submitted_at=BEGAN_AT),
        ),
    ),
)


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        resources.schema("run-report"),
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


def as_read(report: RunReport) -> Any:
    return json.loads(json.dumps(report_dict(report)))


@pytest.mark.parametrize("report", [REPORT, HOSTED], ids=["local", "hosted"])
def test_a_report_is_what_its_schema_says(report: RunReport) -> None:
    validator().validate(as_read(report))


def test_the_schema_refuses_a_report_with_a_key_less_or_more() -> None:
    """So a key that the code forgets, or adds, does not pass unseen."""
    whole = as_read(HOSTED)
    for key in whole:
        less = {name: value for name, value in whole.items() if name != key}
        assert not validator().is_valid(less), key
    assert not validator().is_valid(whole | {"more": 1})
    for key in whole["videos"][0]:
        less = {name: value for name, value in whole["videos"][0].items() if name != key}
        assert not validator().is_valid(whole | {"videos": [less]}), key


def test_moments_are_rfc_3339_in_utc() -> None:
    told = as_read(HOSTED)

    assert told["began_at"] == "2026-11-25T23:10:00.000Z"
    assert told["parked"] == {"why": "quota", "until": "2026-11-25T23:11:00.500Z"}


def test_a_failure_has_its_class_and_the_way_out() -> None:
    videos = {video["video_id"]: video for video in as_read(HOSTED)["videos"]}

    assert {name: video["class"] for name, video in videos.items()} == {
        "a": None,
        "b": "rejected",
        "c": "lost",
        "d": None,
        "e": None,
    }
    assert videos["b"]["way_out"] == "remux it"
    assert "--retry failed:lost" in videos["c"]["way_out"]
    assert videos["e"]["expires_at"] == "2026-12-02T23:10:00.000Z"
    assert videos["c"]["expires_at"] is None


def test_lost_and_doubtful_tasks_are_counted_with_their_cost() -> None:
    told = as_read(HOSTED)

    assert told["lost"] == {"tasks": 1, "video_sec": 60.0, "unmeasured": 0, "cost": 0.05}
    assert told["in_doubt"] == {"tasks": 1, "video_sec": 60.0, "unmeasured": 0, "cost": 0.05}
    assert as_read(replace(HOSTED, price_per_minute=None))["lost"]["cost"] is None


def test_a_video_of_unknown_length_is_counted_apart() -> None:
    lost = replace(
        a_video("u", Outcome.FAILED, _LOST, entry=a_job("k", State.LOST, task="t", reason=_LOST)),
        facts=None,
    )

    told = as_read(replace(HOSTED, videos=(lost,)))

    assert told["lost"] == {"tasks": 1, "video_sec": 0, "unmeasured": 1, "cost": 0.0}

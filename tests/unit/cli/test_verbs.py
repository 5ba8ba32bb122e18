"""What `status`, `failures` and `show` say of what earlier runs left."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.core.problems import Reason
from batchembed.core.states import State
from tests.unit.cli.prepared import Prepared

HOUR_S = 3600.0
DAY_S = 86_400.0


def asked(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*argv, "--format", "json"], env={}) == code
    return json.loads(capsys.readouterr().out)


def words(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    capsys.readouterr()
    assert main([*argv], env={}) == 0
    return capsys.readouterr().out.splitlines()


def by_id(told: Any, what: str = "videos") -> dict[str, Any]:
    return {line["video_id"]: line for line in told[what]}


def test_status_says_what_the_next_run_does_with_each_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("new", "unread", "short", "waits", "ready", "doubt", "torn", "lost")
    left = Prepared(folder=tmp_path, videos=names, short=("short",), unread=("unread",))
    now = time.time()
    left.carry("waits", State.SUBMITTING, State.PROCESSING, at=now - HOUR_S, task="t1")
    left.carry("ready", State.SUBMITTING, State.PROCESSING, State.READY, at=now, task="t2")
    left.carry("doubt", State.SUBMITTING, State.UNKNOWN, at=now)
    torn = Reason(code="video_file_broken", message="torn")
    left.carry(
        "torn", State.SUBMITTING, State.PROCESSING, State.FAILED, at=now, task="t3", reason=torn
    )
    gone = Reason(code="task_lost", message="gone")
    left.carry(
        "lost", State.SUBMITTING, State.PROCESSING, State.LOST, at=now, task="t4", reason=gone
    )

    told = asked(capsys, "status", str(left.manifest))

    assert {name: line["next"] for name, line in by_id(told).items()} == {
        "new": "submit",
        "unread": "read",
        "short": "reject",
        "waits": "wait",
        "ready": "collect",
        "doubt": "look_up",
        "torn": "nothing",
        "lost": "nothing",
    }
    assert told["counts"] == {"pending": 4, "new": 1, "rejected": 1, "failed": 2}
    assert told["in_doubt"] == 1
    assert by_id(told)["doubt"]["unknown_since"] is not None
    waits = by_id(told)["waits"]
    assert (waits["state"], waits["task_id"], waits["attempt"]) == ("processing", "t1", 1)
    assert waits["age_s"] == pytest.approx(HOUR_S, abs=60)
    assert waits["expires_in_s"] == pytest.approx(7 * DAY_S - HOUR_S, abs=60)
    assert by_id(told)["new"]["expires_at"] is None


def test_status_warns_from_the_fifth_day_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path, videos=("old", "older"))
    now = time.time()
    left.carry("old", State.SUBMITTING, State.PROCESSING, at=now - 4.9 * DAY_S, task="t1")

    assert asked(capsys, "status", str(left.manifest))["warnings"] == []

    left.carry("older", State.SUBMITTING, State.PROCESSING, at=now - 5.5 * DAY_S, task="t2")
    (warning,) = asked(capsys, "status", str(left.manifest))["warnings"]
    assert "deletes the results of 1 task soon, the first in 36 h" in warning
    lines = words(capsys, "status", str(left.manifest))
    assert f"warning: {warning}" in lines
    assert any(
        "older  processing task t2" in line and "expires in 36.0 h" in line for line in lines
    )


def test_status_says_what_has_expired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = Prepared(folder=tmp_path)
    left.carry("a", State.SUBMITTING, State.PROCESSING, at=time.time() - 8 * DAY_S, task="t")

    told = asked(capsys, "status", str(left.manifest))

    assert told["videos"][0]["expires_in_s"] < 0
    assert "older than the seven days" in told["warnings"][0]
    assert any("expired 24.0 h ago" in line for line in words(capsys, "status", str(left.manifest)))


def test_on_the_embedded_engine_nothing_expires_and_nothing_is_in_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path, videos=("old", "cut"), engine="local")
    long_ago = time.time() - 30 * DAY_S
    left.carry("old", State.SUBMITTING, State.PROCESSING, at=long_ago, task="t")
    left.carry("cut", State.SUBMITTING, State.UNKNOWN, at=long_ago)

    told = asked(capsys, "status", str(left.manifest))

    assert [line["expires_at"] for line in told["videos"]] == [None, None]
    assert told["in_doubt"] == 0
    assert by_id(told)["cut"]["next"] == "submit"
    assert told["warnings"] == []


def test_status_says_until_when_the_service_takes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path)
    left.block(time.time() + 11_382, "You have exceeded the rate limit")

    told = asked(capsys, "status", str(left.manifest))

    assert told["blocked"]["why"] == "You have exceeded the rate limit"
    assert "(in 3 h)" in told["warnings"][0]

    left.block(time.time() - 1, "over")
    assert asked(capsys, "status", str(left.manifest))["blocked"] is None


def test_status_tells_of_tasks_that_the_manifest_no_longer_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path, videos=("a", "b", "c"))
    old = time.time() - 6 * DAY_S
    left.carry("b", State.SUBMITTING, State.PROCESSING, at=old, task="t1")
    gone = Reason(code="task_lost", message="gone")
    left.carry("c", State.SUBMITTING, State.PROCESSING, State.LOST, at=old, task="t2", reason=gone)
    left.write(("a",))

    told = asked(capsys, "status", str(left.manifest))

    (other,) = told["others"]
    assert (other["video_id"], other["task_id"]) == ("b", "t1")
    assert "deletes the results of 1 task soon" in told["warnings"][0]
    assert any(
        line.startswith("removed   b  processing task t1")
        for line in words(capsys, "status", str(left.manifest))
    )


def test_failures_have_class_code_words_and_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("well", "short", "torn", "lost", "refused", "crash", "unread")
    left = Prepared(folder=tmp_path, videos=names, short=("short",), unread=("unread",))
    now = time.time()
    sent = (State.SUBMITTING, State.PROCESSING)
    torn = Reason(code="video_file_broken", message="the film\x1b[2J is torn")
    left.carry("torn", *sent, State.FAILED, at=now, task="t1", reason=torn)
    gone = Reason(code="http_503", message="gone")  # what would pass, were it no loss
    left.carry("lost", *sent, State.LOST, at=now, task="t2", reason=gone)
    no = Reason(code="parameter_invalid", message="The video_clip_length parameter is invalid.")
    left.carry("refused", State.SUBMITTING, State.FAILED, at=now, reason=no)
    crash = Reason(code="worker_crashed", message="the worker crashed")
    left.carry("crash", *sent, State.FAILED, at=now, task="t3", reason=crash)

    told = asked(capsys, "failures", str(left.manifest))

    assert {name: line["class"] for name, line in by_id(told, "failures").items()} == {
        "short": "rejected",
        "torn": "task",
        "lost": "lost",
        "refused": "refused",
        "crash": "task",
    }
    assert told["counts"] == {"rejected": 1, "task": 2, "lost": 1, "refused": 1}
    assert told["unread"] == 1
    transient = {line["video_id"] for line in told["failures"] if line["transient"]}
    assert transient == {"crash"}
    (reason,) = by_id(told, "failures")["refused"]["reasons"]
    assert (reason["code"], reason["message"]) == (no.code, no.message)
    assert "change it in the manifest" in reason["way_out"]

    lines = words(capsys, "failures", str(left.manifest))
    assert "lost  lost (task t2)" in lines
    assert "    video_file_broken: the film\\x1b[2J is torn" in lines
    assert lines[-1] == "failures: 1 lost, 1 refused, 1 rejected, 2 task"


def test_where_nothing_failed_there_is_little_to_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path)

    assert words(capsys, "failures", str(left.manifest)) == ["failures: none"]


def test_show_tells_every_move_of_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path)
    gone = Reason(code="task_lost", message="gone")
    states = (State.SUBMITTING, State.PROCESSING, State.LOST)
    key = left.carry("a", *states, at=1_795_648_200.0, task="t1", reason=gone)

    told = asked(capsys, "show", str(left.manifest), "a")

    assert told["source"] == "a.mp4"
    assert told["written_at"].endswith("m.yaml:6:5: $.videos[0]")
    assert told["facts"]["duration_sec"] == 60.0
    assert told["job"]["job_key"] == key
    assert told["class"] == "lost"
    assert [(move["at"], move["state"], move["task_id"]) for move in told["history"]] == [
        ("2026-11-25T23:10:00.000Z", "submitting", None),
        ("2026-11-25T23:10:01.000Z", "processing", "t1"),
        ("2026-11-25T23:10:02.000Z", "lost", "t1"),
    ]
    assert {move["run_id"] for move in told["history"]} == {"20261125T231000Z-0a1b2c"}
    assert told["history"][-1]["reason"]["code"] == "task_lost"
    assert told["parts"] == []
    lines = words(capsys, "show", str(left.manifest), "a")
    assert lines[0] == "a: failed, next: nothing"
    assert any(
        "lost task t1, attempt 1" in line and line.endswith("gone [task_lost]") for line in lines
    )


def test_show_tells_the_jobs_that_a_video_was_before_an_edit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path)
    first = left.carry("a", State.SUBMITTING, State.PROCESSING, at=1000.0, task="t1")
    text = left.manifest.read_text(encoding="utf-8")
    left.manifest.write_text(text + "defaults: {video_clip_length: 4}\n", encoding="utf-8")
    second = left.carry("a", State.SUBMITTING, State.PROCESSING, at=2000.0, task="t2")

    told = asked(capsys, "show", str(left.manifest), "a")

    assert first != second
    assert [move["job_key"] for move in told["history"]] == [first, first, second, second]
    assert told["job"]["task_id"] == "t2"


def test_show_finds_a_video_that_the_manifest_no_longer_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path, videos=("a", "b"))
    left.carry("b", State.SUBMITTING, State.PROCESSING, at=1000.0, task="t1")
    left.write(("a",))

    told = asked(capsys, "show", str(left.manifest), "b")

    assert told["in_manifest"] is False
    assert told["outcome"] is None
    assert len(told["history"]) == 2
    assert words(capsys, "show", str(left.manifest), "b")[:2] == [
        "b",
        "  the manifest no longer names it",
    ]


def test_show_of_a_video_that_nobody_knows_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Prepared(folder=tmp_path, videos=("bridge",))

    assert main(["show", str(left.manifest), "brigde"], env={}) == 2

    assert "did you mean bridge?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("status",), ("failures",), ("show", "a")])
def test_verbs_that_look_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    left = Prepared(folder=tmp_path)
    left.carry("a", State.SUBMITTING, State.PROCESSING, at=1000.0, task="t1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    name, *rest = verb
    words(capsys, name, str(left.manifest), *rest)

    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("verb", [("status",), ("failures",), ("show", "a")])
def test_before_the_first_run_there_is_no_ledger_to_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "version: 1\nengine: local\noutput: {path: out}\nvideos:\n  - {video_file: a.mp4, id: a}\n",
        encoding="utf-8",
    )
    name, *rest = verb

    assert words(capsys, name, str(manifest), *rest)
    assert not (tmp_path / "out").exists()

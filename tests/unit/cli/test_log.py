"""A run's log as JSON: one object a line, and nothing else."""

from __future__ import annotations

import io
import json
import logging
import warnings
from dataclasses import replace
from typing import Any

import pytest

from batchembed.api.options import ApiKey
from batchembed.cli.boundary import Boundary
from batchembed.cli.log import HumanLog, JsonLog
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import Parked
from batchembed.core.states import State
from batchembed.errors import ExitCode, StorageError, UsageError
from batchembed.runner.listen import (
    Ended,
    Event,
    Moved,
    Published,
    Started,
    Waiting,
    Warned,
)
from tests.unit.report.reports import BEGAN_AT, REPORT

RUN = "20261125T231000Z-0a1b2c"


def a_log() -> tuple[JsonLog, io.StringIO]:
    stream = io.StringIO()
    return JsonLog(stream, run_id=RUN, clock=lambda: BEGAN_AT), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (
            Started(videos=4, committed=1, owed=2, unread=1, plan="plan: 1 to be read first"),
            "info",
            {
                "event": "started",
                "videos": 4,
                "committed": 1,
                "owed": 2,
                "unread": 1,
                "message": "plan: 1 to be read first",
            },
        ),
        (
            Moved(
                video_id="a", state=State.PROCESSING, task_id="t1", attempt=2, request_id="req-7"
            ),
            "info",
            {
                "event": "moved",
                "video_id": "a",
                "task_id": "t1",
                "request_id": "req-7",
                "state": "processing",
                "attempt": 2,
            },
        ),
        (
            Waiting(why="25 requests a minute", seconds=12.5),
            "info",
            {"event": "waiting", "message": "25 requests a minute", "seconds": 12.5},
        ),
        (
            Ended(video_id="a", outcome=Outcome.COMMITTED, why=None, rows=7, duration_sec=42.0),
            "info",
            {
                "event": "ended",
                "video_id": "a",
                "outcome": "committed",
                "rows": 7,
                "duration_sec": 42.0,
            },
        ),
        (
            Ended(video_id="a", outcome=Outcome.FAILED, why="torn", rows=0, duration_sec=None),
            "warning",
            {"event": "ended", "video_id": "a", "outcome": "failed", "message": "torn", "rows": 0},
        ),
        (
            Published(number=3, rows=1234, parts=2),
            "info",
            {"event": "published", "record": 3, "rows": 1234, "parts": 2},
        ),
        (Warned(message="odd"), "warning", {"event": "warned", "message": "odd"}),
    ],
    ids=["started", "moved", "waiting", "committed", "failed", "published", "warned"],
)
def test_an_event_is_one_line(event: Event, level: str, fields: dict[str, Any]) -> None:
    log, stream = a_log()

    log.notice(event)

    head = {"time": "2026-11-25T23:10:00.000Z", "level": level, "run_id": RUN}
    assert lines(stream) == [head | fields]


def test_the_end_has_figures_and_when_to_come_back() -> None:
    log, stream = a_log()
    parked = Parked(why="the day's minutes are spent", until=BEGAN_AT + 3600)

    log.finish(replace(REPORT, exit_code=ExitCode.AGAIN, parked=parked, warnings=("older ffmpeg",)))

    warned, finished = lines(stream)
    assert (warned["level"], warned["message"]) == ("warning", "older ffmpeg")
    assert finished["event"] == "finished"
    assert finished["exit_code"] == 75
    assert finished["message"] == "the day's minutes are spent"
    assert finished["parked_until"] == "2026-11-26T00:10:00.000Z"
    assert finished["committed"] == 1


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (ExitCode.OK, "info"),
        (ExitCode.INCOMPLETE, "warning"),
        (ExitCode.AGAIN, "warning"),
        (ExitCode.TERMINATED, "warning"),
        (ExitCode.NO_PERMISSION, "error"),
        (ExitCode.UNAVAILABLE, "error"),
        (ExitCode.IO, "error"),
    ],
)
def test_the_last_line_is_as_grave_as_the_end(code: ExitCode, level: str) -> None:
    log, stream = a_log()

    log.finish(replace(REPORT, exit_code=code))

    assert [line["level"] for line in lines(stream)] == [level]


def test_no_line_has_a_secret_or_moves_a_terminal() -> None:
    log, stream = a_log()
    log.hide(ApiKey("tlk_secret"))
    leak = "\x1b[2J https://h.example/a.mp4?X-Amz-Signature=abc tlk_secret"

    log.tell(leak)
    log.notice(Warned(message=leak))
    log.notice(Ended(video_id=leak, outcome=Outcome.FAILED, why=leak, rows=0, duration_sec=None))
    with pytest.raises(StorageError), log.telling_errors():
        raise StorageError(leak)

    told = stream.getvalue()
    assert len(lines(stream)) == 4
    for secret in ("abc", "tlk_secret", "\x1b", "\\u001b"):
        assert secret not in told


def test_what_libraries_warn_of_is_a_line_too() -> None:
    log, stream = a_log()

    with log.listening(), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("httpx").warning("slow %s", "https://h.example/?key=abc")
        logging.getLogger("httpx").info("not told")
        warnings.warn("going away", DeprecationWarning, stacklevel=1)

    slow, leaving = lines(stream)
    assert (slow["level"], slow["library"]) == ("warning", "httpx")
    assert slow["message"] == "slow https://h.example/"
    assert "going away" in leaving["message"]


def test_after_the_run_libraries_write_where_they_did() -> None:
    log, stream = a_log()
    before = list(logging.getLogger().handlers), warnings.showwarning

    with log.listening():
        pass

    assert (logging.getLogger().handlers, warnings.showwarning) == before
    assert stream.getvalue() == ""


def test_an_error_is_told_once_by_the_log_that_knows_the_run() -> None:
    log, stream = a_log()
    boundary = Boundary(["run", "m.yaml", "--log-format", "json"], {})
    error = UsageError("the key is not set")

    with pytest.raises(UsageError), log.telling_errors():
        raise error

    (line,) = lines(stream)
    assert (line["level"], line["run_id"], line["exit_code"]) == ("error", RUN, 2)
    assert boundary.failed(error) == 2


def test_a_defect_is_told_with_its_traceback_on_one_line() -> None:
    log, stream = a_log()

    with pytest.raises(ZeroDivisionError), log.telling_errors():
        _ = 1 / 0

    (line,) = lines(stream)
    assert line["event"] == "defect"
    assert "ZeroDivisionError" in line["traceback"]
    assert "report it" in line["message"]


def test_a_person_reads_words() -> None:
    stream = io.StringIO()
    log = HumanLog(stream)
    log.hide(ApiKey("tlk_secret"))

    log.tell("an override is not used")
    log.tell("the file tlk_secret is full", level="warning", event="warned")

    assert stream.getvalue().splitlines() == [
        "note: an override is not used",
        "warning: the file (key) is full",
    ]

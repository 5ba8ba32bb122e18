"""The report of a run that an error ended, and what the command's boundary says of errors."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from batchembed.cli.boundary import Boundary
from batchembed.cli.options import read
from batchembed.cli.unfinished import unfinished_report
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset
from batchembed.errors import (
    AuthenticationError,
    ExitCode,
    LedgerError,
    SignalledError,
    UsageError,
)
from tests.unit.cli.prepared import Prepared

BEGAN_AT = 1_795_648_200.0


def report_of(left: Prepared, error: BaseException, *overrides: str) -> RunReport:
    asked = read(str(left.manifest), overrides, None)
    dataset = Dataset.find(Folder(Path(asked.manifest.output.path)))
    assert dataset is not None
    return unfinished_report(
        asked, dataset, left.home, error, run_id="r", began_at=BEGAN_AT, now=BEGAN_AT + 90
    )


def test_the_ledger_tells_what_the_run_can_not(tmp_path: Path) -> None:
    left = Prepared(folder=tmp_path, videos=("old", "sent", "new", "short"), short=("short",))
    old = left.carry("old", State.SUBMITTING, State.PROCESSING, at=BEGAN_AT - 999, task="t1")
    left.charge(old, BEGAN_AT - 999, 60.0)
    sent = left.carry("sent", State.SUBMITTING, State.PROCESSING, at=BEGAN_AT + 1, task="t2")
    left.charge(sent, BEGAN_AT + 1, 60.0)

    report = report_of(left, SignalledError(15), "budget.price_per_minute=0.042")

    assert (report.submitted, report.submitted_sec, report.cost) == (1, 60.0, 0.042)
    assert {video.video.video_id: video.outcome for video in report.videos} == {
        "old": Outcome.PENDING,
        "sent": Outcome.PENDING,
        "new": Outcome.PENDING,
        "short": Outcome.REJECTED,
    }
    assert report.exit_code is ExitCode.TERMINATED
    assert report.halted == "stopped at once; run again to go on"
    assert report.wall_s == 90


def test_a_ledger_that_is_the_trouble_itself_is_not_asked(tmp_path: Path) -> None:
    left = Prepared(folder=tmp_path)
    left.home.ledger.write_bytes(b"no database" * 1000)

    report = report_of(left, LedgerError("it is damaged"))

    assert report.submitted == 0
    assert [video.outcome for video in report.videos] == [Outcome.PENDING]
    assert report.exit_code is ExitCode.IO


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError(status_code=401), ExitCode.NO_PERMISSION),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (ZeroDivisionError("division by zero"), ExitCode.UNEXPECTED),
    ],
    ids=["key", "interrupt", "defect"],
)
def test_the_report_has_the_code_that_the_process_ends_with(
    tmp_path: Path, error: BaseException, code: ExitCode
) -> None:
    report = report_of(Prepared(folder=tmp_path), error)

    assert report.exit_code is code
    assert report.halted


def test_without_a_format_errors_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    boundary = Boundary(["run", "m.yaml"], {"TWELVELABS_API_KEY": "tlk_secret"})

    assert boundary.failed(UsageError("bad \x1b[2J key tlk_secret")) is ExitCode.USAGE
    assert boundary.interrupted() is ExitCode.INTERRUPTED

    assert capsys.readouterr().err.splitlines() == [
        "batchembed: bad \\x1b[2J key (key)",
        "batchembed: interrupted",
    ]


def test_a_defect_shows_its_traceback_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    boundary = Boundary(["run", "m.yaml"], {"TWELVELABS_API_KEY": "tlk_secret"})
    try:
        raise ZeroDivisionError("of https://h.example/a.mp4?X-Amz-Signature=abc by tlk_secret")
    except ZeroDivisionError:
        assert boundary.defect() is ExitCode.UNEXPECTED

    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "please report" in told
    assert "https://h.example/a.mp4 by (key)" in told
    assert "abc" not in told


@pytest.mark.parametrize(
    "argv", [["run", "--log-format", "json"], ["run", "--log-format=json"]], ids=["two", "one"]
)
def test_in_lines_a_wrong_command_line_is_a_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    boundary = Boundary(argv, {})

    assert boundary.misused(click.UsageError("no such option")) is ExitCode.USAGE
    assert boundary.interrupted() is ExitCode.INTERRUPTED

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"], first["exit_code"]) == ("error", "no such option", 2)
    assert second["exit_code"] == 130

"""Standard output and standard error that can't be written end nothing."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from batchembed.cli.boundary import Boundary
from batchembed.cli.streams import Guarded, guarded_streams
from batchembed.errors import ExitCode
from tests.support.streams import Full, Gone


@pytest.fixture
def nowhere() -> Iterator[TextIO]:
    with Path(os.devnull).open("w", encoding="utf-8") as stream:
        yield stream


def test_what_can_be_written_is() -> None:
    stream = io.StringIO()
    guarded = Guarded(stream, io.StringIO())

    assert guarded.write("one") == 3
    guarded.flush()

    assert stream.getvalue() == "one"
    assert guarded.failure is None


def test_after_a_failure_nothing_more_is_tried(nowhere: TextIO) -> None:
    guarded = Guarded(Full(), nowhere)

    for _ in range(2):
        assert guarded.write("lost") == 4
        guarded.flush()

    assert guarded.failure is not None
    assert guarded.failure.strerror == "No space left on device"


def test_what_is_in_the_buffer_does_not_fail_again_at_the_end(nowhere: TextIO) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        guarded = Guarded(stream, nowhere)
        guarded.write("lost")
        guarded.flush()

    assert guarded.failure is not None


def test_a_reader_that_has_gone_is_no_failure(nowhere: TextIO) -> None:
    guarded = Guarded(Gone(), nowhere)

    guarded.write("nobody reads this")
    guarded.write("nor this")

    assert guarded.failure is None


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("absent", [None, closed()], ids=["none", "closed"])
def test_a_stream_that_there_is_not_takes_everything(
    monkeypatch: pytest.MonkeyPatch, absent: TextIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", absent)
    monkeypatch.setattr(sys, "stderr", absent)

    with guarded_streams() as out:
        for stream in (sys.stdout, sys.stderr):
            stream.write("to nobody")
            stream.flush()

    assert out.failure is None
    assert sys.stdout is absent
    assert sys.stderr is absent


@pytest.mark.parametrize(
    ("came_to", "code"),
    [
        (ExitCode.OK, ExitCode.IO),
        (ExitCode.DIFFERENCE, ExitCode.IO),
        (ExitCode.INCOMPLETE, ExitCode.IO),
        (ExitCode.NO_PERMISSION, ExitCode.NO_PERMISSION),
        (ExitCode.TERMINATED, ExitCode.TERMINATED),
    ],
)
def test_an_answer_that_is_lost_counts_unless_something_graver_happened(
    capsys: pytest.CaptureFixture[str], came_to: ExitCode, code: ExitCode
) -> None:
    failure = OSError(28, "No space left on device")

    assert Boundary(["status"], {}).unanswered(failure, came_to) is code

    (line,) = capsys.readouterr().err.splitlines()
    assert "standard output: No space left on device" in line

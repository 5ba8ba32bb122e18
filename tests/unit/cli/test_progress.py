"""What a run shows while it goes on."""

from __future__ import annotations

import io

from rich.console import Console

from batchembed.cli.progress import Lines, Terminal
from batchembed.core.outcome import Outcome
from batchembed.core.states import State
from batchembed.runner.listen import Ended, Event, Moved, Published, Started, Warned

EVENTS: list[Event] = [
    Started(videos=4, committed=1, owed=0, unread=3),
    Moved(video_id="a", state=State.PROCESSING, task_id="t1"),
    Moved(video_id="b", state=State.SUBMITTING, task_id=None),
    Ended(video_id="c", outcome=Outcome.COMMITTED, why=None, rows=7, duration_sec=40.0),
    Ended(video_id="d\x1b[2J", outcome=Outcome.FAILED, why="torn", rows=0, duration_sec=None),
    Published(number=2, rows=1234, parts=3),
    Warned(message="the service answered 429"),
]


def test_elsewhere_than_at_a_terminal_each_event_is_a_line() -> None:
    stream = io.StringIO()
    lines = Lines(stream)

    for event in EVENTS:
        lines.notice(event)

    assert stream.getvalue().splitlines() == [
        "4 videos: 1 committed before, 0 to do, 3 new files to look at",
        "a: processing task t1",
        "b: submitting",
        "c: 7 rows",
        "d\\x1b[2J: failed: torn",
        "published record 2: 1234 rows in 3 parts",
        "warning: the service answered 429",
    ]


def test_a_terminal_shows_states_rate_time_left_and_the_last_failures() -> None:
    now: list[float] = [0.0]
    said: list[str] = []
    shown = Terminal(clock=lambda: now[0], say=said.append)
    for event in EVENTS:
        shown.notice(event)
    shown.notice(
        Ended(video_id="e", outcome=Outcome.REJECTED, why="small", rows=0, duration_sec=None)
    )
    now[0] = 30.0

    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(shown.render())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()

    assert said == ["4 videos: 1 committed before, 0 to do, 3 new files to look at"]
    assert "3/4 videos" in text
    assert "7 segments" in text
    assert "2.0 videos/min, 30 s left" in text
    assert (
        "committed 1  failed 1  rejected 1  processing 1  submitting 1  record 2 with 1,234 rows"
        in text
    )
    assert "failed d\\x1b[2J: torn" in text
    assert "the service answered 429" in text


def test_what_needs_no_service_says_nothing_of_the_time_left() -> None:
    now: list[float] = [0.0]
    said: list[str] = []
    shown = Terminal(clock=lambda: now[0], say=said.append)
    shown.notice(Started(videos=1, committed=0, owed=0, unread=1))
    shown.notice(
        Ended(video_id="e", outcome=Outcome.REJECTED, why="small", rows=0, duration_sec=None)
    )
    now[0] = 30.0

    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(shown.render())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()

    assert said == ["1 video: 0 committed before, 0 to do, 1 new file to look at"]
    assert "1/1 video " in text
    assert "videos/min" not in text
    assert "left" not in text

"""What a run shows while it goes on."""

from __future__ import annotations

import io

from rich.console import Console

from batchembed.cli.progress import Lines, Terminal
from batchembed.core.outcome import Outcome
from batchembed.core.states import State
from batchembed.runner.listen import Ended, Event, Moved, Published, Started, Waiting, Warned

EVENTS: list[Event] = [
    Started(videos=4, committed=1, owed=0, unread=3),
    Moved(video_id="a", state=State.PROCESSING, task_id="t1", attempt=1, request_id="r1"),
    Moved(video_id="b", state=State.SUBMITTING, task_id=None, attempt=1, request_id=None),
    Waiting(why="25 requests a minute", seconds=40.0),
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
        "waiting 40 s: 25 requests a minute",
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
        "committed 1  failed 1  rejected 1  processing 1  submitting 1  in flight 2  "
        "record 2 with 1,234 rows"
    ) in text.replace("\n", "")
    assert "waiting 10 s: 25 requests a minute" in text
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


def drawn(shown: Terminal) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(shown.render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_wait_is_shown_until_it_is_over() -> None:
    now: list[float] = [0.0]
    shown = Terminal(clock=lambda: now[0], say=lambda _: None)
    shown.notice(Waiting(why="the service asked for it", seconds=90.0))

    now[0] = 60.0
    assert "waiting 30 s: the service asked for it" in drawn(shown)
    now[0] = 90.0
    assert "waiting" not in drawn(shown)


def test_what_parking_leaves_is_one_line_and_pushes_no_trouble_away() -> None:
    shown = Terminal(clock=lambda: 0.0, say=lambda _: None)
    shown.notice(Warned(message="the disk is nearly full"))
    why = "parked: come back after 2026-11-26 02:10 UTC"
    for n in range(300):
        shown.notice(
            Ended(video_id=f"v{n}", outcome=Outcome.PENDING, why=why, rows=0, duration_sec=None)
        )

    text = drawn(shown)

    assert f"left for later: 300 videos: {why}" in text
    assert "the disk is nearly full" in text
    assert "v17" not in text


def test_no_secret_reaches_the_screen() -> None:
    said: list[str] = []
    shown = Terminal(clock=lambda: 0.0, say=said.append, secrets=("tlk_secret",))
    stream = io.StringIO()
    lines = Lines(stream, secrets=("tlk_secret",))
    leak = "no answer of https://h.example/a.mp4?X-Amz-Signature=abc for key tlk_secret"
    for event in (
        Warned(message=leak),
        Waiting(why=leak, seconds=9.0),
        Ended(video_id="v", outcome=Outcome.FAILED, why=leak, rows=0, duration_sec=None),
    ):
        shown.notice(event)
        lines.notice(event)

    told = drawn(shown) + stream.getvalue()

    assert "h.example/a.mp4" in told
    assert "abc" not in told
    assert "tlk_secret" not in told

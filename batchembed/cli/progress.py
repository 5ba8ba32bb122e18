"""Shows a run while it goes on: live at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TextIO, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchembed.core.outcome import Outcome
from batchembed.core.redact import redacted
from batchembed.core.states import IN_DOUBT, IN_FLIGHT, State
from batchembed.report.moments import length
from batchembed.report.text import many, printable
from batchembed.runner.listen import (
    Ended,
    Event,
    Listener,
    Moved,
    Published,
    Started,
    Waiting,
    Warned,
)


@contextlib.contextmanager
def listener_for(stream: TextIO, *, secrets: tuple[str, ...] = ()) -> Iterator[Listener]:
    """A live table where `stream` is a terminal, else lines."""
    if not stream.isatty():
        yield Lines(stream, secrets=secrets)
        return
    console = Console(file=stream)
    shown = Terminal(clock=time.monotonic, say=console.print, secrets=secrets)
    with Live(get_renderable=shown.render, console=console, refresh_per_second=4, transient=True):
        yield shown


def started_line(event: Started) -> str:
    """The plan in one line, from what is known before anything is read."""
    return event.plan or (
        f"{event.videos} {'video' if event.videos == 1 else 'videos'}: "
        f"{event.committed} committed before, {event.owed} to do, "
        f"{event.unread} new {'file' if event.unread == 1 else 'files'} to look at"
    )


class Lines:
    """One line an event."""

    def __init__(self, stream: TextIO = sys.stderr, *, secrets: tuple[str, ...] = ()) -> None:
        self._stream = stream
        self._secrets = secrets

    def notice(self, event: Event) -> None:
        """Write what happened."""
        match event:
            case Started():
                line = started_line(event)
            case Moved(video_id=video_id, state=state, task_id=task_id):
                line = f"{video_id}: {state}" + (f" task {task_id}" if task_id else "")
            case Waiting(why=why, seconds=seconds):
                line = f"waiting {length(seconds)}: {why}"
            case Ended(video_id=video_id, outcome=Outcome.COMMITTED, rows=rows):
                line = f"{video_id}: {rows} rows"  # it is committed once a record is published
            case Ended(video_id=video_id, outcome=outcome, why=why):
                line = f"{video_id}: {outcome}" + (f": {why}" if why else "")
            case Published(number=number, rows=rows, parts=parts):
                line = f"published record {number}: {rows} rows in {parts} parts"
            case Warned(message=message):
                line = f"warning: {message}"
            case unreachable:
                assert_never(unreachable)
        self._stream.write(printable(redacted(line, *self._secrets)) + "\n")
        self._stream.flush()


class Terminal:
    """Keeps the figures of a run, and draws them."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        say: Callable[[str], None],
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._clock = clock
        self._say = say
        self._secrets = secrets
        self._began = clock()
        self._videos = 0
        self._states: dict[str, State] = {}
        self._outcomes: Counter[Outcome] = Counter()
        self._rows = 0
        self._old = 0
        self._troubles: deque[str] = deque(maxlen=5)
        self._left: Counter[str] = Counter()
        self._waiting = ""
        self._waits_until = 0.0
        self._record = ""

    def notice(self, event: Event) -> None:
        """Take the event into the figures."""
        match event:
            case Started(videos=videos, committed=committed):
                self._videos, self._old = videos, committed
                self._say(started_line(event))
            case Moved(video_id=video_id, state=state):
                self._states[video_id] = state
            case Waiting(why=why, seconds=seconds):
                self._waiting, self._waits_until = why, self._clock() + seconds
            case Ended():
                self._end(event)
            case Published(number=number, rows=rows):
                self._record = f"record {number} with {rows:,} rows"
            case Warned(message=message):
                self._troubles.append(message)
            case unreachable:
                assert_never(unreachable)

    def _end(self, event: Ended) -> None:
        self._states.pop(event.video_id, None)
        self._outcomes[event.outcome] += 1
        self._rows += event.rows
        if event.outcome is Outcome.PENDING:
            self._left[event.why or "not ended"] += 1
        elif event.outcome in {Outcome.REJECTED, Outcome.FAILED}:
            self._troubles.append(f"{event.outcome} {event.video_id}: {event.why or ''}")

    def render(self) -> Group:
        """The figures as they are now."""
        ended = self._outcomes.total()
        # A rejection takes no time: it says nothing of how fast the rest will go.
        carried = self._outcomes[Outcome.COMMITTED] + self._outcomes[Outcome.FAILED] - self._old
        now = self._clock()
        figures = Table.grid(padding=(0, 2))
        figures.add_row(
            ProgressBar(total=max(1, self._videos), completed=ended, width=30),
            f"{ended}/{self._videos} {'video' if self._videos == 1 else 'videos'}",
            f"{self._rows:,} segments",
            _left(carried, self._videos - ended, now - self._began),
        )
        return Group(figures, Text(self._told()), *self._notes(now))

    def _told(self) -> str:
        states = Counter(self._states.values())
        told = [f"{outcome} {n}" for outcome, n in self._outcomes.items()]
        told += [f"{state} {n}" for state, n in states.items()]
        in_flight = sum(states[state] for state in IN_DOUBT | IN_FLIGHT)
        if in_flight:
            told.append(f"in flight {in_flight}")
        if self._record:
            told.append(self._record)
        return "  ".join(told)

    def _notes(self, now: float) -> Iterator[Text]:
        """Why nothing is submitted, what is left for later, and the last troubles."""
        if self._waits_until > now:
            yield self._note(
                f"waiting {length(self._waits_until - now)}: {self._waiting}", "yellow"
            )
        for why, n in self._left.most_common(3):
            yield self._note(f"left for later: {many(n, 'video')}: {why}", "yellow")
        for trouble in self._troubles:
            yield self._note(trouble, "red")

    def _note(self, words: str, style: str) -> Text:
        return Text(printable(redacted(words, *self._secrets)), style=style, overflow="ellipsis")


def _left(done: int, open_: int, elapsed_s: float) -> str:
    if done <= 0 or elapsed_s <= 0:
        return f"{elapsed_s:.0f} s"
    return f"{done / elapsed_s * 60:.1f} videos/min, {open_ * elapsed_s / done:.0f} s left"

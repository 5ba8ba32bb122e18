"""What a run says of itself on standard error: lines for a person, or JSON for a machine.

Every line passes the same two gates: what may be secret is cut, and no character moves a terminal.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO, assert_never

import msgspec

from batchembed.api.options import ApiKey
from batchembed.cli.progress import listener_for
from batchembed.core.outcome import Outcome
from batchembed.core.redact import redacted
from batchembed.core.run_report import RunReport
from batchembed.errors import BatchembedError, ExitCode
from batchembed.report.moments import rfc3339
from batchembed.report.text import printable
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

#: Outcomes that a person should look at.
_BAD = {Outcome.REJECTED, Outcome.FAILED}
#: Ends that are no errors: of some videos, or until the next run.
_ENDS = {ExitCode.INCOMPLETE, ExitCode.AGAIN, ExitCode.INTERRUPTED, ExitCode.TERMINATED}


class Log(Protocol):
    """Where a run's words go."""

    def tell(self, message: str, *, level: str = "info", event: str = "note") -> None:
        """Say something that is no event of the run's loop."""
        ...

    def hide(self, key: ApiKey | None) -> None:
        """Cut this key from whatever is said from now on."""
        ...

    def listening(self) -> contextlib.AbstractContextManager[Listener]:
        """Somebody who tells the run's events."""
        ...

    def telling_errors(self) -> contextlib.AbstractContextManager[None]:
        """Tell the error that ends the block, where nobody else does."""
        ...

    def finish(self, report: RunReport) -> None:
        """Tell how the run ended, where nobody else does on this stream."""
        ...


def log_to(stream: TextIO, log_format: str, run_id: str) -> Log:
    """The log of a run, in the format that was asked for."""
    if log_format == "json":
        return JsonLog(stream, run_id=run_id, clock=time.time)
    return HumanLog(stream)


class HumanLog:
    """Lines for a person, or a live table at a terminal. Errors are told by the command's boundary."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._secrets: tuple[str, ...] = ()

    def tell(self, message: str, *, level: str = "info", event: str = "note") -> None:
        """One line, its kind before it."""
        kind = event if level == "info" else level
        line = f"{kind}: {redacted(message, *self._secrets)}"
        self._stream.write(printable(line) + "\n")
        self._stream.flush()

    def hide(self, key: ApiKey | None) -> None:
        """Cut this key from what is said."""
        self._secrets = () if key is None else (key.reveal(),)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """A live table where the stream is a terminal, else a line an event."""
        with listener_for(self._stream, secrets=self._secrets) as listener:
            yield listener

    @contextlib.contextmanager
    def telling_errors(self) -> Iterator[None]:
        """Nothing is told here."""
        yield

    def finish(self, report: RunReport) -> None:
        """Nothing is told here: a person reads the summary."""


class JsonLog:
    """One JSON object a line, and nothing else: also what libraries warn of."""

    def __init__(self, stream: TextIO, *, run_id: str | None, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._run_id = run_id
        self._clock = clock
        self._secrets: tuple[str, ...] = ()
        self._encoder = msgspec.json.Encoder()

    def tell(self, message: str, *, level: str = "info", event: str = "note") -> None:
        """One line."""
        self.line(level, event, message=message)

    def hide(self, key: ApiKey | None) -> None:
        """Cut this key from what is said."""
        self._secrets = () if key is None else (key.reveal(),)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """This log itself; what Python's own logging warns of comes in its lines too."""
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        shown = warnings.showwarning
        logging.captureWarnings(capture=True)
        try:
            yield self
        finally:
            logging.captureWarnings(capture=False)
            warnings.showwarning = shown
            root.removeHandler(handler)

    @contextlib.contextmanager
    def telling_errors(self) -> Iterator[None]:
        """Tell whatever ends the block: the command's boundary says nothing in this format."""
        try:
            yield
        except BatchembedError as error:
            self.line("error", "error", message=str(error), exit_code=int(error.exit_code))
            raise
        except Exception as error:  # only told here, with the run's id; it goes on to the boundary
            self.line(
                "error",
                "defect",
                message=f"this is a defect of batchembed: please report it: {error}",
                exit_code=int(ExitCode.UNEXPECTED),
                traceback=traceback.format_exc(),
            )
            raise

    def finish(self, report: RunReport) -> None:
        """The warnings that are in the report alone, and a line of figures."""
        for warning in report.warnings:
            self.line("warning", "warned", message=warning)
        parked = report.parked
        self.line(
            _level(report.exit_code),
            "finished",
            message=report.halted if parked is None else parked.why,
            exit_code=int(report.exit_code),
            parked_until=None if parked is None or parked.until is None else rfc3339(parked.until),
            submitted=report.submitted,
            rows=report.rows,
            wall_s=report.wall_s,
            **{str(outcome): n for outcome, n in report.counts.items()},
        )

    def notice(self, event: Event) -> None:
        """One line for an event of the run."""
        match event:
            case Started(videos=videos, committed=committed, owed=owed, unread=unread, plan=plan):
                self.line(
                    "info",
                    "started",
                    videos=videos,
                    committed=committed,
                    owed=owed,
                    unread=unread,
                    message=plan,
                )
            case Moved():
                self.line(
                    "info",
                    "moved",
                    video_id=event.video_id,
                    task_id=event.task_id,
                    request_id=event.request_id,
                    state=str(event.state),
                    attempt=event.attempt,
                )
            case Waiting(why=why, seconds=seconds):
                self.line("info", "waiting", message=why, seconds=seconds)
            case Ended():
                self.line(
                    "warning" if event.outcome in _BAD else "info",
                    "ended",
                    video_id=event.video_id,
                    outcome=str(event.outcome),
                    message=event.why,
                    rows=event.rows,
                    duration_sec=event.duration_sec,
                )
            case Published(number=number, rows=rows, parts=parts):
                self.line("info", "published", record=number, rows=rows, parts=parts)
            case Warned(message=message):
                self.line("warning", "warned", message=message)
            case unreachable:
                assert_never(unreachable)

    def line(self, level: str, event: str, **fields: str | float | None) -> None:
        """Write one line: fields that have no value are left out, but for the run's id."""
        told: dict[str, str | float | None] = {
            "time": rfc3339(self._clock()),
            "level": level,
            "run_id": self._run_id,
            "event": event,
        }
        for name, value in fields.items():
            if isinstance(value, str):
                told[name] = printable(redacted(value, *self._secrets))
            elif value is not None:
                told[name] = value
        self._stream.write(self._encoder.encode(told).decode() + "\n")
        self._stream.flush()


def _level(code: ExitCode) -> str:
    """Of the line that a run ends with."""
    if code is ExitCode.OK:
        return "info"
    return "warning" if code in _ENDS else "error"


class _Handler(logging.Handler):
    """Python's own log records from WARNING on, as lines of ours."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line; the name of the library stands with it."""
        self._log.line(
            record.levelname.lower(), "library", message=record.getMessage(), library=record.name
        )

"""One worker process, seen from its parent: started, asked, and ended by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from batchembed.core.problems import Reason
from batchembed.engine.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.messages import (
    Failed,
    ProtocolError,
    embedded,
    read_answer,
    read_greeting,
    send_request,
)

T = TypeVar("T")

#: How long a worker may take to load the model; a fifth of a second is usual.
START_DEADLINE_S = 60.0
#: How long a worker that has closed its socket may take to end before it is killed.
_END_GRACE_S = 5.0
_LONGEST_LINE = 300
_ROOT = Path(__file__).resolve().parents[2]
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")

COMMAND = (sys.executable, "-P", "-m", "batchembed.engine.worker")


class Child:
    """A worker process. Not for use in two threads at once, but for `kill`."""

    def __init__(self, command: Sequence[str], memory_bytes: int) -> None:
        """Start it; `command` is called with socket, memory limit and parent as arguments.

        Raises:
            OSError: it can't be started.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._connection, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603  the command is ours
                [*command, str(theirs.fileno()), str(memory_bytes), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                cwd="/",
                env=_environment(),
                process_group=0,  # a terminal's Ctrl-C is for the parent, which drains
            )
        except BaseException:
            self._connection.close()
            self._errors.close()
            raise
        finally:
            theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def embed(self, descriptor: int, plan: EmbedPlan, deadline_s: float) -> Embedded:
        """Have the video in an open file embedded.

        Raises:
            EmbedFailed: the video failed, or the process did, as the reason says. Either way this
                child is of no more use.
        """
        if not self._ready:
            with self._guarded(START_DEADLINE_S, "while starting"):
                _raise_failure(read_greeting(self._connection))
            self._ready = True
        with self._guarded(deadline_s, "while embedding"):
            send_request(self._connection, plan, descriptor)
            return embedded(_raise_failure(read_answer(self._connection)))

    @contextmanager
    def _guarded(self, deadline_s: float, when: str) -> Iterator[None]:
        """Give what happens inside a deadline, and turn what goes wrong into the video's failure."""
        self._connection.settimeout(deadline_s)
        try:
            yield
        except TimeoutError:
            self.kill()
            raise EmbedFailed(_deadline(deadline_s)) from None
        except (ProtocolError, OSError) as error:
            raise EmbedFailed(self._crash(error, when)) from error

    def _crash(self, error: Exception, when: str) -> Reason:
        """How the process ended, which is known a moment after its socket has closed."""
        status = self.end()
        if status is None:
            how = f"broke off ({error})"
        elif status < 0:
            how = f"died by {_signal_name(-status)}"
        else:
            how = f"ended with exit code {status} ({error})"
        said = self._last_words()
        return Reason(
            code="worker_crashed",
            message=f"the worker {how} {when}" + (f": {said}" if said else ""),
            value=status,
            hint="the other videos are not affected; if it happens again, re-encode this one",
        )

    def _last_words(self) -> str:
        """The last line that the process wrote to its standard error, if any."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_LONGEST_LINE] if lines else ""

    @property
    def alive(self) -> bool:
        """Whether the process runs: one that was killed while idle fails nobody's video."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; `end` is still to be called. Any thread may call it."""
        self._process.kill()

    def end(self) -> int | None:
        """Close the connection, wait, and kill what does not end. May be called again.

        Returns:
            The exit status where the process ended by itself, negative for a signal; else None.
        """
        self._connection.close()
        try:
            return self._process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def close(self) -> None:
        """End it and give everything back."""
        self.end()
        self._errors.close()


def _raise_failure(answer: T | Failed) -> T:
    if isinstance(answer, Failed):
        raise EmbedFailed(answer.reason)
    return answer


def _environment() -> dict[str, str]:
    """What a worker needs and no more: keys of services are none of its business."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": str(_ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # address space is what is limited, and each arena reserves some
    }


def _signal_name(number: int) -> str:
    """SIGSEGV, or a number where the signal has no name, as real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _deadline(seconds: float) -> Reason:
    return Reason(
        code="worker_deadline",
        message=f"the worker was ended after {seconds:g} s without an answer",
        value=seconds,
        limit=seconds,
        hint="re-encode the video, or embed it in windows",
    )

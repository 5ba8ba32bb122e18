"""One process that opens videos, seen from its parent: started, asked, and ended by its own id."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from batchembed.core.problems import Reason
from batchembed.engine.workers.messages import (
    Failed,
    ProtocolError,
    Request,
    Result,
    read_answer,
    read_greeting,
    send_request,
)
from batchembed.engine.workers.sandbox import Confinement

T = TypeVar("T")

#: How long a process may take to load what it needs; a third of a second is usual.
START_DEADLINE_S = 60.0
#: How long a worker that has closed its socket may take to end before it is killed.
_END_GRACE_S = 5.0
_LONGEST_LINE = 300
#: Of what a process says of one video; what comes then is not kept.
_MAX_SAID_BYTES = 1 << 20
_TAIL_BYTES = 4096
_ROOT = Path(__file__).resolve().parents[3]
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


def command_of(module: str) -> tuple[str, ...]:
    """What starts a module of the package, or of its tests, as a child."""
    return (sys.executable, "-P", "-m", module)


class ChildError(Exception):
    """A process failed at what it was asked, as `reason` says. It is of no more use."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


class StartError(ChildError):
    """It failed before it was asked anything, which tells nothing of the video."""


class Child:
    """A process of ours. Not for use in two threads at once, but for `kill`."""

    def __init__(
        self,
        command: Sequence[str],
        memory_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it; `command` is called with socket, memory limit and parent as arguments.

        Raises:
            OSError: it can't be started.
        """
        self._clock = clock
        self._errors = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed with the child
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
        if sys.platform == "linux":  # it writes no other file
            with contextlib.suppress(OSError):  # it has ended, or has a lower limit already
                resource.prlimit(
                    self._process.pid, resource.RLIMIT_FSIZE, (_MAX_SAID_BYTES, _MAX_SAID_BYTES)
                )
        #: Which means of the kernel confine it; None until it has greeted.
        self.confinement: Confinement | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(
        self,
        request: Request,
        descriptor: int,
        deadline_s: float,
        understand: Callable[[Result], T],
    ) -> T:
        """Have the video in an open file worked on.

        Args:
            request: what is asked.
            descriptor: of the file, at its start.
            deadline_s: how long the answer may take; starting is not in it.
            understand: reads the answer; may raise `ProtocolError`.

        Raises:
            StartError: the process did not start.
            ChildError: the video failed, or the process did, as the reason says.
        """
        if self.confinement is None:
            with self._guarded(START_DEADLINE_S, "while starting", StartError) as remaining_s:
                greeting = read_greeting(self._connection, remaining_s)
                if isinstance(greeting, Failed):
                    raise StartError(greeting.reason)
            self.confinement = greeting.confinement
        with self._guarded(deadline_s, "while at work", ChildError) as remaining_s:
            send_request(self._connection, request, descriptor)
            answer = read_answer(self._connection, remaining_s)
            if isinstance(answer, Failed):
                raise ChildError(answer.reason)
            understood = understand(answer)
        self._forget_words()
        return understood

    @contextlib.contextmanager
    def _guarded(
        self, deadline_s: float, when: str, kind: type[ChildError]
    ) -> Iterator[Callable[[], float]]:
        """Tell what happens inside how long it may still take, and turn what goes wrong into an error."""
        ends_at = self._clock() + deadline_s
        self._connection.settimeout(deadline_s)
        try:
            yield lambda: ends_at - self._clock()
        except TimeoutError:
            self.kill()
            raise kind(_deadline(deadline_s)) from None
        except (ProtocolError, OSError) as error:
            raise kind(self._crash(error, when)) from error

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
        self._errors.seek(max(0, self.said_bytes - _TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_LONGEST_LINE] if lines else ""

    def _forget_words(self) -> None:
        """Begin its standard error anew; both processes write and read at one position."""
        self._errors.truncate(0)
        self._errors.seek(0)

    @property
    def said_bytes(self) -> int:
        """How much is kept of what it wrote to its standard error since its last answer."""
        return os.fstat(self._errors.fileno()).st_size

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

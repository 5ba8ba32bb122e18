"""A process that imports the command once, and forks a child for each run of it.

So a run begins within milliseconds, and a kill costs little more than what it undoes.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import importlib
import os
import selectors
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.support.steps import Bent, bend

#: The installed command.
COMMAND = str(Path(sys.executable).with_name("batchembed"))


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To be sent to a run now."""

    number: int
    signal: int


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One run. `signals` are (seconds after its start, number); after `limit_s` it is killed."""

    number: int
    argv: tuple[str, ...]
    folder: str
    env: dict[str, str]
    out: str
    err: str
    signals: tuple[tuple[float, int], ...] = ()
    limit_s: float = 60.0
    installed: bool = False
    bent: Bent = Bent()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended; `late` says that it was killed for its time."""

    number: int
    code: int
    wall_s: float
    late: bool


@dataclass(slots=True, kw_only=True)
class _Child:
    number: int
    handle: int  #: a descriptor of the process: no other ever has it, as one could have its number
    began: float
    late: bool = False


class _Server:
    """The launcher's own process: one thread, so that it may fork."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        self._signals: list[tuple[float, int, int]] = []

    def serve(self) -> None:
        """Take orders until there are no more; who still runs then is killed."""
        orders = self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        taking, rest = True, b""
        while taking or self._children:
            for key, _ in self._selector.select(self._next_s()):
                if key.fd != orders.fd:
                    self._reap(key.data)
                    continue
                chunk = os.read(key.fd, 1 << 16)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._obey(msgspec.json.decode(line, type=Order | Signal))
                if not chunk:
                    taking = False
                    self._selector.unregister(key.fd)
                    for child in self._children.values():
                        signal.pidfd_send_signal(child.handle, signal.SIGKILL)
            self._send_due()

    def _next_s(self) -> float | None:
        return max(0.0, self._signals[0][0] - time.monotonic()) if self._signals else None

    def _obey(self, order: Order | Signal) -> None:
        if isinstance(order, Order):
            self._fork(order)
            return
        for child in self._children.values():
            if child.number == order.number:
                signal.pidfd_send_signal(child.handle, order.signal)

    def _fork(self, order: Order) -> None:
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _be(order)
        handle = os.pidfd_open(pid)
        child = _Child(number=order.number, handle=handle, began=began)
        self._children[pid] = child
        self._selector.register(handle, selectors.EVENT_READ, data=pid)
        for after_s, number in (*order.signals, (order.limit_s, 0)):
            heapq.heappush(self._signals, (began + after_s, pid, number))

    def _send_due(self) -> None:
        while self._signals and self._signals[0][0] <= time.monotonic():
            _, pid, number = heapq.heappop(self._signals)
            child = self._children.get(pid)
            if child is None:
                continue
            child.late = child.late or number == 0
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.handle, number or signal.SIGKILL)

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        child = self._children.pop(pid)
        self._signals = [due for due in self._signals if due[1] != pid]
        heapq.heapify(self._signals)
        self._selector.unregister(child.handle)
        os.close(child.handle)
        told = Told(
            number=child.number,
            code=os.waitstatus_to_exitcode(status),
            wall_s=time.monotonic() - child.began,
            late=child.late,
        )
        os.write(sys.stdout.fileno(), msgspec.json.encode(told) + b"\n")


def _be(order: Order) -> None:
    """Be the run; does not return."""
    code = 70
    try:
        os.setsid()
        os.chdir(order.folder)
        for path, descriptor in (("/dev/null", 0), (order.out, 1), (order.err, 2)):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, descriptor)
            os.close(opened)
        os.closerange(3, 256)
        if order.installed:
            os.execve(COMMAND, [COMMAND, *order.argv], order.env)  # noqa: S606  no shell is wanted
        os.environ.clear()
        os.environ.update(order.env)
        ended = bend(order.bent)
        from batchembed.cli.main import main  # noqa: PLC0415  after it was bent

        code = main(order.argv)
        ended()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  nothing may go on in a copy of the launcher
        traceback.print_exc()
    finally:
        os._exit(code)


def _warm_up() -> None:
    """Import what every run does."""
    for name in (
        "anyio._backends._asyncio",
        "batchembed.cli.main",
        "batchembed.cli.run",
        "batchembed.media.probe",
        "encodings.idna",
        "httpcore",
        "pyarrow.dataset",
        "pyarrow.parquet",
    ):
        importlib.import_module(name)
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    print("ready", flush=True)  # noqa: T201  to whoever started it
    _Server().serve()

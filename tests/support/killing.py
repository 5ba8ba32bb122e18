"""Runs of the command that are killed. Each begins within milliseconds: see `tests.support.forking`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
import trustme

from tests.support.forking import Order, Signal, Told
from tests.support.steps import Bent

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run at its end: its exit code, or minus the signal that killed it."""

    number: int
    code: int
    out: str
    err: str
    began_at: float  #: seconds since 1970
    wall_s: float
    late: bool

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL and not self.late


class Launcher:
    """Starts runs of the command. Use it as a context manager."""

    def __init__(self, folder: Path, *, inside: Sequence[str] = ()) -> None:
        """Start nothing yet.

        Args:
            folder: for what the runs print.
            inside: a command that runs the launcher, such as one that gives it namespaces.
        """
        self._folder = folder
        self._inside = inside
        self._started: dict[int, float] = {}
        self._ended: dict[int, Ended] = {}  #: that nobody has waited for yet

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        trustme.CA().cert_pem.write_to_path(str(self._authorities))
        self._process = subprocess.Popen(
            [*self._inside, sys.executable, "-m", "tests.support.forking"],
            cwd=_ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if self._output.readline() != b"ready\n":
            raise AssertionError("the launcher did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._input.close()
        self._process.wait(timeout=30)
        self._output.close()

    @property
    def pid(self) -> int:
        """Of the process that forks."""
        return self._process.pid

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def run(self, argv: Sequence[str], **more: Any) -> Ended:
        """One run, from its start to its end; `more` is what `start` takes."""
        return self.wait(self.start(argv, **more))

    def start(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        signals: Sequence[tuple[float, int]] = (),
        limit_s: float = 60.0,
        installed: bool = False,
        bent: Bent = Bent(),  # noqa: B008  a frozen value
    ) -> int:
        """Begin a run in `folder`; gives its number."""
        number = len(self._started)
        for name in ("out", "err"):  # a run can be killed before it opens them
            self._path(number, name).touch()
        order = Order(
            number=number,
            argv=tuple(argv),
            folder=str(folder),
            env={**env, "SSL_CERT_FILE": str(self._authorities)},
            out=str(self._path(number, "out")),
            err=str(self._path(number, "err")),
            signals=tuple(signals),
            limit_s=limit_s,
            installed=installed,
            bent=bent,
        )
        self._started[number] = time.time()
        self._tell(order)
        return number

    def kill(self, number: int) -> Ended:
        """Kill a run; it, at its end."""
        self._tell(Signal(number=number, signal=signal.SIGKILL))
        return self.wait(number)

    def _tell(self, order: Order | Signal) -> None:
        self._input.write(msgspec.json.encode(order) + b"\n")
        self._input.flush()

    def wait(self, number: int | None = None) -> Ended:
        """The run of that number at its end, or the next that ends."""
        while number not in self._ended:
            told = msgspec.json.decode(self._output.readline(), type=Told)
            out, err = (self._path(told.number, name) for name in ("out", "err"))
            self._ended[told.number] = Ended(
                number=told.number,
                code=told.code,
                out=out.read_text(encoding="utf-8", errors="replace"),
                err=err.read_text(encoding="utf-8", errors="replace"),
                began_at=self._started[told.number],
                wall_s=told.wall_s,
                late=told.late,
            )
            if number is None:
                return self._ended.pop(told.number)
        return self._ended.pop(number)

    @property
    def _authorities(self) -> Path:
        """One certificate, which is never used. To read the usual hundred takes half of a run."""
        return self._folder / "authorities.pem"

    def _path(self, number: int, name: str) -> Path:
        return self._folder / f"{number}.{name}"

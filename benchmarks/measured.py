"""A command in a process of its own, and what it took."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a process and its children took. Memory is of the largest of them, at its peak."""

    exit_code: int
    cpu_s: float  #: user and system
    wall_s: float
    peak_bytes: int


def measured(
    command: Sequence[str | Path], *, env: Mapping[str, str], output: Path, limit_s: float
) -> Measured:
    """Run a command to its end, its output into a file; it is killed at the limit.

    The peak is no lower than that of this process: Linux counts it from before the `exec`.
    """
    began = time.monotonic()
    with output.open("wb") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
        watchdog = threading.Timer(limit_s, process.kill)
        watchdog.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(
        exit_code=process.returncode,
        cpu_s=used.ru_utime + used.ru_stime,
        wall_s=time.monotonic() - began,
        peak_bytes=used.ru_maxrss << 10,
    )

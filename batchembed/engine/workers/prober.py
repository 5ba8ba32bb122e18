"""Probes strangers' videos in a process of its own: what breaks FFmpeg breaks no server.

The process is a worker without a model, confined as workers are (see `sandbox`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO, Self

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.workers import worker
from batchembed.engine.workers.child import ChildError, StartError, command_of
from batchembed.engine.workers.messages import (
    Found,
    Probe,
    ProtocolError,
    Request,
    Result,
    Unreadable,
    found,
)
from batchembed.engine.workers.pool import MEMORY_BYTES, Children
from batchembed.engine.workers.sandbox import Confinement
from batchembed.media.probe import probe_file
from batchembed.media.unreadable import UnreadableVideoError, broken

DEADLINE_S = 30.0
#: Videos probed at once.
PROCESSES = 2

#: How a process ends at a video that FFmpeg can't stand: the fault is the video's.
_ENDED_BY_VIDEO = frozenset({"worker_crashed", "worker_deadline", "worker_error", "worker_memory"})


class Prober:
    """Finds what is known of videos. Threads may share it; more wait for each other."""

    def __init__(
        self,
        processes: int = PROCESSES,
        *,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int = MEMORY_BYTES,
        command: Sequence[str] | None = None,
    ) -> None:
        """Start no process yet: each begins with its first video.

        Args:
            processes: how many videos are probed at once.
            deadline_s: how long probing one may take.
            memory_bytes: of address space, for each process.
            command: what starts a process; socket, memory and parent are appended.
        """
        self._deadline_s = deadline_s
        self._children = Children(
            processes,
            command=command or command_of("batchembed.engine.workers.prober"),
            memory_bytes=memory_bytes,
        )

    def probe(self, path: str) -> Facts | Reason:
        """Read the headers of a local video and decode its first frame, as `media.probe` does.

        Returns:
            The facts, or why the file can't be used as a video, or why no process could start.

        Raises:
            PoolClosedError: it was closed before, or meanwhile.
        """
        try:
            return self._children.ask(path, Probe(), found, deadline_s=self._deadline_s)
        except (StartError, UnreadableVideoError) as error:
            return error.reason
        except ChildError as error:
            if error.reason.code not in _ENDED_BY_VIDEO:
                return error.reason
            return broken(f"probing it failed: {error.reason.message}").reason

    @property
    def confinement(self) -> Confinement | None:
        """What confined the last process that answered; None before one has."""
        return self._children.confinement

    def pids(self) -> tuple[int, ...]:
        """The processes there are."""
        return self._children.pids()

    def close(self) -> None:
        """End every process, busy or not; whoever still asks gets `PoolClosedError`."""
        self._children.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def prober(probe_one: Callable[[BinaryIO, int], Facts] = probe_file) -> worker.Work:
    """What a process does with each video: it answers `Probe`, and has done so once."""

    def work(file: BinaryIO, request: Request) -> Result:
        if not isinstance(request, Probe):
            raise ProtocolError(f"a process that probes is asked to {type(request).__name__}")
        try:
            return Found(probe_one(file, os.fstat(file.fileno()).st_size))
        except UnreadableVideoError as error:
            if worker.ran_out_of_memory(error):
                raise
            return Unreadable(error.reason)

    probe_one(worker.sample(), 1)
    return work


if __name__ == "__main__":
    raise SystemExit(worker.main(sys.argv[1:], prober))

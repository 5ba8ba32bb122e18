"""Workers, each a process with a thread that watches it: one crash fails one video.

The standard library's pool of processes breaks whole when one of them dies. Here a worker that
crashed, took too long or too much memory, or met a video that it could not embed, is replaced, and
the others never hear of it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from batchembed.core.problems import Reason
from batchembed.engine.child import COMMAND, Child
from batchembed.engine.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.media.identity import open_regular
from batchembed.media.unreadable import UnreadableVideoError

MEMORY_BYTES = 1536 << 20


class PoolClosedError(Exception):
    """The pool was closed before the video was embedded; it may be submitted to another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the file was when it was accepted; another file is not embedded in its place."""

    dev: int
    inode: int
    size_bytes: int
    mtime_ns: int


class WorkerPool:
    """Embeds videos in processes of its own, in the order of submission. Threads may share it."""

    def __init__(
        self,
        workers: int,
        *,
        memory_bytes: int = MEMORY_BYTES,
        command: Sequence[str] | None = None,
    ) -> None:
        """Start no process yet: each begins with its first video.

        Args:
            workers: how many videos are embedded at once.
            memory_bytes: of address space, for each.
            command: what starts a worker; socket, memory and parent are appended.
        """
        if workers < 1:
            raise ValueError(f"a pool of {workers} workers embeds nothing")
        self._memory_bytes = memory_bytes
        self._command = tuple(command or COMMAND)
        self._lock = threading.Lock()  # guards the next two
        self._closed = False
        self._children: dict[int, Child] = {}
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(workers):
            self._slots.put(slot)
        # It starts a thread with the first work for it, and puts whatever ends work in its future.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        """Have the video at `path` embedded.

        Args:
            path: of a regular file.
            plan: what of it.
            deadline_s: how long a worker may take, once it has begun.
            expect: refuse the file if it is not this one.

        Returns:
            A future of the result, or of `EmbedFailed`, or of `PoolClosedError`.

        Raises:
            PoolClosedError: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise PoolClosedError("the pool is closed: nothing more is embedded")
            return self._threads.submit(self._embed, path, plan, deadline_s, expect)

    def pids(self) -> tuple[int, ...]:
        """The processes there are."""
        with self._lock:
            return tuple(child.pid for child in self._children.values())

    def close(self) -> None:
        """End every process, busy or not, and wait for them. What is left gets `PoolClosedError`."""
        with self._lock:
            self._closed = True
            for child in self._children.values():
                child.kill()
        self._threads.shutdown()
        for slot in tuple(self._children):
            self._dismiss(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _embed(
        self, path: str, plan: EmbedPlan, deadline_s: float, expect: Expected | None
    ) -> Embedded:
        slot = self._slots.get()
        try:
            return self._embed_in(slot, path, plan, deadline_s, expect)
        except BaseException as error:
            self._dismiss(slot)  # after any failure the next video gets a process of its own
            if self._closed and isinstance(error, EmbedFailed):
                raise PoolClosedError(
                    "the pool was closed before the video was embedded"
                ) from error
            raise
        finally:
            self._slots.put(slot)

    def _embed_in(
        self, slot: int, path: str, plan: EmbedPlan, deadline_s: float, expect: Expected | None
    ) -> Embedded:
        try:
            with open_regular(path) as file:
                before = _identity(file.fileno())
                if expect is not None and before != expect:
                    raise EmbedFailed(_changed(path, "since it was accepted"))
                embedded = self._child(slot).embed(file.fileno(), plan, deadline_s)
                if _identity(file.fileno()) != before:
                    raise EmbedFailed(_changed(path, "while it was embedded"))
                return embedded
        except UnreadableVideoError as error:
            raise EmbedFailed(error.reason) from error
        except OSError as error:
            raise EmbedFailed(
                Reason(
                    code="worker_start",
                    message=f"no worker can be started: {error.strerror or error}",
                    hint="free memory or processes, or use fewer workers",
                )
            ) from error

    def _child(self, slot: int) -> Child:
        """The slot's process; another one where it has none, or it died while it had no work."""
        with self._lock:
            if self._closed:
                raise PoolClosedError("the pool is closed")
            child = self._children.get(slot)
            if child is not None and child.alive:
                return child
            if child is not None:
                child.close()
            self._children[slot] = Child(self._command, self._memory_bytes)
            return self._children[slot]

    def _dismiss(self, slot: int) -> None:
        with self._lock:
            child = self._children.pop(slot, None)
        if child is not None:
            child.close()


def _identity(descriptor: int) -> Expected:
    found = os.fstat(descriptor)
    return Expected(
        dev=found.st_dev, inode=found.st_ino, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns
    )


def _changed(path: str, when: str) -> Reason:
    return Reason(
        code="video_file_changed",
        message=f"the file {path} has changed {when}",
        hint="wait until it is written, then run again",
    )

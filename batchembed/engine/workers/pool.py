"""Processes that open videos, and a pool of those that embed: one crash fails one video.

The standard library's pool of processes breaks whole when one of them dies. Here a process that
crashed, took too long or too much memory, or met a video that it could not embed, is replaced, and
the others never hear of it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from batchembed.core.problems import Reason
from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.workers.child import Child, ChildError, StartError, command_of
from batchembed.engine.workers.messages import Embed, Request, Result, embedded
from batchembed.engine.workers.sandbox import Confinement
from batchembed.media.identity import open_regular
from batchembed.media.unreadable import UnreadableVideoError

MEMORY_BYTES = 1536 << 20

T = TypeVar("T")


class PoolClosedError(Exception):
    """The processes were closed before the video was worked on; another pool may take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the file was when it was accepted; another file is not embedded in its place."""

    dev: int
    inode: int
    size_bytes: int
    mtime_ns: int


class Children:
    """Some processes of one kind, each with one video at a time. Threads may share it."""

    def __init__(self, count: int, *, command: Sequence[str], memory_bytes: int) -> None:
        """Start no process yet: each begins with its first video.

        Args:
            count: how many videos are worked on at once.
            command: what starts a process; socket, memory and parent are appended.
            memory_bytes: of address space, for each.
        """
        self._command, self._memory_bytes = tuple(command), memory_bytes
        self._lock = threading.Lock()  # guards the next two
        self._closed = False
        self._children: dict[int, Child] = {}
        self._count = count
        # The last one first: the process that has just been used is there already.
        self._slots: queue.LifoQueue[int] = queue.LifoQueue()
        for slot in range(count):
            self._slots.put(slot)
        #: What confined the last process that answered; None before one has.
        self.confinement: Confinement | None = None

    def ask(
        self,
        path: str,
        request: Request,
        understand: Callable[[Result], T],
        *,
        deadline_s: float,
        expect: Expected | None = None,
    ) -> T:
        """Have the video at `path` worked on, as soon as a process is free.

        Args:
            path: of a regular file.
            request: what is asked.
            understand: reads the answer; may raise `ProtocolError`.
            deadline_s: how long a process may take, once it has begun.
            expect: refuse the file if it is not this one.

        Raises:
            UnreadableVideoError: the file can't be opened.
            StartError: no process can be started.
            ChildError: the video failed.
            PoolClosedError: it was closed before, or meanwhile.
        """
        with open_regular(path) as file:
            before = _identity(file.fileno())
            if expect is not None and before != expect:
                raise ChildError(_changed(path, "since it was accepted"))
            answer = self._ask(request, file.fileno(), deadline_s, understand)
            if _identity(file.fileno()) != before:
                raise ChildError(_changed(path, "while it was worked on"))
            return answer

    def pids(self) -> tuple[int, ...]:
        """The processes there are."""
        with self._lock:
            return tuple(child.pid for child in self._children.values())

    def interrupt(self) -> None:
        """End every process, busy or not, and start no more; `close` is still to be called."""
        with self._lock:
            self._closed = True
            for child in self._children.values():
                child.kill()

    def close(self) -> None:
        """End every process and wait for whoever asks; may be called again."""
        self.interrupt()
        slots = [self._slots.get() for _ in range(self._count)]
        for slot in slots:
            self._dismiss(slot)
            self._slots.put(slot)

    def _ask(
        self,
        request: Request,
        descriptor: int,
        deadline_s: float,
        understand: Callable[[Result], T],
    ) -> T:
        slot = self._slots.get()
        try:
            child = self._child(slot)
            answer = child.ask(request, descriptor, deadline_s, understand)
        except BaseException as error:
            self._dismiss(slot)  # after any failure the next video gets a process of its own
            if self._closed and isinstance(error, ChildError):
                raise PoolClosedError("closed before the video was worked on") from error
            raise
        else:
            self.confinement = child.confinement
            return answer
        finally:
            self._slots.put(slot)

    def _child(self, slot: int) -> Child:
        """The slot's process; another one where it has none, or it died while it had no work."""
        with self._lock:
            if self._closed:
                raise PoolClosedError("closed: no video is worked on any more")
            child = self._children.get(slot)
            if child is not None and child.alive:
                return child
            if child is not None:
                child.close()
            try:
                self._children[slot] = Child(self._command, self._memory_bytes)
            except OSError as error:
                raise StartError(_no_start(error)) from error
            return self._children[slot]

    def _dismiss(self, slot: int) -> None:
        with self._lock:
            child = self._children.pop(slot, None)
        if child is not None:
            child.close()


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
        self._children = Children(
            workers,
            command=command or command_of("batchembed.engine.workers.worker"),
            memory_bytes=memory_bytes,
        )
        self._lock = threading.Lock()  # guards the next one, and that no work follows it
        self._closed = False
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

    @property
    def confinement(self) -> Confinement | None:
        """What confined the last worker that answered; None before one has."""
        return self._children.confinement

    def pids(self) -> tuple[int, ...]:
        """The processes there are."""
        return self._children.pids()

    def close(self) -> None:
        """End every process, busy or not, and wait for them. What is left gets `PoolClosedError`."""
        with self._lock:
            self._closed = True
        self._children.interrupt()
        self._threads.shutdown()
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

    def _embed(
        self, path: str, plan: EmbedPlan, deadline_s: float, expect: Expected | None
    ) -> Embedded:
        try:
            return self._children.ask(
                path, Embed(plan=plan), embedded, deadline_s=deadline_s, expect=expect
            )
        except (ChildError, UnreadableVideoError) as error:
            raise EmbedFailed(error.reason) from error


def _no_start(error: OSError) -> Reason:
    return Reason(
        code="worker_start",
        message=f"no worker can be started: {error.strerror or error}",
        hint="free memory or processes, or use fewer workers",
    )


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

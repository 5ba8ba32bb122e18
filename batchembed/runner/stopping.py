"""What it is to wait for something in a run that may be told to drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """The run is draining: this job is left where it is."""


class Stop(asyncio.Event):
    """Set: the run drains. Whoever waits `unless_stopped` is ended by it, without a task for each."""

    def __init__(self) -> None:
        super().__init__()
        self._waits: set[asyncio.Timeout] = set()

    def set(self) -> None:
        """Drain. Also where several ask for it: a wait that is already ending can't be told again."""
        super().set()
        while self._waits:
            self._waits.pop().reschedule(0.0)  # a moment long past: it ends at once

    @contextlib.contextmanager
    def ending(self, wait: asyncio.Timeout) -> Iterator[None]:
        """End `wait` when the run drains."""
        self._waits.add(wait)
        try:
            yield
        finally:
            self._waits.discard(wait)


async def unless_stopped(stop: Stop, work: Awaitable[T]) -> T:
    """The work's result.

    Raises:
        StoppedError: the run was told to drain first; the work is cancelled.
    """
    if stop.is_set():
        if asyncio.iscoroutine(work):
            work.close()
        raise StoppedError
    wait = asyncio.timeout(None)
    try:
        async with wait:
            with stop.ending(wait):
                return await work
    except TimeoutError:
        if not wait.expired():
            raise  # the work's own
        raise StoppedError from None

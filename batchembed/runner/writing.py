"""What writes runs in threads of its own, which end before the locks are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


class Writing:
    """Runs work that writes. Whoever waits may be cancelled; the work goes on to its end."""

    def __init__(self, writers: Executor) -> None:
        self._writers = writers

    async def __call__(self, work: Callable[[], T]) -> T:
        """The work's result."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

"""What it is to wait for something in a run that may be told to drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """The run is draining: this job is left where it is."""


async def unless_stopped(stop: asyncio.Event, work: Awaitable[T]) -> T:
    """The work's result.

    Raises:
        StoppedError: the run was told to drain first; the work is cancelled.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise StoppedError
        return working.result()
    finally:
        for future in (working, stopping):
            future.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)

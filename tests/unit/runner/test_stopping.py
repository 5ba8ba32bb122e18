"""Waiting in a run that may be told to drain."""

from __future__ import annotations

import asyncio

import pytest

from batchembed.runner.stopping import Stop, StoppedError, unless_stopped


async def a_long_time() -> str:
    await asyncio.Event().wait()
    return "never"


def test_work_that_ends_gives_its_result() -> None:
    async def scene() -> str:
        return await unless_stopped(Stop(), asyncio.sleep(0, result="done"))

    assert asyncio.run(scene()) == "done"


def test_a_drain_ends_every_wait_and_what_waits_in_it() -> None:
    async def scene() -> list[object]:
        stop = Stop()
        waits = [asyncio.create_task(unless_stopped(stop, a_long_time())) for _ in range(3)]
        nested = unless_stopped(stop, unless_stopped(stop, a_long_time()))
        waits.append(asyncio.create_task(nested))
        await asyncio.sleep(0)
        stop.set()
        return await asyncio.gather(*waits, return_exceptions=True)

    assert [type(each) for each in asyncio.run(scene())] == [StoppedError] * 4


def test_a_drain_may_be_asked_for_again_while_what_waits_is_ending() -> None:
    """Each job that meets the same full disk asks for it."""

    async def slow_to_end(stop: Stop) -> None:
        try:
            await a_long_time()
        finally:
            stop.set()
            await asyncio.sleep(0)

    async def scene() -> list[object]:
        stop = Stop()
        waits = [asyncio.create_task(unless_stopped(stop, slow_to_end(stop))) for _ in range(3)]
        await asyncio.sleep(0)
        stop.set()
        await asyncio.sleep(0)
        stop.set()
        return await asyncio.gather(*waits, return_exceptions=True)

    assert [type(each) for each in asyncio.run(scene())] == [StoppedError] * 3


def test_nothing_begins_once_the_run_drains() -> None:
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    async def scene() -> None:
        stop = Stop()
        stop.set()
        with pytest.raises(StoppedError):
            await unless_stopped(stop, work())

    asyncio.run(scene())
    assert not began


def test_a_time_limit_of_the_work_itself_stays_one() -> None:
    async def late() -> None:
        raise TimeoutError

    async def scene() -> None:
        with pytest.raises(TimeoutError):
            await unless_stopped(Stop(), late())

    asyncio.run(scene())


def test_whoever_is_cancelled_is_cancelled() -> None:
    async def scene() -> None:
        waiting = asyncio.create_task(unless_stopped(Stop(), a_long_time()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())

"""Faults of connections, which need one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp

from batchembed.engine.faults.app import FaultyApp
from batchembed.engine.faults.plan import (
    AnswerLost,
    ConnectionCut,
    FaultPlan,
    Redirect,
    TooManyRequests,
)
from batchembed.engine.web.server import HttpServer
from tests.support.faulty import TASKS, SmallApp, World, faulty


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    async with HttpServer(app) as server:
        yield server.address


async def raw(base_url: str, method: str, path: str) -> bytes:
    """All bytes that come until the connection ends, one way or the other."""
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await reader.read(65536):
            came += part
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    return came


def test_connections_are_cut_without_a_byte(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        small, world = SmallApp(), World()
        rules = (
            ConnectionCut(first=1),
            AnswerLost(after=1, first=1),
            AnswerLost(after=2, first=1, how="hang", delay_s=9),
        )
        async with served(faulty(small, world, rules)) as base_url:
            assert await raw(base_url, "POST", TASKS) == b""
            assert small.calls == []
            assert await raw(base_url, "POST", TASKS) == b""
            assert small.calls == ["create"]
            assert await raw(base_url, "POST", TASKS) == b""
            assert (small.calls, world.slept_s) == (["create", "create"], [9])
            async with httpx.AsyncClient(base_url=base_url) as client:
                listing = await client.get(TASKS)
            assert [item["_id"] for item in listing.json()["data"]] == small.ids[::-1]

    asyncio.run(scene())
    assert [each.message for each in caplog.records if each.levelno > logging.INFO] == []


def test_an_answer_is_cut_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        small, world = SmallApp(), World()
        async with served(faulty(small, world, (ConnectionCut(when="during"),))) as base_url:
            head, _, body = (await raw(base_url, "POST", TASKS)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"\r\ncontent-length: 34" in head
            assert body == b'{"_id":"000000000'
            async with httpx.AsyncClient(base_url=base_url) as client:
                with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                    await client.get(TASKS)

    asyncio.run(scene())
    assert [each.message for each in caplog.records if each.levelno > logging.INFO] == []


def test_a_hanging_answer_ends_when_its_client_goes() -> None:
    async def scene() -> None:
        small = SmallApp()
        plan = FaultPlan(rules=(AnswerLost(how="hang", delay_s=3600),))
        async with served(FaultyApp(small.app, plan)) as base_url:  # it sleeps in earnest
            client = httpx.AsyncClient(base_url=base_url, timeout=60)
            posting = asyncio.create_task(client.post(TASKS))
            await small.reached.wait()
            posting.cancel()
            await asyncio.wait({posting})
            await client.aclose()
        assert small.calls == ["create"]

    asyncio.run(asyncio.wait_for(scene(), timeout=20))  # the server ends when its requests have


def test_a_refusal_arrives_although_the_upload_is_large() -> None:
    async def scene() -> None:
        small, world = SmallApp(), World()
        rules = (TooManyRequests(first=1, retry_after_s=1), Redirect(location="/elsewhere"))
        async with (
            served(faulty(small, world, rules)) as base_url,
            httpx.AsyncClient(base_url=base_url) as client,
        ):
            film = b"f" * 3_000_000
            first = await client.post(TASKS, files={"video_file": ("a.mp4", film)})
            second = await client.post(TASKS, files={"video_file": ("a.mp4", film)})
            assert (first.status_code, second.status_code) == (429, 302)
            assert "date" in first.headers  # what an HTTP date is compared with
            assert small.calls == []

    asyncio.run(scene())

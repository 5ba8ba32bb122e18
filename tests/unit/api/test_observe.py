"""What a client tells of its requests and of the answers to them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from typing import Any

import httpx
import pytest

from batchembed import AsyncTasksClient
from batchembed.api.convert import head_of
from batchembed.api.observe import Answered, Kind
from batchembed.api.retry import RetryPolicy
from batchembed.errors import (
    RateLimitError,
    RateLimits,
    ServiceError,
)
from tests.support.fakes import Answer, FakeSleep, ScriptedService
from tests.unit.api.conftest import Calling

CREATED = httpx.Response(200, json={"_id": "t1"})
READY = httpx.Response(200, json={"_id": "t1", "status": "ready"})
HEADERS = {
    "x-ratelimit-request-remaining": "3",
    "x-ratelimit-request-reset": "1762564849",
    "x-trace-id": "122506435189331138",
    "date": "Sat, 08 Nov 2025 01:20:49 GMT",
}


class Noting:
    """Notes what it is told, and in which job."""

    job: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="none")

    def __init__(self) -> None:
        self.sent_kinds: list[Kind] = []
        self.answers: list[Answered] = []
        self.jobs: list[str] = []

    def sent(self, kind: Kind) -> None:
        self.sent_kinds.append(kind)

    def answered(self, answered: Answered) -> None:
        self.answers.append(answered)
        self.jobs.append(self.job.get())


def observed(answers: list[Answer], *calls: tuple[str, dict[str, Any]]) -> Noting:
    """What is told of these calls, made one after the other; the last may fail."""
    noting = Noting()

    async def work() -> None:
        async with AsyncTasksClient(
            api_key="tlk_secret",
            transport=ScriptedService(answers),
            sleep=FakeSleep(),
            observer=noting,
        ) as client:
            for method, arguments in calls:
                await getattr(client, method)(**arguments)

    with contextlib.suppress(ServiceError):
        asyncio.run(work())
    return noting


CREATE = ("create", {"model_name": "m", "video_url": "https://e.com/a.mp4"})
STATUS = ("status", {"task_id": "t1"})


def test_each_kind_of_request_is_told_when_it_is_sent_and_when_it_is_answered() -> None:
    listing = httpx.Response(200, json={"data": []})
    retrieved = httpx.Response(200, json={"_id": "t1"})

    noting = observed(
        [CREATED, READY, retrieved, retrieved, listing],
        CREATE,
        STATUS,
        ("retrieve", {"task_id": "t1"}),
        ("retrieve_body", {"task_id": "t1"}),
        ("list", {}),
    )

    kinds = ["create", "status", "retrieve", "retrieve", "list"]
    assert noting.sent_kinds == kinds
    assert [answered.kind for answered in noting.answers] == kinds


def test_every_attempt_is_told_whatever_comes_of_it() -> None:
    noting = observed(
        [httpx.Response(503), httpx.ConnectError("refused"), httpx.Response(429), READY], STATUS
    )

    assert noting.sent_kinds == ["status"] * 4
    assert [answered.status_code for answered in noting.answers] == [503, 429, 200]


def test_an_answer_tells_what_its_head_says() -> None:
    noting = observed([httpx.Response(429, headers=HEADERS)], CREATE)

    assert noting.answers[0] == Answered(
        kind="create",
        status_code=429,
        limits=RateLimits(remaining=3, reset_at=1762564849),
        request_id="122506435189331138",
        server_date=1762564849,
    )


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, None),
        ({"x-request-id": "r1"}, "r1"),
        ({"x-request-id": "r1", "X-Trace-Id": "t1"}, "t1"),
        ({"x-trace-id": "", "x-request-id": "r1"}, "r1"),
        ({"x-trace-id": "of tlk_secret"}, "of (key)"),
        ({"x-trace-id": "https://e.com/a?X-Amz-Signature=abc"}, "https://e.com/a"),
        ({"x-trace-id": "a\tb" + "c" * 200}, "a b" + "c" * 125),
    ],
)
def test_a_requests_own_name_is_told_without_secrets(
    headers: dict[str, str], told: str | None
) -> None:
    answer = httpx.Response(200, json={"_id": "t1", "status": "ready"}, headers=headers)

    noting = observed([answer], STATUS)

    assert [answered.request_id for answered in noting.answers] == [told]


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Sat, 99 Nov 2025 01:20:49 GMT", f"Sat, 08 Nov {10**20} 01:20:49 GMT"]
)
def test_a_date_that_cannot_be_read_is_none(date: str) -> None:
    assert head_of("status", 200, {"date": date}).server_date is None


def test_a_file_is_sent_in_another_thread_and_told_in_the_callers_task() -> None:
    async def work() -> Noting:
        noting = Noting()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"film\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nX-Trace-Id: r7\r\nContent-Length: 12\r\n\r\n")
            writer.write(b'{"_id":"t1"}')
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            AsyncTasksClient(base_url=f"http://127.0.0.1:{port}", observer=noting) as client,
        ):
            Noting.job.set("of a video")
            await client.create(model_name="m", video_file=b"film")
        return noting

    noting = asyncio.run(work())

    assert [answered.request_id for answered in noting.answers] == ["r7"]
    assert noting.jobs == ["of a video"]


def test_a_limited_create_is_raised_at_once_where_its_caller_waits_for_all(
    calling: Calling,
) -> None:
    service = ScriptedService([httpx.Response(429), CREATED])
    client = calling(service, retry=RetryPolicy(repeat_limited_creates=False))

    with pytest.raises(RateLimitError):
        client(CREATE[0], **CREATE[1])

    assert len(service.requests) == 1
    assert client.slept == []


def test_a_create_that_was_not_sent_is_repeated_all_the_same(calling: Calling) -> None:
    service = ScriptedService([httpx.ConnectError("refused"), CREATED])
    client = calling(service, retry=RetryPolicy(repeat_limited_creates=False))

    assert client(CREATE[0], **CREATE[1]).id == "t1"


def test_a_limited_get_is_repeated_all_the_same(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(429), READY])
    client = calling(service, retry=RetryPolicy(repeat_limited_creates=False))

    assert client("status", "t1").status == "ready"


def test_a_limited_create_is_repeated_by_default(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(429), CREATED])

    assert calling(service)(CREATE[0], **CREATE[1]).id == "t1"

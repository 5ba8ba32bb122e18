"""The client against a scripted service: what is sent, what is repeated, what is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from batchembed.api.client import ApiKey, AsyncTasksClient
from batchembed.api.models import TasksStatusResponse
from batchembed.api.retry import PollPolicy, RetryPolicy
from batchembed.errors import (
    AnswerError,
    ApiConnectionError,
    ApiTimeoutError,
    AuthenticationError,
    BadRequestError,
    RateLimitError,
    ServerError,
    SubmissionUnknown,
    TaskFailedError,
    UsageError,
)
from tests.support.fakes import FakeSleep, ScriptedService

T = TypeVar("T")

CREATED = httpx.Response(200, json={"_id": "t1"})


def a_status(status: str) -> httpx.Response:
    return httpx.Response(200, json={"_id": "t1", "status": status, "new_field": [1]})


def using(
    service: ScriptedService,
    use: Callable[[AsyncTasksClient], Awaitable[T]],
    *,
    sleep: FakeSleep | None = None,
    **options: Any,
) -> T:
    async def run() -> T:
        async with AsyncTasksClient(
            api_key="tlk_secret", transport=service, sleep=sleep or FakeSleep(), **options
        ) as client:
            return await use(client)

    return asyncio.run(run())


def creating(**arguments: Any) -> Callable[[AsyncTasksClient], Awaitable[Any]]:
    return lambda client: client.create(model_name="local-v1", **arguments)


def test_a_create_sends_one_part_for_each_value_and_none_for_none(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"film")
    service = ScriptedService([CREATED])

    answer = using(
        service,
        creating(
            video_file=video,
            video_url=None,
            video_clip_length=6,
            video_start_offset_sec=12.5,
            video_embedding_scope=["clip", "video"],
            idempotency_key="key",
        ),
    )

    (request,), (body,) = service.requests, service.bodies
    assert answer.id == "t1"
    assert request.url == "https://api.twelvelabs.io/v1.3/embed/tasks"
    assert request.headers["x-api-key"] == "tlk_secret"
    assert request.headers["idempotency-key"] == "key"
    assert body.count(b'name="video_embedding_scope"') == 2
    assert b'name="video_file"; filename="a.mp4"' in body
    assert b"\r\n\r\n6\r\n" in body
    assert b"\r\n\r\n12.5\r\n" in body
    assert b"video_url" not in body


def test_a_url_alone_is_multipart_too() -> None:
    service = ScriptedService([CREATED])

    using(service, creating(video_url="https://example.com/a.mp4"))

    assert service.requests[0].headers["content-type"].startswith("multipart/form-data")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"video_file": None}, {"video_file": "no/such/file.mp4"}, {"video_file": 7}],
    ids=["neither", "none", "a text that is no file", "a number"],
)
def test_a_create_without_a_video_is_refused_before_it_is_sent(arguments: dict[str, Any]) -> None:
    service = ScriptedService([CREATED])

    with pytest.raises(UsageError, match="video_file"):
        using(service, creating(**arguments))

    assert service.requests == []


def test_a_create_is_repeated_while_it_certainly_made_no_task() -> None:
    service = ScriptedService([httpx.ConnectError("refused"), httpx.Response(429), CREATED])
    sleep = FakeSleep()

    answer = using(service, creating(video_url="https://e.com/a"), sleep=sleep)

    assert answer.id == "t1"
    assert len(service.requests) == 3
    assert len(sleep.slept) == 2
    assert service.bodies[2].count(b'name="model_name"') == 1


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(502, text="<html>"),
        httpx.Response(200, text="{"),
        httpx.Response(200, json={}),
    ],
    ids=["timeout", "disconnect", "502", "broken json", "no id"],
)
def test_a_create_whose_answer_is_lost_is_not_repeated(lost: httpx.Response) -> None:
    service = ScriptedService([lost])

    with pytest.raises(SubmissionUnknown, match="may have been created"):
        using(service, creating(video_url="https://e.com/a"))

    assert len(service.requests) == 1


def test_a_get_is_repeated_and_honours_what_the_server_asks() -> None:
    service = ScriptedService(
        [httpx.Response(503), httpx.Response(429, headers={"retry-after": "7"}), a_status("ready")]
    )
    sleep = FakeSleep()

    answer = using(service, lambda client: client.status("t1"), sleep=sleep)

    assert answer.status == "ready"
    assert sleep.slept[1] == 7.0


def test_a_wait_longer_than_the_policys_is_told_instead_of_slept() -> None:
    service = ScriptedService([httpx.Response(429, headers={"retry-after": "11382"})])
    sleep = FakeSleep()

    with pytest.raises(RateLimitError) as caught:
        using(service, lambda client: client.status("t1"), sleep=sleep)

    assert caught.value.retry_after_s == 11382
    assert sleep.slept == []


@pytest.mark.parametrize(
    ("answer", "error", "requests"),
    [
        (httpx.Response(401), AuthenticationError, 1),
        (httpx.Response(400, json={"code": "c", "message": "m"}), BadRequestError, 1),
        (httpx.Response(503), ServerError, 3),
        (httpx.ConnectError("refused"), ApiConnectionError, 3),
        (httpx.Response(200, text="["), AnswerError, 1),
    ],
    ids=["401", "400", "503", "refused", "broken json"],
)
def test_a_get_ends_in_its_last_error(
    answer: httpx.Response, error: type[Exception], requests: int
) -> None:
    service = ScriptedService([answer])

    with pytest.raises(error):
        using(service, lambda client: client.status("t1"), retry=RetryPolicy(attempts=3))

    assert len(service.requests) == requests


def test_no_redirect_is_followed() -> None:
    service = ScriptedService([httpx.Response(302, headers={"location": "https://evil.com"})])

    with pytest.raises(Exception, match="302"):
        using(service, lambda client: client.status("t1"))

    assert len(service.requests) == 1


def test_a_task_id_cannot_climb_out_of_its_path() -> None:
    service = ScriptedService([a_status("ready")])

    using(service, lambda client: client.status("a/b ?c"))

    assert service.requests[0].url.raw_path == b"/v1.3/embed/tasks/a%2Fb%20%3Fc/status"


def test_waiting_looks_until_the_task_is_done_and_tells_every_status() -> None:
    service = ScriptedService(
        [a_status("processing"), httpx.Response(500), a_status("queued?"), a_status("ready")]
    )
    sleep, seen = FakeSleep(), []

    async def callback(answer: TasksStatusResponse) -> None:
        seen.append(answer.status)

    answer = using(
        service,
        lambda client: client.wait_for_done("t1", sleep_interval=2, callback=callback),
        sleep=sleep,
    )

    assert answer.status == "ready"
    assert seen == ["processing", "queued?", "ready"]
    assert sleep.slept == [2, 2, 2]


def test_waiting_grows_between_the_policys_bounds() -> None:
    service = ScriptedService([*[a_status("processing")] * 8, a_status("ready")])
    sleep = FakeSleep()
    policy = PollPolicy(first_wait_s=1, longest_wait_s=4)

    using(service, lambda client: client.wait_for_done("t1", policy=policy), sleep=sleep)

    assert 1 <= sleep.slept[0] <= 2
    assert max(sleep.slept) <= 4
    assert sleep.slept[-1] == 4


def test_waiting_ends_at_its_deadline() -> None:
    service = ScriptedService([a_status("processing")])

    with pytest.raises(ApiTimeoutError, match=r"task t1: still processing after 0\.001 s"):
        using(service, lambda client: client.wait_for_done("t1", timeout=0.001))


def test_a_failed_task_is_returned_or_raised_as_asked() -> None:
    failed = httpx.Response(
        200, json={"_id": "t1", "status": "failed", "error": {"message": "no video"}}
    )

    answer = using(ScriptedService([failed]), lambda client: client.wait_for_done("t1"))
    assert answer.status == "failed"

    with pytest.raises(TaskFailedError, match="no video"):
        using(
            ScriptedService([failed]),
            lambda client: client.wait_for_done("t1", raise_on_failed=True),
        )


def test_a_revoked_key_ends_the_waiting() -> None:
    with pytest.raises(AuthenticationError):
        using(ScriptedService([httpx.Response(401)]), lambda client: client.wait_for_done("t1"))


def test_a_pace_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        using(
            ScriptedService([CREATED]), lambda client: client.wait_for_done("t1", sleep_interval=0)
        )


def test_embeddings_are_retrieved_with_the_documents_names() -> None:
    body = (
        b'{"_id": "t1", "status": "ready", "created_at": "2024-09-26T10:29:19.968Z",'
        b' "video_embedding": {"segments": [{"start_offset_sec": 0, "end_offset_sec": 6,'
        b' "embedding_option": "audio", "embedding_scope": "clip", "float": [0.5, 1]}],'
        b' "metadata": {"input_filename": "a.mp4", "duration": 13.4400001}}}'
    )
    service = ScriptedService([httpx.Response(200, content=body)])

    answer = using(
        service, lambda client: client.retrieve("t1", embedding_option=["visual-text", "audio"])
    )

    assert service.requests[0].url.query == b"embedding_option=visual-text&embedding_option=audio"
    assert answer.video_embedding is not None
    assert answer.video_embedding.segments is not None
    assert answer.video_embedding.segments[0].float_ == [0.5, 1.0]
    assert answer.created_at is not None
    assert answer.created_at.tzinfo is not None


def test_a_key_does_not_print() -> None:
    key = ApiKey("tlk_secret")

    assert "secret" not in f"{key} {key!r}"

"""What the official SDK does badly, one test each: ours must not (docs of SDK 1.3.6, and runs of it)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from batchembed import AsyncClient, Client
from batchembed.api.models import TasksRetrieveResponse, VideoSegment
from batchembed.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    ArgumentError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitError,
    ServerError,
    SubmissionUnknown,
)
from tests.support.fakes import ScriptedService
from tests.unit.api.conftest import Calling

CREATED = httpx.Response(200, json={"_id": "t1"})
READY = httpx.Response(200, json={"_id": "t1", "status": "ready"})
URL = "https://e.com/a.mp4"


# Retrying (wire.md 1.6)


def test_a_get_is_repeated_without_being_asked(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(503), httpx.Response(408), READY])
    assert calling(service)("status", "t1").status == "ready"


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (2, 3), (-1, 1)])
def test_max_retries_is_how_often_a_request_is_repeated(
    calling: Calling, retries: int, requests: int
) -> None:
    service = ScriptedService([httpx.Response(503)])

    with pytest.raises(ServerError):
        calling(service)("status", "t1", request_options={"max_retries": retries})

    assert len(service.requests) == requests


def test_a_create_that_may_have_been_accepted_is_not_sent_again(calling: Calling) -> None:
    for status in (408, 409, 500, 503):
        service = ScriptedService([httpx.Response(status), CREATED])
        with pytest.raises(SubmissionUnknown):
            calling(service)(
                "create", model_name="m", video_url=URL, request_options={"max_retries": 5}
            )
        assert len(service.requests) == 1


def test_a_repeated_create_carries_its_whole_form_and_its_key_again(calling: Calling) -> None:
    service = ScriptedService([httpx.ConnectError("refused"), httpx.Response(429), CREATED])

    calling(service)("create", model_name="m", video_file=("a.mp4", b"film"), video_clip_length=5)

    for body in service.bodies:
        for part in (b"\r\n\r\nm\r\n", b"\r\n\r\n5\r\n", b"\r\n\r\nfilm\r\n"):
            assert part in body
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_each_create_has_a_key_of_its_own(calling: Calling) -> None:
    service = ScriptedService([CREATED])
    client = calling(service)

    for _ in range(2):
        client("create", model_name="m", video_url=URL)

    assert len({request.headers["idempotency-key"] for request in service.requests}) == 2


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"retry-after": "45"}, 45.0),
        ({"retry-after-ms": "1500"}, 1.5),
        (
            {
                "retry-after": "Mon, 02 Nov 2026 10:00:42 GMT",
                "date": "Mon, 02 Nov 2026 10:00:00 GMT",
            },
            42.0,
        ),
    ],
    ids=["over 30 seconds", "milliseconds", "a date"],
)
def test_a_wait_that_the_server_asks_for_is_kept(
    calling: Calling, headers: dict[str, str], slept: float
) -> None:
    client = calling(ScriptedService([httpx.Response(429, headers=headers), READY]))

    client("status", "t1")

    assert client.slept == [slept]


@pytest.mark.parametrize(
    "broken",
    [
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
        httpx.RemoteProtocolError("x"),
        httpx.DecodingError("x"),
        httpx.UnsupportedProtocol("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_exception_of_httpx_reaches_the_caller(
    calling: Calling, broken: httpx.HTTPError
) -> None:
    client = calling(ScriptedService([broken]))

    with pytest.raises((ApiConnectionError, ApiTimeoutError, ArgumentError)):
        client("status", "t1")
    with pytest.raises((ApiConnectionError, SubmissionUnknown, ArgumentError)):
        client("create", model_name="m", video_url=URL)


# The client itself (wire.md 1.0 and 6)


def test_no_variable_overrides_the_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWELVELABS_BASE_URL", "https://evil.example/v1.3")

    with Client(api_key="k", base_url="https://mine.example/v1.3") as client:
        assert str(client.embed.tasks._requests.http.base_url) == "https://mine.example/v1.3/"
    with Client(api_key="k") as client:
        assert client.embed.tasks._requests.http.base_url.host == "api.twelvelabs.io"


@pytest.mark.parametrize("name", ["TWELVELABS_API_KEY", "TWELVE_LABS_API_KEY"])
def test_the_key_is_read_from_the_variables_that_people_set(name: str) -> None:
    with Client(env={name: "tlk_1"}) as client:
        assert client.embed.tasks._creates.http.headers["x-api-key"] == "tlk_1"
    with Client(env={name: "tlk_1"}, api_key="tlk_2") as client:
        assert client.embed.tasks._creates.http.headers["x-api-key"] == "tlk_2"
    with pytest.raises(ArgumentError, match="TWELVELABS_API_KEY"):
        Client(env={})


def test_leaving_the_client_closes_it() -> None:
    with Client(api_key="k") as client:
        lanes = (client.embed.tasks._creates, client.embed.tasks._requests)
    assert all(lane.http.is_closed for lane in lanes)

    async def use() -> AsyncClient:
        async with AsyncClient(api_key="k") as opened:
            return opened

    requests: Any = asyncio.run(use()).embed.tasks._requests
    assert requests.http.is_closed


def test_no_redirect_is_followed_with_the_key(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(302, headers={"location": "https://evil.example"})])

    with pytest.raises(ApiError, match="302"):
        calling(service)("status", "t1")
    with pytest.raises(SubmissionUnknown, match="302"):
        calling(service)("create", model_name="m", video_url=URL)

    assert [request.url.host for request in service.requests] == ["api.twelvelabs.io"] * 2


@pytest.mark.parametrize("task_id", ["a/b ?c", "../..", "é", "#"])
def test_a_task_id_cannot_climb_out_of_its_path(calling: Calling, task_id: str) -> None:
    service = ScriptedService([httpx.Response(200, json={"status": "ready"})])

    calling(service)("status", task_id)

    path = service.requests[0].url.raw_path
    assert path.startswith(b"/v1.3/embed/tasks/")
    assert path.endswith(b"/status")
    assert path.count(b"/") == 5


@pytest.mark.parametrize("task_id", ["", ".", ".."])
def test_an_id_that_no_quoting_keeps_in_its_place_is_refused(
    calling: Calling, task_id: str
) -> None:
    service = ScriptedService([READY])

    with pytest.raises(ArgumentError, match="no id of a task"):
        calling(service)("retrieve", task_id)

    assert service.requests == []


class Dripping(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that never ends, a byte at a time."""

    def __iter__(self) -> Any:
        while True:
            yield b" "

    async def __aiter__(self) -> Any:
        while True:
            yield b" "


def test_a_timeout_is_that_of_the_whole_request(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(200, stream=Dripping())])

    with pytest.raises(ApiTimeoutError, match=r"no whole answer within 0\.05 s"):
        calling(service)(
            "status", "t1", request_options={"timeout_in_seconds": 0.05, "max_retries": 0}
        )


def test_every_key_of_request_options_works(calling: Calling) -> None:
    service = ScriptedService([CREATED])

    calling(service)(
        "create",
        model_name="m",
        video_url=URL,
        request_options={
            "timeout_in_seconds": 9,
            "max_retries": 1,
            "additional_headers": {"x-more": "1"},
            "additional_query_parameters": {"q": "a b"},
            "additional_body_parameters": {"new_parameter": [1, 2]},
            "chunk_size": 7,
        },
    )

    (request,), (body,) = service.requests, service.bodies
    assert request.headers["x-more"] == "1"
    assert request.url.query == b"q=a+b"
    assert body.count(b'name="new_parameter"') == 2
    assert request.extensions["timeout"]["read"] == 9


# Arguments


def test_a_text_is_a_path_and_never_the_video_itself(calling: Calling) -> None:
    service = ScriptedService([CREATED])

    with pytest.raises(ArgumentError, match="is no file"):
        calling(service)("create", model_name="m", video_file="clips/x.mp4")

    assert service.requests == []


def test_none_sends_no_part(calling: Calling) -> None:
    service = ScriptedService([CREATED])

    calling(service)(
        "create",
        model_name="m",
        video_file=None,
        video_url=URL,
        video_start_offset_sec=None,
        video_end_offset_sec=None,
        video_clip_length=None,
        video_embedding_scope=None,
    )

    assert service.bodies[0].count(b"Content-Disposition") == 2


def test_a_path_of_the_file_system_is_opened(calling: Calling, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    service = ScriptedService([CREATED])

    calling(service)("create", model_name="m", video_file=tmp_path / "a.mp4")

    assert b"\r\n\r\nfilm\r\n" in service.bodies[0]


# Answers


def test_an_id_is_an_id_whatever_the_wire_calls_it(calling: Calling) -> None:
    assert calling(ScriptedService([CREATED]))("create", model_name="m", video_url=URL).id == "t1"


def test_what_is_saved_as_json_has_the_wires_names() -> None:
    segment = VideoSegment(start_offset_sec=0.0, end_offset_sec=6.0, float_=[0.5])
    answer = TasksRetrieveResponse(id="t1", status="ready")

    assert json.loads(msgspec.json.encode(segment)) == {
        "start_offset_sec": 0.0,
        "end_offset_sec": 6.0,
        "float": [0.5],
    }
    assert json.loads(msgspec.json.encode(answer)) == {"_id": "t1", "status": "ready"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (413, PayloadTooLargeError),
        (429, RateLimitError),
        (503, ServerError),
        (418, ApiError),
    ],
)
def test_each_status_that_a_caller_treats_differently_has_a_class(
    calling: Calling, status: int, kind: type[ApiError]
) -> None:
    body = {"code": "some_code", "message": "some words"}
    service = ScriptedService([httpx.Response(status, json=body, headers={"x-trace-id": "7"})])

    with pytest.raises(ApiError) as caught:
        calling(service)("status", "t1", request_options={"max_retries": 0})

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.body, error.headers["x-trace-id"]) == (status, body, "7")
    assert "some_code: some words" in str(error)
    assert "x-trace-id" not in str(error)


# Waiting


@pytest.mark.parametrize("status", [401, 404])
def test_waiting_ends_at_an_error_that_does_not_pass_and_prints_nothing(
    calling: Calling, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    processing = httpx.Response(200, json={"status": "processing"})
    service = ScriptedService([processing, httpx.Response(status)])

    with pytest.raises((AuthenticationError, NotFoundError)):
        calling(service)("wait_for_done", "t1")

    told = capsys.readouterr()
    assert told.out + told.err == ""


def test_an_unknown_status_does_not_wait_for_ever(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(200, json={"status": "queued"})])

    with pytest.raises(ApiTimeoutError):
        calling(service)("wait_for_done", "t1", timeout=1, sleep_interval=5)


def test_the_callback_sees_a_task_that_is_done_at_once(calling: Calling) -> None:
    seen: list[Any] = []

    calling(ScriptedService([READY]))("wait_for_done", "t1", callback=seen.append)

    assert [task.status for task in seen] == ["ready"]


def test_what_a_callback_raises_is_raised(calling: Calling) -> None:
    def callback(_task: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        calling(ScriptedService([READY]))("wait_for_done", "t1", callback=callback)


# Listing


def test_a_listing_of_one_page_is_one_request(calling: Calling) -> None:
    page = httpx.Response(
        200, json={"data": [{"_id": "t1"}], "page_info": {"page": 1, "total_page": 1}}
    )
    service = ScriptedService([page, httpx.Response(400)])

    assert len(calling(service)("list")) == 1
    assert len(service.requests) == 1

"""Both clients against a scripted service: what is sent, what is repeated, what is raised."""

from __future__ import annotations

import gzip
import inspect
import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchembed import AsyncClient, AsyncTasksClient, Client, TasksClient
from batchembed.api.models import TasksStatusResponse
from batchembed.api.options import ApiKey
from batchembed.api.retry import PollPolicy, RetryPolicy
from batchembed.errors import (
    AnswerError,
    AnswerTooLargeError,
    ApiConnectionError,
    ApiTimeoutError,
    ArgumentError,
    AuthenticationError,
    BadRequestError,
    NotSentError,
    RateLimitError,
    ServerError,
    ServiceError,
    SubmissionUnknown,
    TaskFailedError,
    UsageError,
    VideoChangedError,
)
from tests.support.clients import SyncCaller
from tests.support.fakes import ScriptedService
from tests.unit.api.conftest import Calling

CREATED = httpx.Response(200, json={"_id": "t1"})
URL = "https://e.com/a.mp4"


def a_status(status: str) -> httpx.Response:
    return httpx.Response(200, json={"_id": "t1", "status": status, "new_field": [1]})


def test_a_create_sends_one_part_for_each_value_and_none_for_none(
    calling: Calling, tmp_path: Path
) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"film")
    service = ScriptedService([CREATED])

    answer = calling(service)(
        "create",
        model_name="local-v1",
        video_file=video,
        video_url=None,
        video_clip_length=6,
        video_start_offset_sec=12.5,
        video_end_offset_sec=20,
        video_embedding_scope=["clip", "video"],
        idempotency_key="key",
    )

    (request,), (body,) = service.requests, service.bodies
    assert answer.id == "t1"
    assert request.url == "https://api.twelvelabs.io/v1.3/embed/tasks"
    assert request.headers["x-api-key"] == "tlk_secret"
    assert request.headers["idempotency-key"] == "key"
    assert body.count(b'name="video_embedding_scope"') == 2
    assert b'name="video_file"; filename="a.mp4"\r\nContent-Type: video/mp4' in body
    assert b"\r\n\r\n6\r\n" in body
    assert b"\r\n\r\n12.5\r\n" in body
    assert b"\r\n\r\nfilm\r\n" in body
    assert b"video_url" not in body
    assert request.headers["content-length"] == str(len(body))


def test_a_url_alone_is_multipart_too(calling: Calling) -> None:
    service = ScriptedService([CREATED])

    calling(service)("create", model_name="m", video_url=URL)

    assert service.requests[0].headers["content-type"].startswith("multipart/form-data")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs video_file or video_url"),
        ({"video_file": None}, "needs video_file or video_url"),
        ({"video_file": b"film", "video_url": URL}, "not both"),
        ({"video_file": "no/such/film.mp4"}, "is no file: give a path that is"),
        ({"video_file": "."}, "is no file"),
        ({"video_file": 7}, "can't be of type int"),
        ({"video_file": io.StringIO("film")}, "open as text"),
        ({"video_file": ("a.mp4",)}, r"\(name, content"),
        ({"video_url": URL, "video_start_offset_sec": 2}, "Set both"),
        ({"video_url": URL, "video_end_offset_sec": 2}, "Set both"),
        ({"video_url": URL, "video_clip_length": 11}, "should be within 2-10 seconds long"),
        ({"video_url": URL, "video_clip_length": 1.9}, "should be within 2-10 seconds long"),
        ({"video_url": URL, "video_clip_length": "six"}, "video_clip_length parameter is invalid"),
        ({"video_url": URL, "video_clip_length": float("nan")}, "video_clip_length .* nan"),
        (
            {"video_url": URL, "video_start_offset_sec": 0, "video_end_offset_sec": float("inf")},
            "video_end_offset_sec .* inf",
        ),
        ({"video_url": ""}, "video_url parameter is invalid"),
        ({"video_file": ("a.mp4", b"film", "video/mp4\r\nX: 1")}, "control characters"),
        ({"video_url": URL, "video_embedding_scope": ["video"]}, r"\[clip\] or \[clip, video\]"),
        (
            {"video_url": URL, "video_start_offset_sec": 8, "video_end_offset_sec": 8},
            "video_end_offset_sec should be greater than video_start_offset_sec",
        ),
        (
            {"video_url": URL, "video_start_offset_sec": 8, "video_end_offset_sec": 13},
            "shorter than video_clip_length, 6 s",
        ),
    ],
)
@pytest.mark.parametrize("model_name", ["Marengo-retrieval-2.7", "marengo3.0", "local-v1"])
def test_arguments_that_cannot_be_right_are_refused_in_the_documents_words_before_anything_is_sent(
    calling: Calling, model_name: str, arguments: dict[str, Any], words: str
) -> None:
    service = ScriptedService([CREATED])

    with pytest.raises(ArgumentError, match=words):
        calling(service)("create", model_name=model_name, **arguments)

    assert service.requests == []
    assert issubclass(ArgumentError, ValueError)


def test_a_model_that_nobody_published_is_passed_through_with_what_holds_for_all(
    calling: Calling,
) -> None:
    service = ScriptedService([CREATED])
    client = calling(service)

    client("create", model_name="marengo9", video_url=URL, video_clip_length=30)
    with pytest.raises(ArgumentError, match="Set both"):
        client("create", model_name="marengo9", video_url=URL, video_start_offset_sec=1)

    assert b"\r\n\r\nmarengo9\r\n" in service.bodies[0]


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(408),
        httpx.Response(409),
        httpx.Response(502, text="<html>"),
        httpx.Response(200, text="{"),
        httpx.Response(200, json={}),
    ],
    ids=["timeout", "disconnect", "408", "409", "502", "broken json", "no id"],
)
def test_a_lost_create_is_not_repeated_and_tells_what_to_look_for(
    calling: Calling, lost: httpx.Response
) -> None:
    service = ScriptedService([lost])

    with pytest.raises(SubmissionUnknown, match="may have been created") as caught:
        calling(service)("create", model_name="m", video_file=("a.mp4", b"film"))

    assert len(service.requests) == 1
    found = caught.value.submitted
    assert found is not None
    assert (found.model_name, found.input_filename, found.input_url) == ("m", "a.mp4", None)
    assert found.idempotency_key == service.requests[0].headers["idempotency-key"]
    assert found.since > 0


def test_a_signed_url_is_not_printed_with_what_to_look_for(calling: Calling) -> None:
    with pytest.raises(SubmissionUnknown) as caught:
        calling(ScriptedService([httpx.Response(502)]))(
            "create", model_name="m", video_url=f"{URL}?X-Amz-Signature=s3cr3t"
        )

    assert caught.value.submitted is not None
    assert caught.value.submitted.input_url is not None
    assert "s3cr3t" in caught.value.submitted.input_url
    assert "s3cr3t" not in f"{caught.value} {caught.value.submitted!r}"


class Stream(io.RawIOBase):
    """Bytes that come once."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken, self._left = self._left, b""
        return taken


def test_a_stream_that_cannot_be_read_again_is_not_sent_again(calling: Calling) -> None:
    service = ScriptedService([httpx.ConnectError("refused"), httpx.Response(429), CREATED])
    client = calling(service)
    film = Stream(b"film")

    with pytest.raises(RateLimitError):
        client("create", model_name="m", video_file=film)

    # The first attempt never read it.
    assert len(service.requests) == 2
    assert service.requests[1].headers["transfer-encoding"] == "chunked"


def test_an_upload_tells_how_far_it_is(calling: Calling) -> None:
    told: list[tuple[int, int | None]] = []
    film = bytes(5 << 19)

    calling(ScriptedService([CREATED]))(
        "create", model_name="m", video_file=film, progress=lambda *step: told.append(step)
    )

    assert told == [(1 << 20, 5 << 19), (2 << 20, 5 << 19), (5 << 19, 5 << 19)]


def test_what_stops_the_progress_stops_the_upload(calling: Calling) -> None:
    def progress(sent: int, total: int | None) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        calling(ScriptedService([CREATED]))(
            "create", model_name="m", video_file=b"film", progress=progress
        )


@pytest.mark.parametrize("grown", [True, False], ids=["grows", "is rewritten"])
def test_a_file_that_changes_while_it_is_sent_is_noticed(
    calling: Calling, tmp_path: Path, grown: bool
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    service = ScriptedService([CREATED])

    def progress(sent: int, total: int | None) -> None:
        if grown:
            with path.open("ab") as file:
                file.write(b"more")
        else:
            os.utime(path, (1, 1))

    with pytest.raises(VideoChangedError, match=r"a\.mp4 changed while it was uploaded") as caught:
        calling(service)("create", model_name="m", video_file=path, progress=progress)

    assert caught.value.task_id == "t1"
    assert b"\r\n\r\nfilm\r\n" in service.bodies[0]


def test_a_file_of_ours_is_closed_and_one_of_the_callers_is_not(
    calling: Calling, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    service = ScriptedService([CREATED])

    with path.open("rb") as file:
        file.seek(3)
        calling(service)("create", model_name="m", video_file=file)
        calling(service)("create", model_name="m", video_file=path)  # a leak would be a warning
        assert not file.closed

    assert b"\r\n\r\nfilm\r\n" in service.bodies[0]


def test_a_wait_longer_than_the_policys_is_told_instead_of_slept(calling: Calling) -> None:
    client = calling(ScriptedService([httpx.Response(429, headers={"retry-after": "11382"})]))

    with pytest.raises(RateLimitError) as caught:
        client("status", "t1")
    with pytest.raises(RateLimitError):
        client("wait_for_done", "t1")

    assert (caught.value.retry_after_s, caught.value.retry_after) == (11382, 11382)
    assert client.slept == []


@pytest.mark.parametrize(
    ("answer", "error", "requests"),
    [
        (httpx.Response(401), AuthenticationError, 1),
        (httpx.Response(400, json={"code": "c", "message": "m"}), BadRequestError, 1),
        (httpx.Response(503), ServerError, 3),
        (httpx.ConnectError("refused"), NotSentError, 3),
        (httpx.ReadError("reset"), ApiConnectionError, 3),
        (httpx.Response(200, text="["), AnswerError, 3),
        (httpx.Response(200, json={"status": 7}), AnswerError, 3),
        (httpx.Response(200, content=bytes((16 << 20) + 1)), AnswerTooLargeError, 1),
    ],
    ids=["401", "400", "503", "refused", "reset", "broken json", "wrong type", "too large"],
)
def test_a_get_ends_in_its_last_error(
    calling: Calling, answer: httpx.Response, error: type[Exception], requests: int
) -> None:
    service = ScriptedService([answer])

    with pytest.raises(error):
        calling(service, retry=RetryPolicy(attempts=3))("status", "t1")

    assert len(service.requests) == requests


def test_a_gzip_bomb_is_given_up_before_it_is_unpacked(calling: Calling) -> None:
    bomb = gzip.compress(bytes(256 << 20))
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Chunks(bomb))

    with pytest.raises(AnswerTooLargeError, match="larger than 16,777,216 bytes"):
        calling(ScriptedService([answer]))("status", "t1")

    assert len(bomb) < 1 << 20


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes as a network brings it."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content[at : at + 4096] for at in range(0, len(content), 4096)]

    def __iter__(self) -> Any:
        return iter(self._chunks)

    async def __aiter__(self) -> Any:
        for chunk in self._chunks:
            yield chunk


def test_waiting_looks_until_the_task_is_done_and_tells_every_status(calling: Calling) -> None:
    client = calling(
        ScriptedService(
            [a_status("processing"), httpx.Response(500), a_status("queued?"), a_status("ready")]
        )
    )
    seen: list[str | None] = []

    answer = client(
        "wait_for_done", "t1", sleep_interval=2, callback=lambda task: seen.append(task.status)
    )

    assert answer.status == "ready"
    assert seen == ["processing", "queued?", "ready"]
    assert client.slept == [2, 2, 2]


def test_waiting_grows_between_the_policys_bounds(calling: Calling) -> None:
    client = calling(ScriptedService([*[a_status("processing")] * 8, a_status("ready")]))

    client("wait_for_done", "t1", policy=PollPolicy(first_wait_s=1, longest_wait_s=4))

    assert 1 <= client.slept[0] <= 2
    assert max(client.slept) <= 4
    assert client.slept[-1] == 4


def test_waiting_ends_at_its_deadline(calling: Calling) -> None:
    client = calling(ScriptedService([a_status("processing")]))

    with pytest.raises(ApiTimeoutError, match=r"task t1: still processing after 0\.5 s"):
        client("wait_for_done", "t1", timeout=0.5, sleep_interval=60)


def test_a_failed_task_is_returned_or_raised_as_asked(calling: Calling) -> None:
    failed = httpx.Response(
        200, json={"_id": "t1", "status": "failed", "error": {"message": "no video"}}
    )
    client = calling(ScriptedService([failed]))

    assert client("wait_for_done", "t1").status == "failed"
    with pytest.raises(TaskFailedError, match="no video"):
        client("wait_for_done", "t1", raise_on_failed=True)


@pytest.mark.parametrize("pace", [0, -1, float("nan")])
def test_a_pace_that_is_not_positive_is_refused(calling: Calling, pace: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        calling(ScriptedService([CREATED]))("wait_for_done", "t1", sleep_interval=pace)


def test_embeddings_are_retrieved_with_the_documents_names(calling: Calling) -> None:
    body = (
        b'{"_id": "t1", "status": "ready", "created_at": "2024-09-26T10:29:19.968Z",'
        b' "video_embedding": {"segments": [{"start_offset_sec": 0, "end_offset_sec": 6,'
        b' "embedding_option": "audio", "embedding_scope": "clip", "float": [0.5, 1]}],'
        b' "metadata": {"input_filename": "a.mp4", "duration": 13.4400001}}}'
    )
    service = ScriptedService([httpx.Response(200, content=body)])
    client = calling(service)

    answer = client("retrieve", "t1", embedding_option=["visual-text", "audio"])

    assert service.requests[0].url.query == b"embedding_option=visual-text&embedding_option=audio"
    assert answer.video_embedding.segments[0].float_ == [0.5, 1.0]
    assert answer.created_at.tzinfo is not None
    assert client("retrieve_body", "t1") == body


def a_page(number: int, pages: int) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "data": [{"_id": f"t{number}"}],
            "page_info": {"page": number, "total_page": pages, "total_results": pages},
        },
    )


def test_a_listing_goes_on_to_its_last_page_and_no_further(calling: Calling) -> None:
    service = ScriptedService([a_page(1, 3), a_page(2, 3), a_page(3, 3), httpx.Response(400)])

    found = calling(service)("list", status="ready", page_limit=50)

    assert [task.id for task in found] == ["t1", "t2", "t3"]
    assert [request.url.query for request in service.requests] == [
        b"status=ready&page_limit=50",
        b"status=ready&page=2&page_limit=50",
        b"status=ready&page=3&page_limit=50",
    ]


def test_the_retries_of_one_client_have_a_budget_together(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(503)])
    client = calling(service, retry=RetryPolicy(attempts=5))

    for _ in range(50):
        with pytest.raises(ServerError):
            client("status", "t1")

    assert len(service.requests) == 50 + 20


def test_answers_give_the_budget_back(calling: Calling) -> None:
    answers = [*[httpx.Response(503)] * 40, *[a_status("ready")] * 30, httpx.Response(503)]
    service = ScriptedService(answers)
    client = calling(service, retry=RetryPolicy(attempts=5))
    for _ in range(20):
        with pytest.raises(ServerError):
            client("status", "t1")
    spent = len(service.requests)
    for _ in range(30):
        client("status", "t1")
    before = len(service.requests)

    with pytest.raises(ServerError):
        client("status", "t1")

    assert spent == 40
    assert len(service.requests) - before == 5


def test_a_key_does_not_print() -> None:
    key = ApiKey("tlk_secret")

    assert "secret" not in f"{key} {key!r}"
    for kind in (Client, AsyncClient, TasksClient, AsyncTasksClient):
        defaults = [each.default for each in inspect.signature(kind).parameters.values()]
        assert not any(isinstance(default, Mapping) for default in defaults)  # the environment


def test_what_a_server_repeats_of_the_key_is_cut(calling: Calling) -> None:
    said = {"code": "c", "message": f"tlk_secret may not\x1b[2J {'x' * 10_000}"}
    answer = httpx.Response(403, json=said, headers={"x-echo": "tlk_secret"})

    with pytest.raises(AuthenticationError) as caught:
        calling(ScriptedService([answer]))("status", "t1")

    error = caught.value
    assert "tlk_secret" not in f"{error} {error.body} {error.headers}"
    assert str(error).isprintable()
    assert len(str(error)) < 1000


@pytest.mark.parametrize("key", ["", " ", "tlk_\nx", "clé"])
def test_a_key_that_no_header_can_carry_is_refused_without_its_text(key: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        TasksClient(api_key=key)

    assert "tlk_" not in str(caught.value)
    assert ApiKey("tlk_1\n").reveal() == "tlk_1"  # as a file of a secret ends


@pytest.mark.parametrize(
    "base_url", ["", "api.example/v1.3", "http://[::1/", "http://x:80a", "https://x/v1.3?k=secret"]
)
def test_a_base_url_that_is_none_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ArgumentError, match="is no URL of a service") as caught:
        Client(api_key="k", base_url=base_url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("asked", ["0", "Mon, 02 Nov 2020 10:00:00 GMT"])
def test_a_server_that_asks_for_no_wait_is_not_hammered(calling: Calling, asked: str) -> None:
    headers = {"retry-after": asked, "date": "Mon, 02 Nov 2026 10:00:00 GMT"}
    broken = httpx.Response(503, headers=headers)
    client = calling(ScriptedService([a_status("processing"), broken, broken, a_status("ready")]))

    client("wait_for_done", "t1", sleep_interval=5)

    assert client.slept == [5, 5, 5]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.Response(200, text="<html>log in</html>"),
        httpx.Response(200, json={}),
        httpx.Response(500),
        httpx.Response(200, json={"_id": "t2", "status": "ready"}),
    ],
    ids=["refused", "html", "no status", "500", "another task"],
)
def test_waiting_gives_up_where_no_look_is_answered(
    calling: Calling, answer: httpx.Response
) -> None:
    service = ScriptedService([answer])

    with pytest.raises(ServiceError):
        calling(service)("wait_for_done", "t1")

    assert len(service.requests) == 5


def test_waiting_gives_up_an_outage_that_lasts(calling: Calling) -> None:
    client = calling(ScriptedService([a_status("processing"), httpx.Response(502)]))

    with pytest.raises(ServerError):
        client("wait_for_done", "t1", sleep_interval=60)

    assert sum(client.slept) == 60 + 900


@pytest.mark.parametrize("told", ["decode failed", {"message": "decode failed"}])
def test_a_reason_is_read_however_it_is_told(calling: Calling, told: Any) -> None:
    body = {"_id": "t1", "status": "failed", "error": told, "warnings": ["short"]}

    with pytest.raises(TaskFailedError, match="decode failed"):
        calling(ScriptedService([httpx.Response(200, json=body)]))(
            "wait_for_done", "t1", raise_on_failed=True
        )


def test_the_last_look_is_at_the_deadline(calling: Calling) -> None:
    client = calling(ScriptedService([a_status("processing"), a_status("ready")]))

    assert client("wait_for_done", "t1", sleep_interval=60, timeout=3).status == "ready"
    assert client.slept == [pytest.approx(3, abs=0.5)]


def test_a_timeout_bounds_a_policy_too(calling: Calling) -> None:
    client = calling(ScriptedService([a_status("processing")]))

    with pytest.raises(ApiTimeoutError, match=r"task t1: still processing after 2 s"):
        client("wait_for_done", "t1", policy=PollPolicy(deadline_s=60), timeout=2)


def test_a_deadline_is_told_as_one_whatever_the_last_look_brought(calling: Calling) -> None:
    client = calling(ScriptedService([a_status("processing"), httpx.Response(502)]))

    with pytest.raises(ApiTimeoutError, match=r"task t1: .* 502"):
        client("wait_for_done", "t1", timeout=2)


def test_a_callback_may_raise_what_the_client_raises(calling: Calling) -> None:
    seen: list[Any] = []

    def callback(task: object) -> None:
        seen.append(task)
        raise ServerError(status_code=503)

    with pytest.raises(ServerError):
        calling(ScriptedService([a_status("processing")]))("wait_for_done", "t1", callback=callback)

    assert len(seen) == 1


@pytest.mark.parametrize("error", [httpx.ReadError("mine"), RateLimitError(status_code=429)])
def test_progress_may_raise_what_a_service_would(calling: Calling, error: Exception) -> None:
    service = ScriptedService([CREATED])

    def progress(sent: int, total: int | None) -> None:
        raise error

    with pytest.raises(type(error)):
        calling(service)("create", model_name="m", video_file=b"film", progress=progress)

    assert service.requests == []


@pytest.mark.parametrize("code", ["too_many_requests", "resource_not_exist", "api_key_invalid"])
def test_a_proxys_words_do_not_make_a_lost_create_certain(calling: Calling, code: str) -> None:
    service = ScriptedService([httpx.Response(504, json={"code": code})])

    with pytest.raises(SubmissionUnknown):
        calling(service)("create", model_name="m", video_url=URL)

    assert len(service.requests) == 1


def test_a_file_that_became_shorter_is_noticed_and_makes_no_task(
    calling: Calling, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(3 << 20))

    def progress(sent: int, total: int | None) -> None:
        os.truncate(path, 1 << 20)

    with pytest.raises(VideoChangedError, match="no task was made") as caught:
        calling(ScriptedService([CREATED]))(
            "create", model_name="m", video_file=path, progress=progress
        )

    assert caught.value.task_id is None


def test_a_wrapper_of_a_file_is_sent_whole(calling: Calling, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4.gz"
    film = bytes(3 << 20)
    path.write_bytes(gzip.compress(film))
    service = ScriptedService([CREATED])

    with gzip.open(path) as file:
        calling(service)("create", model_name="m", video_file=file)

    assert film in service.bodies[0]


def test_a_file_is_looked_at_anew_for_each_attempt(calling: Calling, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    service = ScriptedService([httpx.Response(429), CREATED])
    client = calling(service)
    told: list[int] = []

    def progress(sent: int, total: int | None) -> None:
        told.append(sent)
        if len(told) == 1:
            path.write_bytes(b"new film")

    client("create", model_name="m", video_file=path, progress=progress)

    assert b"\r\n\r\nnew film\r\n" in service.bodies[1]


def test_two_codings_are_not_unpacked(calling: Calling) -> None:
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    answer = httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, stream=Chunks(bomb))

    with pytest.raises(AnswerError, match="gzip, gzip"):
        calling(ScriptedService([answer]))("status", "t1", request_options={"max_retries": 0})


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError(status_code=429, retry_after_s=3.0, code="c", message="m"),
        VideoChangedError("a.mp4", "t1"),
        TaskFailedError("t1", "no video"),
        SubmissionUnknown("lost"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes_as_they_are(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own

    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_key_of_ones_own_may_come_by_header(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(502)])

    with pytest.raises(SubmissionUnknown) as caught:
        calling(service)(
            "create",
            model_name="m",
            video_url=URL,
            request_options={"additional_headers": {"Idempotency-Key": "mine"}},
        )

    assert service.requests[0].headers.get_list("idempotency-key") == ["mine"]
    assert caught.value.submitted is not None
    assert caught.value.submitted.idempotency_key == "mine"


def test_options_of_none_are_as_good_as_absent(calling: Calling) -> None:
    service = ScriptedService([CREATED])

    calling(service)(
        "create",
        model_name="m",
        video_url=URL,
        request_options={
            "timeout_in_seconds": None,
            "max_retries": None,
            "additional_headers": None,
            "additional_query_parameters": {"a": ["x", "y"], "b": None, "c": True},
            "additional_body_parameters": None,
            "chunk_size": None,
        },
    )

    assert service.requests[0].url.query == b"a=x&a=y&c=true"


@pytest.mark.parametrize("options", [{"timeout_in_seconds": -1}, {"chunk_size": 0}])
def test_options_that_cannot_be_are_refused(calling: Calling, options: Any) -> None:
    service = ScriptedService([CREATED])

    with pytest.raises(ArgumentError, match="request_options"):
        calling(service)("status", "t1", request_options=options)

    assert service.requests == []


def test_a_closed_client_says_so(calling: Calling) -> None:
    client = calling(ScriptedService([CREATED]))
    client("close" if isinstance(client, SyncCaller) else "aclose")

    with pytest.raises(UsageError, match="closed"):
        client("status", "t1")


def test_a_listing_without_counts_ends_at_an_empty_page(calling: Calling) -> None:
    pages = [httpx.Response(200, json={"data": [{"_id": f"t{n}"}]}) for n in (1, 2)]
    service = ScriptedService([*pages, httpx.Response(200, json={"data": []})])

    assert [task.id for task in calling(service)("list")] == ["t1", "t2"]


def test_a_task_that_was_pushed_to_the_next_page_comes_once(calling: Calling) -> None:
    def page(*ids: str) -> httpx.Response:
        return httpx.Response(
            200, json={"data": [{"_id": each} for each in ids], "page_info": {"total_page": 3}}
        )

    service = ScriptedService([page("t4", "t3"), page("t3", "t2"), page("t1")])

    assert [task.id for task in calling(service)("list")] == ["t4", "t3", "t2", "t1"]


def test_a_page_that_a_server_repeats_ends_the_listing(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(200, json={"data": [{"_id": "t1"}]})])

    assert [task.id for task in calling(service)("list")] == ["t1"]


def test_the_statuses_own_model_is_what_a_callback_gets(calling: Calling) -> None:
    seen: list[Any] = []

    calling(ScriptedService([a_status("ready")]))("wait_for_done", "t1", callback=seen.append)

    assert [type(each) for each in seen] == [TasksStatusResponse]

"""What becomes of an answer, over a small app that records what reaches it."""

from __future__ import annotations

import asyncio
import gzip
import json
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
import pytest

from batchembed.api.models import (
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
)
from batchembed.engine.faults.answers import Answer, spoiled
from batchembed.engine.faults.plan import (
    AnswerLost,
    ConnectionCut,
    GzipBomb,
    IgnoreIdempotencyKey,
    MissingSegments,
    NoId,
    NotANumber,
    PlainTimes,
    Redirect,
    Refused,
    ServerError,
    Slow,
    SlowUpload,
    Stuck,
    TooManyRequests,
    TruncatedJson,
    UnknownFields,
    UsageLimitExceeded,
    WrongDimension,
    ZeroVector,
)
from tests.support.faulty import NOW, TASKS, Bench, SmallApp, World, faulty, with_faults

# -- what is not touched


def test_without_a_fault_an_answer_goes_through_as_it_is() -> None:
    @with_faults(ServerError(on=("create",)), Stuck())
    async def scene(bench: Bench) -> None:
        answer = await bench.get("/" + "f" * 24)
        assert "content-length" not in answer.headers  # it streamed
        assert len(answer.json()["video_embedding"]["segments"]) == 3


def test_other_paths_are_never_touched() -> None:
    @with_faults(ServerError())
    async def scene(bench: Bench) -> None:
        assert (await bench.client.get("/healthz")).text == "ok"
        assert (await bench.client.get("/openapi.json")).status_code == 404
        assert (await bench.client.put(TASKS)).status_code == 405
        assert (await bench.get("/")).status_code != 503
        assert (await bench.get("/a/b/c")).status_code == 404
        assert bench.world.notes == []


def test_each_fault_is_noted() -> None:
    @with_faults(ServerError(first=1), Stuck())
    async def scene(bench: Bench) -> None:
        await bench.create()
        await bench.create()
        assert bench.world.notes == ["create: server_error", f"task {bench.small.ids[0]}: stuck"]


# -- before the app sees the request


def test_too_many_requests_never_reach_the_app() -> None:
    @with_faults(TooManyRequests(on=("create",), retry_after_s=11382))
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "11382"
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert answer.headers["x-ratelimit-limit"] == answer.headers["x-ratelimit-used"] == "100"
        assert answer.headers["x-ratelimit-reset"] == "1762564849"
        assert answer.json() == {
            "code": "too_many_requests",
            "message": "You have exceeded the rate limit (100req/1day). "
            "Please try again later after 2025-11-08T01:20:49Z.",
        }
        assert bench.small.calls == []


def test_a_rate_limit_may_say_when_in_other_ways() -> None:
    @with_faults(
        TooManyRequests(first=1, retry_after_s=2, retry_after_form="date"),
        TooManyRequests(after=1, first=1, retry_after_s=1.5, retry_after_form="milliseconds"),
        TooManyRequests(after=2, first=1, retry_after_s=2.5),
        TooManyRequests(body=False, header_family="new"),
    )
    async def scene(bench: Bench) -> None:
        date, milliseconds, seconds, nothing = [await bench.get() for _ in range(4)]
        assert parsedate_to_datetime(date.headers["retry-after"]).timestamp() == NOW + 2
        assert milliseconds.headers["retry-after-ms"] == "1500"
        assert "retry-after" not in milliseconds.headers
        assert seconds.headers["retry-after"] == "2.5"
        assert nothing.content == b""
        assert nothing.headers["content-length"] == "0"
        assert nothing.headers["x-ratelimit-request-remaining"] == "0"
        assert float(nothing.headers["x-ratelimit-request-reset"]) == NOW + 60
        assert not {"retry-after", "retry-after-ms", "x-ratelimit-limit"} & set(nothing.headers)


def test_a_server_error_comes_as_json_html_or_nothing() -> None:
    @with_faults(
        ServerError(first=1, status=500),
        ServerError(after=1, first=1, status=502, form="html"),
        ServerError(status=504, form="empty"),
    )
    async def scene(bench: Bench) -> None:
        as_json, as_html, empty = [await bench.create() for _ in range(3)]
        assert (as_json.status_code, as_json.json()["code"]) == (500, "internal_server_error")
        assert (as_html.status_code, as_html.headers["content-type"]) == (502, "text/html")
        assert "<h1>502</h1>" in as_html.text
        assert (empty.status_code, empty.content) == (504, b"")
        assert bench.small.calls == []


def test_a_refusal_says_what_the_rule_says() -> None:
    @with_faults(
        Refused(first=1),
        Refused(status=403, code="region_not_allowed", message="Not here."),
    )
    async def scene(bench: Bench) -> None:
        invalid, region = await bench.create(), await bench.get()
        assert (invalid.status_code, invalid.json()) == (
            400,
            {
                "code": "parameter_invalid",
                "message": "The request contains some invalid parameters.",
            },
        )
        assert (region.status_code, region.json()) == (
            403,
            {"code": "region_not_allowed", "message": "Not here."},
        )
        assert bench.small.calls == []


def test_a_create_without_credit_is_refused_in_the_documents_words() -> None:
    @with_faults(UsageLimitExceeded())
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert (answer.status_code, answer.json()) == (
            422,
            {
                "code": "usage_limit_exceeded",
                "message": "Not enough free credit. Please register a payment method or contact "
                "sales@twelvelabs.io.",
            },
        )
        assert (await bench.get()).status_code == 200
        assert bench.small.calls == ["list"]


def test_a_redirect_leads_elsewhere() -> None:
    @with_faults(Redirect(location="http://127.0.0.1:9/x"))
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert (answer.status_code, answer.headers["location"]) == (302, "http://127.0.0.1:9/x")
        assert bench.small.calls == []


def test_without_a_way_to_cut_a_connection_an_error_says_so() -> None:
    @with_faults(ConnectionCut())
    async def scene(bench: Bench) -> None:
        with pytest.raises(ConnectionResetError, match="on purpose"):
            await bench.create()
        assert bench.small.calls == []


def test_an_idempotency_key_can_be_ignored() -> None:
    @with_faults(IgnoreIdempotencyKey(after=1), ServerError(on=("status",)))
    async def scene(bench: Bench) -> None:
        first, second = await bench.create("k"), await bench.create("k")
        assert first.json() != second.json()
        assert bench.small.keys == ["k", None]


def test_an_ignored_key_and_a_lost_answer_go_together() -> None:
    @with_faults(IgnoreIdempotencyKey(), AnswerLost(how="error"))
    async def scene(bench: Bench) -> None:
        assert (await bench.create("k")).status_code == 502
        assert bench.small.keys == [None]


# -- answers


def test_a_lost_answer_is_one_of_what_was_done() -> None:
    @with_faults(AnswerLost(on=("create",), how="error", status=504))
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert (answer.status_code, answer.headers["content-type"]) == (504, "text/html")
        assert bench.small.calls == ["create"]
        assert len(await bench.listed()) == 1


def test_a_lost_answer_hangs_before_it_is_cut() -> None:
    @with_faults(AnswerLost(how="hang", delay_s=90))
    async def scene(bench: Bench) -> None:
        with pytest.raises(ConnectionResetError):
            await bench.create()
        assert bench.world.slept_s == [90]
        assert bench.small.calls == ["create"]


def test_json_is_cut_in_an_answer_that_is_whole() -> None:
    @with_faults(TruncatedJson())
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert answer.status_code == 200
        assert len(answer.content) == int(answer.headers["content-length"]) == 17
        with pytest.raises(json.JSONDecodeError):
            answer.json()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_component_is_no_number(value: Any) -> None:
    @with_faults(NotANumber(value=value))
    async def scene(bench: Bench) -> None:
        answer = await bench.get("/" + "f" * 24)
        assert f'"float":[{value},-0.2,0.3,0.4]' in answer.text
        assert answer.text.count(value) == 1
        assert answer.headers["content-length"] == str(len(answer.content))


def test_every_vector_can_be_hit() -> None:
    @with_faults(
        NotANumber(first=1, vectors="all"),
        ZeroVector(after=1, first=1, vectors="all"),
        WrongDimension(after=2, first=1, dimension=6),
        WrongDimension(dimension=2, vectors="first"),
    )
    async def scene(bench: Bench) -> None:
        spoiled, zeros, longer, mixed = [await bench.get("/" + "f" * 24) for _ in range(4)]
        assert spoiled.text.count("NaN") == 3
        assert vectors(zeros) == [[0, 0, 0, 0]] * 3
        assert vectors(longer) == [[0.1, -0.2, 0.3, 0.4, 0.1, -0.2]] * 3
        assert [len(vector) for vector in vectors(mixed)] == [2, 4, 4]


def vectors(answer: httpx.Response) -> list[list[float]]:
    return [segment["float"] for segment in answer.json()["video_embedding"]["segments"]]


def test_one_vector_has_no_direction() -> None:
    @with_faults(ZeroVector())
    async def scene(bench: Bench) -> None:
        assert vectors(await bench.get("/" + "f" * 24)) == [
            [0, 0, 0, 0],
            [0.1, -0.2, 0.3, 0.4],
            [0.1, -0.2, 0.3, 0.4],
        ]


def test_the_last_segments_are_missing() -> None:
    @with_faults(MissingSegments(first=1, count=2), MissingSegments(count=9))
    async def scene(bench: Bench) -> None:
        two, all_ = await bench.get("/" + "f" * 24), await bench.get("/" + "f" * 24)
        segments = two.json()["video_embedding"]["segments"]
        assert [segment["start_offset_sec"] for segment in segments] == [0]
        assert all_.json()["video_embedding"]["segments"] == []
        assert all_.json()["x_kept"] == 1


def test_unknown_fields_leave_what_is_known() -> None:
    @with_faults(UnknownFields())
    async def scene(bench: Bench) -> None:
        made = await bench.create()
        task_id = msgspec.json.decode(made.content, type=TasksCreateResponse).id
        status, retrieve, listing = [
            await bench.get(path) for path in (f"/{task_id}/status", f"/{task_id}", "")
        ]
        assert msgspec.json.decode(status.content, type=TasksStatusResponse).status == "ready"
        whole = msgspec.json.decode(retrieve.content, type=TasksRetrieveResponse)
        assert whole.video_embedding is not None
        assert len(whole.video_embedding.segments or ()) == 3
        listed = msgspec.json.decode(listing.content, type=TasksListResponse)
        assert [item.id for item in listed.data or ()] == [task_id]
        for answer, objects in ((made, 1), (status, 4), (retrieve, 6), (listing, 5)):
            assert answer.text.count("x_unknown") == objects


def test_a_create_has_no_id() -> None:
    @with_faults(NoId())
    async def scene(bench: Bench) -> None:
        answer = await bench.create()
        assert (answer.status_code, answer.json()) == (200, {})
        assert len(bench.small.ids) == 1


@pytest.mark.parametrize("size_bytes", [10, 3_000_000])
def test_a_bomb_is_small_and_decodes_to_its_size(size_bytes: int) -> None:
    @with_faults(GzipBomb(size_bytes=size_bytes))
    async def scene(bench: Bench) -> None:
        async with bench.client.stream("GET", TASKS) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) == len(raw) < 4000
        whole = gzip.decompress(raw)
        assert len(whole) == max(size_bytes, len(whole.rstrip()))
        assert json.loads(whole)["data"] == []


def test_a_slow_answer_comes_after_its_delay() -> None:
    @with_faults(Slow(delay_s=3))
    async def scene(bench: Bench) -> None:
        assert (await bench.create()).status_code == 200
        assert bench.world.slept_s == [3]


def test_an_upload_is_taken_in_after_its_delay() -> None:
    small, world, order = SmallApp(), World(), list[str]()

    async def send(message: Any) -> None:
        order.append(message["type"])

    async def receive() -> Any:
        order.append(f"received after {sum(world.slept_s):g} s")
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": TASKS, "query_string": b"", "headers": []}
    asyncio.run(faulty(small, world, (SlowUpload(delay_s=3),))(scope, receive, send))
    assert order == ["received after 3 s", "http.response.start", "http.response.body"]
    assert world.slept_s == [3]


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        ("2024-09-26T10:29:19.968Z", "2024-09-26T10:29:19Z"),
        ("2024-09-26T10:29:19Z", "2024-09-26T10:29:19Z"),
    ],
)
def test_times_have_no_milliseconds(made: str, shown: str) -> None:
    task = {"_id": "a", "created_at": made, "video_embedding": {"segments": []}}
    answer = Answer(status=200, headers=(), body=json.dumps(task).encode())
    page = answer.with_body(json.dumps({"data": [task, task]}).encode())

    assert json.loads(spoiled(PlainTimes(), answer).body) == {**task, "created_at": shown}
    assert [
        each["created_at"] for each in json.loads(spoiled(PlainTimes(), page).body)["data"]
    ] == [shown, shown]


def test_an_answer_drips_byte_by_byte() -> None:
    small, world, sent = SmallApp(), World(), []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "path": TASKS,
        "query_string": b"",
        "headers": [],
    }
    asyncio.run(faulty(small, world, (Slow(delay_s=7, drip=True),))(scope, receive, send))
    start, *parts = sent
    assert dict(start["headers"])[b"content-length"] == b"34"
    assert [len(part["body"]) for part in parts] == [1] * 34 + [0]
    assert [part.get("more_body", False) for part in parts] == [True] * 34 + [False]
    assert sum(world.slept_s) == pytest.approx(7)


def test_an_error_of_the_app_stays_one_when_spoiled() -> None:
    @with_faults(UnknownFields())
    async def scene(bench: Bench) -> None:
        answer = await bench.get(page_limit="51")
        assert (answer.status_code, answer.json()["code"]) == (400, "parameter_invalid")

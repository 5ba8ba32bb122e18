"""The server's faults on purpose, over a small app that records what reaches it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from batchembed.api.models import (
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
)
from batchembed.engine.faults.app import ABORT, FaultyApp
from batchembed.engine.faults.draws import Draws, due
from batchembed.engine.faults.plan import (
    AnswerLost,
    AnswerRule,
    AnyRule,
    ConnectionCut,
    Failed,
    FaultPlan,
    GzipBomb,
    HiddenInListing,
    IgnoreIdempotencyKey,
    Lost,
    MissingSegments,
    NoId,
    NotANumber,
    Redirect,
    Rule,
    ServerError,
    Slow,
    SlowReady,
    Stuck,
    TooManyRequests,
    TruncatedJson,
    UnknownFields,
    UnknownStatus,
    WrongDimension,
    ZeroVector,
)

TASKS = "/v1.3/embed/tasks"
NOW = 1_762_553_467.0


class SmallApp:
    """The endpoints over tasks that are ready at once, newest first; records each call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.keys: list[str | None] = []
        self.ids: list[str] = []
        self.by_key: dict[str, str] = {}
        self.reached = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route(TASKS, self.create, methods=["POST"]),
                Route(TASKS, self.list_tasks, methods=["GET"]),
                Route(f"{TASKS}/{{task_id}}/status", self.status),
                Route(f"{TASKS}/{{task_id}}", self.retrieve),
                Route("/healthz", self.health),
            ]
        )

    async def create(self, request: Request) -> Response:
        await request.body()
        key = request.headers.get("idempotency-key")
        self.calls.append("create")
        self.reached.set()
        self.keys.append(key)
        if key in self.by_key:
            return JSONResponse({"_id": self.by_key[str(key)]})
        self.ids.append(f"{len(self.ids) + 1:024x}")
        if key is not None:
            self.by_key[key] = self.ids[-1]
        return JSONResponse({"_id": self.ids[-1]})

    async def list_tasks(self, request: Request) -> Response:
        self.calls.append("list")
        page = int(request.query_params.get("page", "1"))
        limit = int(request.query_params.get("page_limit", "10"))
        if limit > 50:
            return JSONResponse({"code": "parameter_invalid"}, status_code=400)
        newest_first = (
            self.ids[::-1] if request.query_params.get("status") in {None, "ready"} else []
        )
        return JSONResponse(
            {
                "data": [
                    task(task_id) for task_id in newest_first[(page - 1) * limit : page * limit]
                ],
                "page_info": {
                    "page": page,
                    "limit_per_page": limit,
                    "total_page": max(1, -(-len(newest_first) // limit)),
                    "total_results": len(newest_first),
                },
            }
        )

    async def status(self, request: Request) -> Response:
        self.calls.append("status")
        return JSONResponse({**task(request.path_params["task_id"]), "error": {"code": "odd"}})

    async def retrieve(self, request: Request) -> Response:
        self.calls.append("retrieve")
        whole = task(request.path_params["task_id"])
        whole["video_embedding"]["segments"] = [
            {"start_offset_sec": at, "end_offset_sec": at + 6, "float": [0.1, -0.2, 0.3, 0.4]}
            for at in (0, 6, 12)
        ]
        body = json.dumps(whole).encode()
        return StreamingResponse(
            (body[at : at + 100] for at in range(0, len(body), 100)), media_type="application/json"
        )

    async def health(self, _request: Request) -> Response:
        self.calls.append("health")
        return PlainTextResponse("ok")


def task(task_id: str) -> dict[str, Any]:
    return {
        "_id": task_id,
        "status": "ready",
        "x_kept": 1,
        "video_embedding": {"metadata": {"input_filename": "a.mp4"}},
    }


class World:
    """A clock that stands still unless it is slept or moved."""

    def __init__(self) -> None:
        self.time_s = NOW
        self.slept_s: list[float] = []
        self.notes: list[str] = []

    def now(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.time_s += seconds


class Bench:
    """A client of a `SmallApp` behind faults."""

    def __init__(self, small: SmallApp, world: World, client: httpx.AsyncClient) -> None:
        self.small = small
        self.world = world
        self.client = client

    async def create(self, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(TASKS, data={"model_name": "local-v1"}, headers=headers)

    async def get(self, path: str = "", **query: str) -> httpx.Response:
        return await self.client.get(TASKS + path, params=query)

    async def listed(self, **query: str) -> list[str]:
        """The ids of one page."""
        return [item["_id"] for item in (await self.get(**query)).json()["data"]]


def faulty(small: SmallApp, world: World, rules: tuple[AnyRule, ...]) -> FaultyApp:
    plan = FaultPlan(seed=7, rules=rules)
    return FaultyApp(small.app, plan, sleep=world.sleep, now=world.now, note=world.notes.append)


def with_faults(*rules: AnyRule) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    """Run a scene in process, at once."""

    def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def run() -> None:
            small, world = SmallApp(), World()
            transport = httpx.ASGITransport(app=faulty(small, world, rules))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await scene(Bench(small, world, client))

        asyncio.run(run())

    return play


# -- when


def hits(rule: Rule, count: int, *, seed: int = 0, number: int = 0) -> list[int]:
    return [seen for seen in range(count) if due(rule, seed=seed, number=number, seen=seen)]


def test_a_rule_hits_in_its_window() -> None:
    assert hits(Slow(), 3) == [0, 1, 2]
    assert hits(Slow(first=2), 9) == [0, 1]
    assert hits(Slow(every=3), 9) == [2, 5, 8]
    assert hits(Slow(after=4, first=2), 9) == [4, 5]
    assert hits(Slow(probability=0.0), 99) == []
    assert hits(Slow(probability=1.0), 9) == list(range(9))


def test_the_same_seed_hits_the_same_and_another_hits_others() -> None:
    rule = Slow(probability=0.3)
    assert hits(rule, 1000, seed=7) == hits(rule, 1000, seed=7)
    assert hits(rule, 1000, seed=7) != hits(rule, 1000, seed=8)
    assert hits(rule, 1000, seed=7) != hits(rule, 1000, seed=7, number=1)
    assert 250 < len(hits(rule, 1000, seed=7)) < 350


def test_a_rule_hits_at_most_so_often() -> None:
    draws = Draws(FaultPlan(rules=(Slow(every=2, times=2),)))
    drawn = [draws.draw(AnswerRule, "list") is not None for _ in range(8)]
    assert drawn == [False, True, False, True, False, False, False, False]


def test_the_first_rule_that_hits_wins_and_each_counts_for_itself() -> None:
    slow, cut, lost = (
        Slow(every=2),
        ConnectionCut(on=("list",), first=3),
        AnswerLost(on=("create",)),
    )
    draws = Draws(FaultPlan(rules=(slow, cut, lost)))
    drawn = [draws.draw(AnswerRule, "list") for _ in range(4)]
    assert drawn == [cut, slow, cut, slow]
    assert draws.draw(AnswerRule, "create") == lost
    assert draws.draw(AnswerRule, "list") == slow  # it counted the create too


def test_a_run_can_be_repeated() -> None:
    def statuses() -> list[int]:
        seen: list[int] = []

        async def scene(bench: Bench) -> None:
            seen.extend([(await bench.create()).status_code for _ in range(40)])

        with_faults(
            ServerError(probability=0.2), TooManyRequests(probability=0.2), Failed(probability=0.5)
        )(scene)
        return seen

    first = statuses()
    assert first == statuses()
    assert set(first) == {200, 429, 503}


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


# -- tasks


def test_a_task_is_stuck_in_every_answer() -> None:
    @with_faults(Stuck(after=1, times=1))
    async def scene(bench: Bench) -> None:
        for _ in range(3):
            await bench.create()
        first, stuck, third = bench.small.ids
        bench.world.time_s += 1e6
        status = (await bench.get(f"/{stuck}/status")).json()
        assert (status["status"], "error" in status, status["x_kept"]) == ("processing", False, 1)
        whole = (await bench.get(f"/{stuck}")).json()
        assert whole["status"] == "processing"
        assert whole["video_embedding"] == {"metadata": {"input_filename": "a.mp4"}}
        assert (await bench.get(f"/{first}/status")).json()["status"] == "ready"
        assert await bench.listed(status="processing") == [stuck]
        assert await bench.listed(status="ready") == [third, first]


def test_a_failed_task_gives_no_reason() -> None:
    @with_faults(Failed())
    async def scene(bench: Bench) -> None:
        task_id = (await bench.create()).json()["_id"]
        status = (await bench.get(f"/{task_id}/status")).json()
        assert (status["status"], "error" in status) == ("failed", False)
        assert "segments" not in (await bench.get(f"/{task_id}")).json()["video_embedding"]


def test_a_status_is_unknown_or_late_for_a_while() -> None:
    @with_faults(UnknownStatus(times=1, delay_s=10), SlowReady(delay_s=20))
    async def scene(bench: Bench) -> None:
        ids = [(await bench.create()).json()["_id"] for _ in range(2)]

        async def statuses() -> list[str]:
            return [(await bench.get(f"/{each}/status")).json()["status"] for each in ids]

        assert await statuses() == ["queued", "processing"]
        bench.world.time_s += 10
        assert await statuses() == ["ready", "processing"]
        bench.world.time_s += 10
        assert await statuses() == ["ready", "ready"]


def test_an_unknown_status_can_stay() -> None:
    @with_faults(UnknownStatus(status="validating"))
    async def scene(bench: Bench) -> None:
        task_id = (await bench.create()).json()["_id"]
        bench.world.time_s += 1e6
        assert (await bench.get(f"/{task_id}")).json()["status"] == "validating"
        assert (await bench.get()).json()["data"][0]["status"] == "validating"


def test_a_lost_task_is_unknown_and_unlisted() -> None:
    @with_faults(Lost(first=1))
    async def scene(bench: Bench) -> None:
        lost, kept = [(await bench.create()).json()["_id"] for _ in range(2)]
        for path in (f"/{lost}/status", f"/{lost}"):
            answer = await bench.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "resource_not_exist")
            assert lost in answer.json()["message"]
        assert await bench.listed() == [kept]
        assert "status" not in bench.small.calls


def test_a_listing_without_some_has_the_pages_of_the_others() -> None:
    @with_faults(Lost(every=3))
    async def scene(bench: Bench) -> None:
        for _ in range(160):
            await bench.create()
        shown = [each for at, each in enumerate(bench.small.ids) if at % 3 != 2][::-1]
        pages = [(await bench.get(page=str(page), page_limit="50")).json() for page in (1, 2, 3)]
        assert [len(page["data"]) for page in pages] == [50, 50, 7]
        assert [item["_id"] for page in pages for item in page["data"]] == shown
        assert pages[1]["page_info"] == {
            "page": 2,
            "limit_per_page": 50,
            "total_page": 3,
            "total_results": 107,
        }
        assert (await bench.get(page_limit="51")).status_code == 400


def test_a_create_that_is_repeated_is_no_new_task() -> None:
    @with_faults(Failed(after=1))
    async def scene(bench: Bench) -> None:
        first = await bench.create("k")
        assert (await bench.create("k")).json() == first.json()
        task_id = first.json()["_id"]
        assert (await bench.get(f"/{task_id}/status")).json()["status"] == "ready"


def test_a_task_whose_answer_was_lost_has_its_fate_all_the_same() -> None:
    @with_faults(AnswerLost(on=("create",), how="error"), Stuck())
    async def scene(bench: Bench) -> None:
        await bench.create()
        assert (await bench.get()).json()["data"][0]["status"] == "processing"


def test_a_task_is_hidden_for_a_while_from_listings_alone() -> None:
    @with_faults(HiddenInListing(after=1, for_s=2))
    async def scene(bench: Bench) -> None:
        seen, hidden = [(await bench.create()).json()["_id"] for _ in range(2)]
        answer = (await bench.get()).json()
        assert [item["_id"] for item in answer["data"]] == [seen]
        assert answer["page_info"]["total_results"] == 1
        assert (await bench.get(f"/{hidden}/status")).status_code == 200
        bench.world.time_s += 2
        assert await bench.listed() == [hidden, seen]


def test_a_task_is_hidden_from_so_many_listings_of_several_pages() -> None:
    @with_faults(HiddenInListing(listings=2, first=1))
    async def scene(bench: Bench) -> None:
        hidden, other = [(await bench.create()).json()["_id"] for _ in range(2)]
        for _ in range(2):
            assert await bench.listed(page_limit="1") == [other]
            assert await bench.listed(page_limit="1", page="2") == []
        assert await bench.listed(page_limit="1") == [other]
        assert await bench.listed(page_limit="1", page="2") == [hidden]


def test_metadata_alone_can_be_hidden() -> None:
    @with_faults(HiddenInListing(metadata=True), Stuck())
    async def scene(bench: Bench) -> None:
        task_id = (await bench.create()).json()["_id"]
        (item,) = (await bench.get()).json()["data"]
        assert item == {
            "_id": task_id,
            "status": "processing",
            "x_kept": 1,
            "video_embedding": {},
        }


# -- over real HTTP


class CuttingProtocol(H11Protocol):
    """Gives each request the means to abort its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        app = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = self.transport.abort
            await app(scope, receive, send)

        self.app = with_abort


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=CuttingProtocol, log_config=None, log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


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


def test_over_http_connections_are_cut_without_a_byte(
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
    assert [each.message for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_over_http_an_answer_is_cut_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
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
    assert [each.message for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_over_http_a_hanging_answer_ends_when_its_client_goes() -> None:
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


def test_over_http_a_refusal_arrives_although_the_upload_is_large() -> None:
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

"""What becomes of a task in all answers about it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from batchembed.engine.faults.app import FaultyApp
from batchembed.engine.faults.plan import (
    AnswerLost,
    Failed,
    FaultPlan,
    HiddenInListing,
    Lost,
    SlowReady,
    Stuck,
    UnknownStatus,
)
from tests.support.faulty import TASKS, Bench, SmallApp, with_faults


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


def test_of_very_many_tasks_the_oldest_are_shown_as_they_are() -> None:
    async def scene() -> None:
        small = SmallApp()
        app = FaultyApp(small.app, FaultPlan(rules=(Stuck(),)), most_tasks=2)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for _ in range(3):
                await client.post(TASKS)
            items = (await client.get(TASKS)).json()["data"]
        assert [item["status"] for item in items] == ["processing", "processing", "ready"]

    asyncio.run(scene())


def test_a_listing_of_which_a_page_fails_is_that_failure() -> None:
    small = SmallApp()

    async def overloaded(scope: Any, receive: Any, send: Any) -> None:
        """Every page but the first of ten is refused."""
        if b"page_limit=50" not in scope["query_string"]:
            await small.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        body = json.dumps({"code": "service_unavailable", "message": "Later."}).encode()
        await send({"type": "http.response.body", "body": body})

    async def scene() -> None:
        app = FaultyApp(overloaded, FaultPlan(rules=(Stuck(),)))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post(TASKS)
            answer = await client.get(TASKS)
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")

    asyncio.run(scene())

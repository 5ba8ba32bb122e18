"""A small app that records what reaches it, behind faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from batchembed.engine.faults.app import FaultyApp
from batchembed.engine.faults.plan import (
    AnyRule,
    FaultPlan,
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

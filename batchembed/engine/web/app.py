"""The Embed API v1.3 over an `Engine`, as a Starlette app."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from batchembed.api.models import TasksCreateResponse
from batchembed.engine.refusal import Refusal, unavailable
from batchembed.engine.service import Engine
from batchembed.engine.tasks.task import Task
from batchembed.engine.web import queries
from batchembed.engine.web.answers import (
    answer,
    listing,
    refused,
    status_of,
    with_segments,
    without_segments,
)
from batchembed.engine.web.openapi import API_PREFIX, Health, description
from batchembed.engine.web.uploads import MAX_UPLOAD_BYTES, declared_bytes, receive_form
from batchembed.errors import StorageError

__all__ = ["API_PREFIX", "answer", "build_app", "refused"]


def build_app(
    engine: Engine,
    *,
    max_upload_bytes: int = MAX_UPLOAD_BYTES,
    confined: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The app over a started engine, whose life is its owner's.

    Args:
        engine: it.
        max_upload_bytes: of a create's whole body.
        confined: whether the system keeps the workers from files and network, as far as is known.
    """
    api = _Endpoints(engine, max_upload_bytes=max_upload_bytes, confined=confined)
    routes = [
        Route(f"{API_PREFIX}/embed/tasks", api.tasks, methods=["GET", "POST"]),
        Route(f"{API_PREFIX}/embed/tasks/{{task_id}}/status", api.status, methods=["GET"]),
        Route(f"{API_PREFIX}/embed/tasks/{{task_id}}", api.retrieve, methods=["GET"]),
        Route("/healthz", api.health, methods=["GET"]),
        Route("/openapi.json", api.openapi, methods=["GET"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            Refusal: _refuse,
            HTTPException: _no_route,
            StorageError: _in_trouble,
            ClientDisconnect: _gone,
            Exception: _defect,
        },
    )
    app.router.redirect_slashes = False  # a redirect would be no documented answer
    return app


class _Endpoints:
    def __init__(
        self, engine: Engine, *, max_upload_bytes: int, confined: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._max_upload_bytes = max_upload_bytes
        self._confined = confined
        self._description = msgspec.json.encode(
            description(engine.aliases, max_upload_bytes=max_upload_bytes)
        )

    async def tasks(self, request: Request) -> Response:
        return await (self._create if request.method == "POST" else self._list)(request)

    async def _create(self, request: Request) -> Response:
        key = queries.idempotency_key(*request.headers.getlist("idempotency-key"))
        length = declared_bytes(request.headers.get("content-length"), self._max_upload_bytes)
        self._engine.require_room()
        with self._engine.receiving(key), self._engine.storing():
            await asyncio.to_thread(self._engine.spool.require_room, length)
            received = await receive_form(
                request.stream(),
                content_type=request.headers.get("content-type", ""),
                spool=self._engine.spool,
                max_bytes=self._max_upload_bytes,
            )
            task = await self._engine.create_received(received, key)
        return answer(TasksCreateResponse(id=task.task_id))

    async def status(self, request: Request) -> Response:
        return answer(status_of(await self._task(request)))

    async def retrieve(self, request: Request) -> Response:
        wanted = queries.embedding_options(request.query_params)
        task = await self._task(request)
        if task.status != "ready":
            return answer(without_segments(task))
        embedded = await asyncio.to_thread(self._engine.tasks.result, task)
        there = {segment.embedding_option for segment in embedded.segments}
        for option in wanted:
            if option not in there:
                raise Refusal(
                    404,
                    "embed_no_embeddings_found",
                    f"The video has no embeddings for embedding_option '{option}'",
                )
        pieces = with_segments(task, embedded, wanted)
        return StreamingResponse(_off_the_loop(pieces), media_type="application/json")

    async def _task(self, request: Request) -> Task:
        task_id = queries.task_id(request.path_params["task_id"])
        task = self._engine.tasks.peek(task_id)  # no hop to a thread, for most
        return await asyncio.to_thread(self._engine.tasks.get, task_id) if task is None else task

    async def _list(self, request: Request) -> Response:
        asked = queries.listing_query(request.query_params)
        found = await asyncio.to_thread(self._engine.tasks.page, asked)
        return answer(listing(found, asked.page, asked.page_limit))

    async def health(self, _request: Request) -> Response:
        engine = self._engine
        failing = engine.failure is not None
        return answer(
            Health(
                status="failed" if failing else "ok",
                version=importlib.metadata.version("batchembed"),
                queue_length=engine.queue_length,
                workers=engine.workers,
                workers_confined=self._confined(),
            ),
            status_code=503 if failing else 200,
        )

    async def openapi(self, _request: Request) -> Response:
        return Response(self._description, media_type="application/json")


async def _off_the_loop(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return refused(error)


async def _no_route(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = "method_not_allowed" if error.status_code == 405 else "resource_not_exist"
    return refused(Refusal(error.status_code, code, error.detail, headers=error.headers))


async def _in_trouble(_request: Request, error: Exception) -> Response:
    return refused(unavailable(str(error)))


async def _gone(_request: Request, _error: Exception) -> Response:
    return refused(Refusal(400, "request_canceled_or_timed_out", "Request canceled."))


async def _defect(_request: Request, _error: Exception) -> Response:
    return refused(Refusal(500, "internal_server_error", "A defect of the engine: see its log."))

"""The Embed API v1.3 over an `Engine`, as a Starlette app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from batchembed.api.models import (
    CreateForm,
    PageInfo,
    TaskError,
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksRetrieveResponseVideoEmbedding,
    TasksStatusResponse,
    TasksStatusResponseVideoEmbedding,
    Upload,
    VideoEmbeddingMetadata,
    VideoEmbeddingTask,
    VideoSegment,
)
from batchembed.core.problems import Reason
from batchembed.engine.refusal import Refusal
from batchembed.engine.service import Engine
from batchembed.engine.tasks import Task
from batchembed.errors import StorageError

API_PREFIX = "/v1.3"
_STATUSES = ("processing", "ready", "failed")
_OPTIONS = ("visual-text", "audio")
_MAX_PAGE = 50


def build_app(engine: Engine) -> Starlette:
    """The app over a started engine, whose life is its owner's."""
    api = _Endpoints(engine)
    routes = [
        Route(f"{API_PREFIX}/embed/tasks", api.create, methods=["POST"]),
        Route(f"{API_PREFIX}/embed/tasks", api.list_tasks, methods=["GET"]),
        Route(f"{API_PREFIX}/embed/tasks/{{task_id}}/status", api.status, methods=["GET"]),
        Route(f"{API_PREFIX}/embed/tasks/{{task_id}}", api.retrieve, methods=["GET"]),
    ]
    handlers = {Refusal: _refuse, HTTPException: _no_route, StorageError: _in_trouble}
    return Starlette(routes=routes, exception_handlers=handlers)


class _Endpoints:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise Refusal(400, "parameter_invalid", "The request must be multipart/form-data.")
        async with request.form(max_files=1, max_fields=16) as parts:
            fields = tuple(
                (name, value) for name, value in parts.multi_items() if isinstance(value, str)
            )
            files = [
                (name, value)
                for name, value in parts.multi_items()
                if isinstance(value, UploadFile)
            ]
            stray = [name for name, _ in files if name != "video_file"]
            if stray:
                raise Refusal(400, "parameter_unknown", f"The {stray[0]} parameter is unknown.")
            upload = (
                Upload(file=files[0][1].file, filename=files[0][1].filename or "upload")
                if files
                else None
            )
            task = await self._engine.create(
                CreateForm(fields=fields, upload=upload), request.headers.get("idempotency-key")
            )
        return answer(TasksCreateResponse(id=task.task_id))

    async def status(self, request: Request) -> Response:
        task = await asyncio.to_thread(self._engine.tasks.get, request.path_params["task_id"])
        return answer(
            TasksStatusResponse(
                id=task.task_id,
                model_name=task.parameters.model_name,
                status=task.status,
                video_embedding=TasksStatusResponseVideoEmbedding(metadata=_metadata(task)),
                error=None if task.error is None else _told(task.error),
                warnings=[_told(warning) for warning in task.warnings] or None,
            )
        )

    async def retrieve(self, request: Request) -> Response:
        wanted = request.query_params.getlist("embedding_option")
        for option in wanted:
            if option not in _OPTIONS:
                known = ", ".join(_OPTIONS)
                raise Refusal(
                    400,
                    "parameter_invalid",
                    f"The embedding_option parameter is invalid. It is one of: {known}",
                )
        task = await asyncio.to_thread(self._engine.tasks.get, request.path_params["task_id"])
        return Response(
            await asyncio.to_thread(self._retrieved, task, tuple(wanted)),
            media_type="application/json",
        )

    def _retrieved(self, task: Task, wanted: tuple[str, ...]) -> bytes:
        segments = None if task.status != "ready" else self._segments(task, wanted)
        return msgspec.json.encode(
            TasksRetrieveResponse(
                id=task.task_id,
                model_name=task.parameters.model_name,
                status=task.status,
                created_at=_moment(task.created_at),
                video_embedding=TasksRetrieveResponseVideoEmbedding(
                    metadata=_metadata(task), segments=segments
                ),
            )
        )

    def _segments(self, task: Task, wanted: tuple[str, ...]) -> list[VideoSegment]:
        result = self._engine.tasks.result(task)
        for option in wanted:
            if all(segment.embedding_option != option for segment in result.segments):
                raise Refusal(
                    404,
                    "embed_no_embeddings_found",
                    f"The video has no embeddings for embedding_option '{option}'",
                )
        return [
            VideoSegment(
                start_offset_sec=segment.start_ms / 1000,
                end_offset_sec=segment.end_ms / 1000,
                embedding_option=segment.embedding_option,
                embedding_scope=segment.embedding_scope,
                float_=vector.tolist(),
            )
            for segment, vector in zip(result.segments, result.vectors, strict=True)
            if not wanted or segment.embedding_option in wanted
        ]

    async def list_tasks(self, request: Request) -> Response:
        query = request.query_params
        status = query.get("status")
        if status is not None and status not in _STATUSES:
            raise Refusal(400, "parameter_invalid", "The status parameter is invalid.")
        page = _count(query.get("page"), "page", default=1, most=1 << 40)
        limit = _count(query.get("page_limit"), "page_limit", default=10, most=_MAX_PAGE)
        found = await asyncio.to_thread(
            lambda: self._engine.tasks.page(
                status=status,
                started_at=_time(query.get("started_at"), "started_at"),
                ended_at=_time(query.get("ended_at"), "ended_at"),
                page=page,
                page_limit=limit,
            )
        )
        return answer(
            TasksListResponse(
                data=[_listed(task) for task in found.tasks],
                page_info=PageInfo(
                    page=page,
                    limit_per_page=limit,
                    total_page=max(1, -(-found.total // limit)),
                    total_results=found.total,
                ),
            )
        )


def answer(body: msgspec.Struct, status_code: int = 200) -> Response:
    """A model of the wire as a JSON answer."""
    return Response(
        msgspec.json.encode(body), status_code=status_code, media_type="application/json"
    )


def refused(refusal: Refusal) -> Response:
    """A refusal as the API's error object."""
    return Response(
        msgspec.json.encode(refusal.body()),
        status_code=refusal.status_code,
        media_type="application/json",
    )


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return refused(error)


async def _no_route(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = "parameter_invalid" if error.status_code == 400 else "resource_not_exist"
    return refused(Refusal(error.status_code, code, error.detail))


async def _in_trouble(_request: Request, error: Exception) -> Response:
    return refused(Refusal(500, "internal_server_error", str(error)))


def _metadata(task: Task) -> VideoEmbeddingMetadata:
    return VideoEmbeddingMetadata(
        input_filename=task.input_filename,
        video_clip_length=task.parameters.video_clip_length,
        video_embedding_scope=list(task.parameters.video_embedding_scope),
        duration=task.duration_sec,
    )


def _told(reason: Reason) -> TaskError:
    return TaskError(code=reason.code, message=reason.message)


def _listed(task: Task) -> VideoEmbeddingTask:
    return VideoEmbeddingTask(
        id=task.task_id,
        model_name=task.parameters.model_name,
        status=task.status,
        created_at=_moment(task.created_at),
        video_embedding=TasksStatusResponseVideoEmbedding(metadata=_metadata(task)),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), tz=UTC)


def _count(text: str | None, name: str, *, default: int, most: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise Refusal(400, "parameter_invalid", f"The {name} parameter is invalid.")
    return int(text)


def _time(text: str | None, name: str) -> float | None:
    parse: Callable[[str], datetime] = datetime.fromisoformat
    try:
        moment = None if text is None else parse(text)
    except ValueError:
        raise Refusal(400, "parameter_invalid", f"The {name} parameter is invalid.") from None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

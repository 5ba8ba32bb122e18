"""What the server answers, as OpenAPI 3.1. The answers' schemas are made from the models themselves."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection
from typing import Any, TypeAlias

import msgspec

from batchembed.api.models import (
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
)
from batchembed.engine.requests import MODEL_NAME
from batchembed.engine.web import queries

API_PREFIX = "/v1.3"

JsonObject: TypeAlias = dict[str, Any]


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is refused: `code` for programs, `message` for people."""

    code: str
    message: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is. `queue_length` counts the tasks that have not ended."""

    status: str
    version: str
    queue_length: int
    workers: int
    workers_confined: bool


#: What a status code of an error means, wherever it is answered.
_ERRORS = {
    400: "A parameter is missing, unknown or invalid, or the video breaks a limit.",
    401: "The API key is missing or wrong.",
    403: "The Host or the Origin of the request is not one that this server answers.",
    404: "There is no such task, or no more; or the video has no embeddings of the option asked for.",
    408: "The request came too slowly.",
    409: "A request with this Idempotency-Key is still being received.",
    413: "The body is larger than this server takes.",
    422: "This Idempotency-Key came before with other parameters or content.",
    429: "Too many tasks are processing already: Retry-After says when to come again.",
    503: "The server can't do it now: it is overloaded, its disk is full, or its engine has stopped.",
}
_ALWAYS = (403, 408, 503)


def description(aliases: Collection[str], *, max_upload_bytes: int) -> JsonObject:
    """The document.

    Args:
        aliases: further names of the model.
        max_upload_bytes: of a create's whole body.
    """
    models = (
        Error,
        Health,
        TasksCreateResponse,
        TasksListResponse,
        TasksRetrieveResponse,
        TasksStatusResponse,
    )
    _, schemas = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    form = _create_form((MODEL_NAME, *sorted(aliases)), max_upload_bytes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "batchembed serve: Embed API v1.3",
            "version": importlib.metadata.version("batchembed"),
            "description": "Unknown query parameters are ignored; unknown parts of a form are refused.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            f"{API_PREFIX}/embed/tasks": {"post": _create(form), "get": _list()},
            f"{API_PREFIX}/embed/tasks/{{task_id}}/status": {"get": _status()},
            f"{API_PREFIX}/embed/tasks/{{task_id}}": {"get": _retrieve()},
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the server works",
                    "responses": _responses("Health", 403, 408)
                    | {
                        "503": _answer(
                            "The engine has stopped, or the server is overloaded.",
                            "Health",
                            "Error",
                        )
                    },
                }
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "Needed where the server was started with a key.",
                }
            },
        },
    }


def _create(form: JsonObject) -> JsonObject:
    return {
        "operationId": "create",
        "summary": "Create a video embedding task",
        "security": _SECURITY,
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key, parameters and content give the same task.",
                "schema": {"type": "string", "pattern": queries.IDEMPOTENCY_KEY},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"video_embedding_scope": {"style": "form", "explode": True}},
                }
            },
        },
        "responses": _responses("TasksCreateResponse", 400, 401, *_ALWAYS, 409, 413, 422, 429),
    }


def _create_form(model_names: Collection[str], max_upload_bytes: int) -> JsonObject:
    """The parts of a create. An empty part counts as not given."""
    number = {"type": "number", "maximum": 1e9}
    given = {"minLength": 1}
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string", "enum": list(model_names)},
            "video_file": {
                "type": "string",
                "format": "binary",
                "description": f"The video. The whole body has at most {max_upload_bytes} bytes.",
                **given,
            },
            "video_url": {
                "type": "string",
                "format": "uri",
                "pattern": "^https?://",
                "description": "Where the video is; it goes before video_file.",
                **given,
            },
            "video_start_offset_sec": {**number, "minimum": 0},
            "video_end_offset_sec": {**number, "minimum": 0},
            "video_clip_length": {"type": "number", "minimum": 2, "maximum": 10, "default": 6},
            "video_embedding_scope": {
                "type": "array",
                "items": {"type": "string", "enum": ["clip", "video"]},
                "enum": [["clip"], ["clip", "video"]],
                "default": ["clip"],
                "description": "The part is repeated for a second value.",
            },
        },
        "required": ["model_name"],
        "anyOf": [{"required": ["video_file"]}, {"required": ["video_url"]}],
        "dependentRequired": {
            "video_start_offset_sec": ["video_end_offset_sec"],
            "video_end_offset_sec": ["video_start_offset_sec"],
        },
        "additionalProperties": False,
    }


def _list() -> JsonObject:
    moment = {"type": "string", "format": "date-time"}
    return {
        "operationId": "list",
        "summary": "List the video embedding tasks, newest first",
        "security": _SECURITY,
        "parameters": [
            _query("started_at", moment, "Only tasks created then or later."),
            _query("ended_at", moment, "Only tasks created then or before."),
            _query("status", {"type": "string", "enum": list(queries.STATUSES)}, "Only these."),
            _query("page", _count(queries.MAX_PAGE, 1), "A page past the end has no tasks."),
            _query("page_limit", _count(queries.MAX_PAGE_LIMIT, 10), "Tasks on a page."),
        ],
        "responses": _responses("TasksListResponse", 400, 401, *_ALWAYS),
    }


def _status() -> JsonObject:
    return {
        "operationId": "status",
        "summary": "How far a task is",
        "security": _SECURITY,
        "parameters": [_TASK_ID],
        "responses": _responses("TasksStatusResponse", 400, 401, 404, *_ALWAYS),
    }


def _retrieve() -> JsonObject:
    options = {
        "type": "array",
        "items": {"type": "string", "enum": list(queries.OPTIONS)},
        "uniqueItems": True,
    }
    return {
        "operationId": "retrieve",
        "summary": "The embeddings of a task; without segments until it is ready",
        "security": _SECURITY,
        "parameters": [
            _TASK_ID,
            _query("embedding_option", options, "Only these; all where it is left out.")
            | {"style": "form", "explode": True},
        ],
        "responses": _responses("TasksRetrieveResponse", 400, 401, 404, *_ALWAYS),
    }


_SECURITY: list[JsonObject] = [{}, {"key": []}]
_TASK_ID: JsonObject = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": queries.TASK_ID},
}


def _query(name: str, schema: JsonObject, what: str) -> JsonObject:
    return {"name": name, "in": "query", "required": False, "description": what, "schema": schema}


def _count(most: int, default: int) -> JsonObject:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def _responses(model: str, *errors: int) -> JsonObject:
    refusals = {str(code): _answer(_ERRORS[code], "Error") for code in errors}
    return {"200": _answer("As asked.", model)} | refusals


def _answer(what: str, *models: str) -> JsonObject:
    schemas = [{"$ref": f"#/components/schemas/{model}"} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": what, "content": {"application/json": {"schema": schema}}}

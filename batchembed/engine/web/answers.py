"""Tasks as the wire shows them: `Task` -> the models of the API -> JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from batchembed.api.models import (
    PageInfo,
    TaskError,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksRetrieveResponseVideoEmbedding,
    TasksStatusResponse,
    TasksStatusResponseVideoEmbedding,
    VideoEmbeddingMetadata,
    VideoEmbeddingTask,
    VideoSegment,
)
from batchembed.core.problems import Reason
from batchembed.engine.refusal import Refusal
from batchembed.engine.tasks.task import Page, Task
from batchembed.engine.video.embed import Embedded

#: Segments that are encoded at once: some 750 kB of text.
_SEGMENTS_A_PIECE = 32
_NO_SEGMENTS = b"]}}"


class _Moment(datetime):
    """A time that is written with milliseconds, as the service writes it."""


def _written(value: object) -> str:
    if isinstance(value, _Moment):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # What msgspec asks of a hook for a type that it does not know.
    raise NotImplementedError(f"{type(value).__name__} has no place on the wire")


_encode = msgspec.json.Encoder(enc_hook=_written).encode


def answer(body: msgspec.Struct, status_code: int = 200) -> Response:
    """A model of the wire as a JSON answer."""
    return Response(_encode(body), status_code=status_code, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """A refusal as the API's error object."""
    return Response(
        _encode(refusal.body()),
        status_code=refusal.status_code,
        headers=refusal.headers,
        media_type="application/json",
    )


def status_of(task: Task) -> TasksStatusResponse:
    """What a status tells."""
    return TasksStatusResponse(
        id=task.task_id,
        model_name=task.parameters.model_name,
        status=task.status,
        video_embedding=TasksStatusResponseVideoEmbedding(metadata=_metadata(task)),
        error=None if task.error is None else _told(task.error),
        warnings=[_told(warning) for warning in task.warnings] or None,
    )


def without_segments(task: Task) -> TasksRetrieveResponse:
    """What a retrieve tells of a task that is not ready."""
    return _retrieved(task, None)


def with_segments(task: Task, embedded: Embedded, wanted: Sequence[str]) -> Iterator[bytes]:
    """What a retrieve tells of a ready task, as JSON in pieces. Making a piece blocks.

    Args:
        task: it.
        embedded: its result.
        wanted: the options to give; empty: all.
    """
    # `segments` is the last field of the last, so what follows the list is known.
    yield _encode(_retrieved(task, [])).removesuffix(_NO_SEGMENTS)
    separator = b""
    chosen = [
        (segment, vector)
        for segment, vector in zip(embedded.segments, embedded.vectors, strict=True)
        if not wanted or segment.embedding_option in wanted
    ]
    for first in range(0, len(chosen), _SEGMENTS_A_PIECE):
        piece = [
            VideoSegment(
                start_offset_sec=segment.start_ms / 1000,
                end_offset_sec=segment.end_ms / 1000,
                embedding_option=segment.embedding_option,
                embedding_scope=segment.embedding_scope,
                float_=vector.tolist(),
            )
            for segment, vector in chosen[first : first + _SEGMENTS_A_PIECE]
        ]
        yield separator + _encode(piece)[1:-1]
        separator = b","
    yield _NO_SEGMENTS


def listing(found: Page, page: int, page_limit: int) -> TasksListResponse:
    """One page of a listing."""
    return TasksListResponse(
        data=[
            VideoEmbeddingTask(
                id=task.task_id,
                model_name=task.parameters.model_name,
                status=task.status,
                created_at=_moment(task.created_at),
                video_embedding=TasksStatusResponseVideoEmbedding(metadata=_metadata(task)),
                error=None if task.error is None else _told(task.error),
                warnings=[_told(warning) for warning in task.warnings] or None,
            )
            for task in found.tasks
        ],
        page_info=PageInfo(
            page=page,
            limit_per_page=page_limit,
            total_page=max(1, -(-found.total // page_limit)),
            total_results=found.total,
        ),
    )


def _retrieved(task: Task, segments: list[VideoSegment] | None) -> TasksRetrieveResponse:
    return TasksRetrieveResponse(
        id=task.task_id,
        model_name=task.parameters.model_name,
        status=task.status,
        created_at=_moment(task.created_at),
        video_embedding=TasksRetrieveResponseVideoEmbedding(
            metadata=_metadata(task), segments=segments
        ),
    )


def _metadata(task: Task) -> VideoEmbeddingMetadata:
    return VideoEmbeddingMetadata(
        input_url=task.input_url,
        input_filename=task.input_filename,
        video_clip_length=_number(task.parameters.video_clip_length),
        video_embedding_scope=list(task.parameters.video_embedding_scope),
        duration=task.duration_sec,
    )


def _number(value: float) -> float:
    """The number as the document writes it, 6 and not 6.0, wherever the task was read from."""
    whole = int(value)
    return whole if whole == value else value


def _told(reason: Reason) -> TaskError:
    return TaskError(code=reason.code, message=reason.message)


def _moment(seconds: float) -> _Moment:
    return _Moment.fromtimestamp(round(seconds, 3), tz=UTC)

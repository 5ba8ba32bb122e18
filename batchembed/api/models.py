"""The response classes of the Embed API v1.3, as the user's document names them.

Frozen msgspec Structs: unknown fields are tolerated, absent ones are None, `_id` is `id` and
`float` is `float_`. Client and engine share these and nothing else of the wire.
"""

from __future__ import annotations

from datetime import datetime
from typing import BinaryIO

import msgspec


class BaseEmbeddingMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the media came from: one of the two is set."""

    input_url: str | None = None
    input_filename: str | None = None


class VideoEmbeddingMetadata(BaseEmbeddingMetadata, frozen=True, kw_only=True, omit_defaults=True):
    """What the task was asked for, and the video's duration in seconds."""

    video_clip_length: float | None = None
    video_embedding_scope: list[str] | None = None
    duration: float | None = None


class TasksCreateResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a create."""

    id: str | None = msgspec.field(default=None, name="_id")


class TasksStatusResponseVideoEmbedding(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True
):
    """The metadata of a status."""

    metadata: VideoEmbeddingMetadata | None = None


class TaskError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task failed, or what to know of it.

    The v1 documents have no such field: it is read where a server gives it, as the embedded
    engine does. Another may write plain text in its place.
    """

    code: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, told: TaskError | str | None) -> TaskError:
        """What was told, however it was."""
        return told if isinstance(told, TaskError) else cls(message=told)


class TasksStatusResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a status: `status` is processing, ready or failed."""

    id: str | None = msgspec.field(default=None, name="_id")
    model_name: str | None = None
    status: str | None = None
    video_embedding: TasksStatusResponseVideoEmbedding | None = None
    error: TaskError | str | None = None
    warnings: list[TaskError | str] | None = None


class AudioSegment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A vector and where its segment starts, in seconds of the source."""

    start_offset_sec: float | None = None
    float_: list[float] | None = msgspec.field(default=None, name="float")


class VideoSegment(AudioSegment, frozen=True, kw_only=True, omit_defaults=True):
    """One embedding of a video: its segment, option and scope."""

    end_offset_sec: float | None = None
    embedding_option: str | None = None
    embedding_scope: str | None = None


class TasksRetrieveResponseVideoEmbedding(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True
):
    """The embeddings of a video."""

    metadata: VideoEmbeddingMetadata | None = None
    segments: list[VideoSegment] | None = None


class TasksRetrieveResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a retrieve."""

    id: str | None = msgspec.field(default=None, name="_id")
    model_name: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    video_embedding: TasksRetrieveResponseVideoEmbedding | None = None


class VideoEmbeddingTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of a listing; `error` and `warnings` as in a status."""

    id: str | None = msgspec.field(default=None, name="_id")
    model_name: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    video_embedding: TasksStatusResponseVideoEmbedding | None = None
    error: TaskError | str | None = None
    warnings: list[TaskError | str] | None = None


class PageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which page of a listing this is."""

    page: int | None = None
    limit_per_page: int | None = None
    total_page: int | None = None
    total_results: int | None = None


class TasksListResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of a listing, newest first."""

    data: list[VideoEmbeddingTask] | None = None
    page_info: PageInfo | None = None


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An open video on its way: `path` and `sha256` are set where the caller knows them."""

    file: BinaryIO
    filename: str
    content_type: str = "application/octet-stream"
    path: str | None = None
    sha256: str | None = None
    headers: dict[str, str] = {}  #: of its part, besides what every part has
    owned: bool = False  #: opened here, so closed here


class CreateForm(msgspec.Struct, frozen=True, kw_only=True):
    """A create before it is encoded: repeated names are repeated parts."""

    fields: tuple[tuple[str, str], ...]
    upload: Upload | None = None


#: The request extension under which a client hands its `CreateForm` to an in-process transport.
FORM_EXTENSION = "batchembed.form"

"""The wire as pure functions: arguments -> paths and queries, bytes -> models."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from batchembed.api.models import PageInfo, TasksListResponse, VideoEmbeddingTask
from batchembed.errors import AnswerError, ArgumentError, NotReadyError

Model = TypeVar("Model", bound=msgspec.Struct)

#: Fields of answers that tell, or whose tasks tell, what went wrong.
_TELLING = frozenset({"error", "data"})
#: What a class of the models is.
_STRUCT = type(msgspec.Struct)


def task_path(task_id: str, tail: str = "") -> str:
    """The path of a task, its id quoted: an id can't climb out of its segment.

    Raises:
        ArgumentError: an id that no quoting keeps in its place.
    """
    if task_id in {"", ".", ".."}:
        raise ArgumentError(f"task_id {task_id!r} is no id of a task")
    return f"embed/tasks/{quote(task_id, safe='')}{tail}"


def retrieve_query(embedding_option: str | Sequence[str] | None) -> list[tuple[str, str]]:
    """The query of a retrieve: the key is repeated."""
    if embedding_option is None:
        return []
    options = [embedding_option] if isinstance(embedding_option, str) else embedding_option
    return [("embedding_option", option) for option in options]


def list_query(
    *,
    started_at: str | datetime | None,
    ended_at: str | datetime | None,
    status: str | None,
    page: int | None,
    page_limit: int | None,
) -> list[tuple[str, str]]:
    """The query of a listing: times in RFC 3339."""
    pairs = (
        ("started_at", _rfc3339(started_at)),
        ("ended_at", _rfc3339(ended_at)),
        ("status", status),
        ("page", page),
        ("page_limit", page_limit),
    )
    return [(name, str(value)) for name, value in pairs if value is not None]


def _rfc3339(moment: str | datetime | None) -> str | None:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment


def read(body: bytes | bytearray, model: type[Model]) -> Model:
    """Decode an answer.

    No document says of what type an error's code is: a number is read as text.

    Raises:
        AnswerError: it is not JSON, or not of the model's types.
    """
    try:
        return _decode(body, msgspec.json.Decoder(model))
    except AnswerError:
        if not _TELLING & set(model.__struct_fields__):
            raise
        with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return msgspec.convert(_telling_text(msgspec.json.decode(body)), model)
        raise


class _AnyListing(msgspec.Struct):
    data: Any = None
    page_info: Any = None


def read_listing(body: bytes | bytearray) -> TasksListResponse:
    """Decode a page of a listing. What can't be read of a task, or of where the page is, is None.

    Others' tasks are listed, too: one that is odd must not hide the rest.

    Raises:
        AnswerError: it is not JSON, or no object.
    """
    try:
        return read(body, TasksListResponse)
    except AnswerError:
        told = read(body, _AnyListing)
    tasks, where = told.data, told.page_info
    return TasksListResponse(
        data=[_readable(each, VideoEmbeddingTask) for each in tasks if isinstance(each, dict)]
        if isinstance(tasks, list)
        else None,
        page_info=_readable(where, PageInfo) if isinstance(where, dict) else None,
    )


def _readable(told: dict[str, Any], model: type[Model]) -> Model:
    """What of an object is of the model's types; the rest is None."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(model):
        value = told.get(field.encode_name)
        try:
            found[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            inner = [each for each in get_args(field.type) if isinstance(each, _STRUCT)]
            found[field.name] = (
                _readable(value, inner[0]) if inner and isinstance(value, dict) else None
            )
    return model(**found)


def _decode(body: bytes | bytearray, decoder: msgspec.json.Decoder[Model]) -> Model:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise AnswerError(f"the answer can't be read: {error}") from error


def _telling_text(document: object) -> object:
    """An answer, or a task of a listing, with text for every scalar that tells what went wrong."""
    if not isinstance(document, dict):
        return document
    told = {name: _text(document[name]) for name in ("error", "warnings") if name in document}
    tasks = document.get("data")
    if isinstance(tasks, list):
        told["data"] = [_telling_text(task) for task in tasks]
    return {**document, **told}


def _text(told: object) -> object:
    match told:
        case dict():
            return {name: _text(value) for name, value in told.items()}
        case list():
            return [_text(each) for each in told]
        case int() | float():
            return msgspec.json.encode(told).decode()
        case _:
            return told


class PackedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A `VideoSegment` whose vector is an array of float32 of its own dimension."""

    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str | None = None
    embedding_scope: str | None = None
    float_: NDArray[np.float32] | None = msgspec.field(default=None, name="float")


class _PackedEmbedding(msgspec.Struct):
    segments: list[PackedSegment] | None = None


class _PackedRetrieve(msgspec.Struct):
    id: str | None = msgspec.field(default=None, name="_id")
    status: str | None = None
    video_embedding: _PackedEmbedding | None = None


def segments(body: bytes | bytearray, *, task_id: str | None = None) -> Iterator[PackedSegment]:
    """The segments of a retrieve's body, which is read in one pass at the first of them.

    Each vector is packed while the body is read, so that the numbers of one segment alone are ever
    Python's: the memory is that of the vectors as float32. A number that no float32 holds is
    infinite.

    Args:
        body: of the answer.
        task_id: whose segments they must be, all of them; None asks neither.

    Raises:
        AnswerError: while iterating, where the body can't be read, or is about another task.
        NotReadyError: while iterating, where the task is not ready, as the body says or shows.
    """
    outer = _decode(body, _packed)
    told = outer.video_embedding.segments if outer.video_embedding else None
    if task_id is not None:
        require_of(task_id, outer.id)
        _require_ready(outer.status, has_segments=told is not None)
    yield from told or ()


def require_of(task_id: str, told: str | None) -> None:
    """Refuse an answer about another task: a mixed-up connection must not pass.

    Raises:
        AnswerError: it names another.
    """
    if told not in {None, task_id}:
        raise AnswerError(f"the answer is about another task, {str(told)[:40]}")


def _require_ready(status: str | None, *, has_segments: bool) -> None:
    """Some services answer a retrieve before its time: with a status alone, or with what there is."""
    if status is None and not has_segments:
        raise NotReadyError("the answer has neither segments nor a status")
    if status not in {None, "ready"}:
        raise NotReadyError(f"the answer says that the task is {status[:40]!r}")


def _pack(_kind: type, numbers: object) -> NDArray[np.float32]:
    if not isinstance(numbers, list):
        raise ValueError("a vector is a list of numbers")  # noqa: TRY004  what msgspec turns into its own
    try:
        return np.frombuffer(struct.pack(f"<{len(numbers)}f", *numbers), "<f4")
    except OverflowError:
        with np.errstate(over="ignore"):
            return np.array(numbers, np.float64).astype(np.float32)
    except struct.error:
        raise ValueError("a vector has something that is no number") from None


_packed = msgspec.json.Decoder(_PackedRetrieve, dec_hook=_pack)

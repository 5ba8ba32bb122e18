"""The wire as pure functions: arguments -> requests, bytes -> models. Both clients share them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

import msgspec

from batchembed.api.models import CreateForm, Upload, VideoSegment
from batchembed.errors import AnswerError, UsageError

#: "Not given", as the official SDK spells it.
OMIT = cast("Any", ...)

Model = TypeVar("Model", bound=msgspec.Struct)


def task_path(task_id: str, tail: str = "") -> str:
    """The path of a task, its id quoted: an id can't climb out of its segment."""
    return f"embed/tasks/{quote(task_id, safe='')}{tail}"


def given(value: object) -> bool:
    """Whether an argument was given. An explicit None counts as not given: it sends no part."""
    return value is not ... and value is not None


def create_form(arguments: Mapping[str, Any]) -> CreateForm:
    """The form of a create. Lists become repeated parts, numbers are written by `str`.

    `video_file` is an open binary file, bytes, a path-like, or `(name, content[, type])`.

    Raises:
        UsageError: neither file nor URL is given, or the file can't be one.
    """
    fields: list[tuple[str, str]] = []
    for name, value in arguments.items():
        if name == "video_file" or not given(value):
            continue
        if isinstance(value, (list, tuple)):
            fields.extend((name, str(item)) for item in value)
        else:
            fields.append((name, str(value)))
    video_file = arguments.get("video_file")
    upload = as_upload(video_file) if given(video_file) else None
    if upload is None and not given(arguments.get("video_url")):
        raise UsageError("a create needs video_file or video_url")
    return CreateForm(fields=tuple(fields), upload=upload)


def as_upload(video_file: object) -> Upload:
    """What to send for `video_file`.

    Raises:
        UsageError: a `str` that names no file (the official SDK would upload the text itself), or
            a value of another type.
    """
    if isinstance(video_file, Upload):
        return video_file
    if isinstance(video_file, tuple) and 2 <= len(video_file) <= 4:
        name, content, *rest = video_file
        inner = as_upload(content)
        kind = rest[0] if rest and rest[0] else inner.content_type
        return Upload(file=inner.file, filename=str(name), content_type=kind, path=inner.path)
    if isinstance(video_file, (str, os.PathLike)):
        path = Path(video_file)
        if not path.is_file():
            raise UsageError(
                f"video_file {str(path)!r} is no file; open it, or give a path that exists"
            )
        return Upload(file=path.open("rb"), filename=path.name, path=str(path.absolute()))
    if isinstance(video_file, bytes):
        import io  # noqa: PLC0415  only this rare form needs it

        return Upload(file=io.BytesIO(video_file), filename="upload")
    if hasattr(video_file, "read"):
        name = getattr(video_file, "name", None)
        filename = Path(name).name if isinstance(name, str) else "upload"
        return Upload(file=cast("BinaryIO", video_file), filename=filename)
    raise UsageError(f"video_file can't be of type {type(video_file).__name__}")


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


def read(body: bytes, model: type[Model]) -> Model:
    """Decode an answer.

    Raises:
        AnswerError: it is not JSON, or not of the model's types.
    """
    try:
        return msgspec.json.decode(body, type=model)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise AnswerError(f"the answer can't be read as {model.__name__}: {error}") from error


class _RawEmbedding(msgspec.Struct):
    segments: list[msgspec.Raw] | None = None


class _RawRetrieve(msgspec.Struct):
    status: str | None = None
    video_embedding: _RawEmbedding | None = None


def segments(body: bytes) -> Iterator[VideoSegment]:
    """The segments of a retrieve's body, decoded one at a time: a long answer stays small.

    Raises:
        AnswerError: while iterating, where the body or a segment can't be read.
    """
    outer = read(body, _RawRetrieve)
    raws = (outer.video_embedding.segments if outer.video_embedding else None) or []
    for raw in raws:
        yield read(bytes(raw), VideoSegment)

"""The calls of the API as values: what is sent, how large an answer may be, how it is read.

Both clients send the same calls; `convert.translating` says what their failures mean.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from batchembed.api import wire
from batchembed.api.arguments import create_form, given
from batchembed.api.models import (
    CreateForm,
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
    Upload,
)
from batchembed.api.observe import Kind
from batchembed.api.options import RequestOptions, check_options
from batchembed.api.repeats import is_transient, was_not_accepted
from batchembed.api.retry import RetryPolicy
from batchembed.api.uploads import CallersError, Progress, Unchanged, size_bytes
from batchembed.errors import AnswerError, ArgumentError, NotSentError, RateLimitError, Submitted

T = TypeVar("T")

_SMALL_ANSWER_BYTES = 16 << 20
_LARGE_ANSWER_BYTES = 512 << 20
_TASKS = "embed/tasks"
_TAIL_BYTES = 256
_KEY_HEADER = "idempotency-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    kind: Kind
    method: str
    path: str
    read: Callable[[bytearray], T]
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    options: RequestOptions = field(default_factory=RequestOptions)
    most_bytes: int = _SMALL_ANSWER_BYTES  #: of the decoded answer
    form: CreateForm | None = None
    progress: Progress | None = None
    submitted: Submitted | None = None  #: of a create: what is known if its answer is lost
    begin: Callable[[], None] = lambda: None  #: called before each attempt

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self.method} {self.path}"

    @property
    def upload(self) -> Upload | None:
        """The video that it carries."""
        return None if self.form is None else self.form.upload

    @contextlib.contextmanager
    def closing(self) -> Iterator[Self]:
        """Close the video afterwards, if it was opened here; what the caller's code raised goes on."""
        try:
            yield self
        except CallersError as raised:
            raise raised.error from None
        finally:
            if self.upload is not None and self.upload.owned:
                self.upload.file.close()

    def is_worth_repeating(self, error: BaseException, policy: RetryPolicy) -> bool:
        """Whether to send it again after it failed so."""
        if self.submitted is None:
            return is_transient(error)
        if isinstance(error, RateLimitError) and not policy.repeat_limited_creates:
            return False
        if self.upload is not None and size_bytes(self.upload) is None:
            return isinstance(error, NotSentError)  # a stream that was read can't be read again
        return was_not_accepted(error)


def create(
    *,
    model_name: str,
    video_file: object,
    video_url: str | None,
    parameters: Mapping[str, Any],
    options: RequestOptions | None,
    idempotency_key: str | None,
    progress: Progress | None,
    now: float,
) -> Call[TasksCreateResponse]:
    """A create, to be used in its `closing`.

    Raises:
        ArgumentError: an argument can't be right.
    """
    given_options = check_options(options)
    key = _idempotency_key(idempotency_key, given_options)
    form = create_form(
        model_name=model_name,
        video_file=video_file,
        video_url=video_url,
        parameters=parameters,
        more=given_options.get("additional_body_parameters") or {},
    )
    unchanged = None if form.upload is None else Unchanged(form.upload)

    def read(body: bytearray) -> TasksCreateResponse:
        answer = wire.read(body, TasksCreateResponse)
        if not answer.id:
            raise AnswerError("the answer has no task id")
        if unchanged is not None:
            unchanged.require(answer.id)
        return answer

    return Call(
        kind="create",
        method="POST",
        path=_TASKS,
        read=read,
        headers={"Idempotency-Key": key},
        options=_without_key(given_options),
        form=form,
        progress=progress,
        submitted=Submitted(
            model_name=model_name,
            input_filename=None if form.upload is None else form.upload.filename,
            input_url=video_url if given(video_url) else None,
            idempotency_key=key,
            since=now,
        ),
        begin=(lambda: None) if unchanged is None else unchanged.begin,
    )


def _idempotency_key(key: str | None, options: RequestOptions) -> str:
    """The key of a create: the caller's, in one way or the other, else one of its own."""
    named = (options.get("additional_headers") or {}).items()
    wanted = key or next((text for name, text in named if name.lower() == _KEY_HEADER), None)
    if wanted is None:
        return str(uuid.uuid4())
    if not (isinstance(wanted, str) and wanted.isascii() and wanted.isprintable()):
        raise ArgumentError("idempotency_key must be printable ASCII")
    return wanted


def _without_key(options: RequestOptions) -> RequestOptions:
    named = (options.get("additional_headers") or {}).items()
    others = {name: value for name, value in named if name.lower() != _KEY_HEADER}
    return {**options, "additional_headers": others}


def status(task_id: str, options: RequestOptions | None) -> Call[TasksStatusResponse]:
    """The status of a task."""

    def read(body: bytearray) -> TasksStatusResponse:
        answer = wire.read(body, TasksStatusResponse)
        if answer.status is None:
            raise AnswerError("the answer has no status")
        wire.require_of(task_id, answer.id)
        return answer

    return _get("status", wire.task_path(task_id, "/status"), options, read)


def retrieve(
    task_id: str, embedding_option: str | Sequence[str] | None, options: RequestOptions | None
) -> Call[TasksRetrieveResponse]:
    """A task's embeddings."""

    def read(body: bytearray) -> TasksRetrieveResponse:
        answer = wire.read(body, TasksRetrieveResponse)
        wire.require_of(task_id, answer.id)
        return answer

    return _retrieve(task_id, embedding_option, options, read)


def retrieve_body(
    task_id: str, embedding_option: str | Sequence[str] | None, options: RequestOptions | None
) -> Call[bytearray]:
    """A task's embeddings, as they came; `wire.segments` says whether they are that task's."""
    return _retrieve(task_id, embedding_option, options, _whole)


def _whole(body: bytearray) -> bytearray:
    """The body, unless it ends before its JSON does: another try may bring the rest."""
    if not body[-_TAIL_BYTES:].rstrip().endswith(b"}"):
        raise AnswerError("the answer breaks off")
    return body


def _retrieve(
    task_id: str,
    embedding_option: str | Sequence[str] | None,
    options: RequestOptions | None,
    read: Callable[[bytearray], T],
) -> Call[T]:
    query = wire.retrieve_query(embedding_option)
    path = wire.task_path(task_id)
    return _get("retrieve", path, options, read, query=query, most_bytes=_LARGE_ANSWER_BYTES)


def list_page(
    *,
    started_at: str | datetime | None,
    ended_at: str | datetime | None,
    status: str | None,
    page: int | None,
    page_limit: int | None,
    options: RequestOptions | None,
) -> Call[TasksListResponse]:
    """One page of the tasks."""
    query = wire.list_query(
        started_at=started_at, ended_at=ended_at, status=status, page=page, page_limit=page_limit
    )
    return _get("list", _TASKS, options, wire.read_listing, query=query)


def _get(
    kind: Kind,
    path: str,
    options: RequestOptions | None,
    read: Callable[[bytearray], T],
    *,
    query: Sequence[tuple[str, str]] = (),
    most_bytes: int = _SMALL_ANSWER_BYTES,
) -> Call[T]:
    return Call(
        kind=kind,
        method="GET",
        path=path,
        read=read,
        query=tuple(query),
        options=check_options(options),
        most_bytes=most_bytes,
    )

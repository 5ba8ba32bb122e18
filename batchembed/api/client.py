"""`AsyncTasksClient`: the Embed API's tasks, with the document's signatures and behaviour.

What the document lacks comes by keyword: a deadline, backoff and `raise_on_failed` in
`wait_for_done`, an idempotency key in `create`. httpx and its exceptions stay inside.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypedDict

import httpx

from batchembed.api import wire
from batchembed.api.convert import error_of, translating
from batchembed.api.models import (
    FORM_EXTENSION,
    CreateForm,
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
    Upload,
)
from batchembed.api.retry import (
    PollPolicy,
    RetryPolicy,
    Sleep,
    is_transient,
    poll,
    retrying,
    was_not_accepted,
)
from batchembed.api.wire import OMIT
from batchembed.errors import (
    AnswerError,
    ApiTimeoutError,
    ServerError,
    SubmissionUnknown,
    TaskFailedError,
)

DEFAULT_BASE_URL = "https://api.twelvelabs.io/v1.3"
_SMALL_ANSWER = 16 << 20
_LARGE_ANSWER = 512 << 20
_TERMINAL = frozenset({"ready", "failed"})


class ApiKey:
    """A key that does not print."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the request's header alone."""
        return self._value

    def __repr__(self) -> str:
        return "ApiKey(...)"


class RequestOptions(TypedDict, total=False):
    """Request-specific configuration, with the official SDK's keys."""

    timeout_in_seconds: float
    max_retries: int
    additional_headers: dict[str, str]
    additional_query_parameters: dict[str, str]


class AsyncTasksClient:
    """Creates, watches and retrieves video embedding tasks. Use it as an async context manager."""

    def __init__(
        self,
        *,
        api_key: ApiKey | str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  a frozen value
        uploads: int = 4,
        requests: int = 16,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        key = api_key if isinstance(api_key, ApiKey) or api_key is None else ApiKey(api_key)
        headers = {"user-agent": f"batchembed/{importlib.metadata.version('batchembed')}"}
        if key is not None:
            headers["x-api-key"] = key.reveal()
        self._retry = retry
        self._sleep = sleep
        # Uploads must not starve polls: a pool and a queue for each.
        self._uploads = _Lane(uploads, base_url, headers, transport)
        self._requests = _Lane(requests, base_url, headers, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._uploads.http.aclose()
        await self._requests.http.aclose()

    async def create(
        self,
        *,
        model_name: str,
        video_file: Any = OMIT,
        video_url: str | None = OMIT,
        video_start_offset_sec: float | None = OMIT,
        video_end_offset_sec: float | None = OMIT,
        video_clip_length: float | None = OMIT,
        video_embedding_scope: Sequence[str] | None = OMIT,
        request_options: RequestOptions | None = None,
        idempotency_key: str | None = None,
    ) -> TasksCreateResponse:
        """Create a task; repeated only while it is certain that the service did not accept it.

        Raises:
            SubmissionUnknown: the answer was lost: a task may exist.
            ApiError: the service refused.
            ApiConnectionError: no connection could be made.
        """
        form = wire.create_form(
            {
                "model_name": model_name,
                "video_file": video_file,
                "video_url": video_url,
                "video_start_offset_sec": video_start_offset_sec,
                "video_end_offset_sec": video_end_offset_sec,
                "video_clip_length": video_clip_length,
                "video_embedding_scope": video_embedding_scope,
            }
        )
        opened_here = form.upload is not None and not isinstance(video_file, Upload)
        try:
            return await retrying(
                self._policy(request_options), was_not_accepted, sleep=self._sleep
            )(self._create_once, form, request_options, idempotency_key)
        finally:
            if opened_here and form.upload is not None and form.upload.path is not None:
                form.upload.file.close()

    async def _create_once(
        self, form: CreateForm, options: RequestOptions | None, idempotency_key: str | None
    ) -> TasksCreateResponse:
        request = self._uploads.create_request(form, options, idempotency_key)
        try:
            with translating("create", submission=True):
                body = await self._uploads.send(request, cap=_SMALL_ANSWER)
            answer = wire.read(body, TasksCreateResponse)
        except (ServerError, AnswerError) as error:
            raise SubmissionUnknown(
                f"create: {error}; a task may have been created", idempotency_key=idempotency_key
            ) from error
        if not answer.id:
            raise SubmissionUnknown(
                "create: the answer has no task id; a task may have been created",
                idempotency_key=idempotency_key,
            )
        return answer

    async def status(
        self, task_id: str, *, request_options: RequestOptions | None = None
    ) -> TasksStatusResponse:
        """The task's status: processing, ready or failed."""
        body = await self._get(wire.task_path(task_id, "/status"), [], request_options)
        return wire.read(body, TasksStatusResponse)

    async def wait_for_done(
        self,
        task_id: str,
        *,
        sleep_interval: float = 5.0,
        callback: Callable[[TasksStatusResponse], Awaitable[None]] | None = None,
        request_options: RequestOptions | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  it bounds polls, not one await
        raise_on_failed: bool = False,
        policy: PollPolicy | None = None,
    ) -> TasksStatusResponse:
        """Poll until the task is ready or failed.

        Raises:
            ValueError: `sleep_interval` is not positive.
            ApiTimeoutError: still processing after `timeout`, or the policy's deadline.
            TaskFailedError: with `raise_on_failed`, the task failed.
        """
        if sleep_interval <= 0:
            raise ValueError("sleep_interval must be greater than 0")
        policy = policy or PollPolicy(
            first_wait_s=sleep_interval, longest_wait_s=sleep_interval, deadline_s=timeout
        )

        async def look() -> TasksStatusResponse:
            path = wire.task_path(task_id, "/status")
            body = await self._requests.get(path, [], request_options, cap=_SMALL_ANSWER)
            return wire.read(body, TasksStatusResponse)

        async def look_and_tell() -> TasksStatusResponse:
            answer = await look()
            if callback is not None:
                await callback(answer)
            return answer

        try:
            answer: TasksStatusResponse = await poll(
                look_and_tell, lambda seen: seen.status in _TERMINAL, policy, sleep=self._sleep
            )
        except ApiTimeoutError as error:
            raise ApiTimeoutError(f"task {task_id}: {error}") from error
        if raise_on_failed and answer.status == "failed":
            raise TaskFailedError(task_id, answer.error.message if answer.error else None)
        return answer

    async def retrieve(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> TasksRetrieveResponse:
        """The task's embeddings: every option that it has, or those asked for."""
        body = await self.retrieve_body(
            task_id, embedding_option=embedding_option, request_options=request_options
        )
        return wire.read(body, TasksRetrieveResponse)

    async def retrieve_body(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> bytes:
        """The answer to a retrieve as it came; `wire.segments` reads it one segment at a time."""
        return await self._get(
            wire.task_path(task_id),
            wire.retrieve_query(embedding_option),
            request_options,
            cap=_LARGE_ANSWER,
        )

    async def list_page(
        self,
        *,
        started_at: str | datetime | None = None,
        ended_at: str | datetime | None = None,
        status: str | None = None,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> TasksListResponse:
        """One page of the tasks, newest first; `page_limit` is 50 at most."""
        query = wire.list_query(
            started_at=started_at,
            ended_at=ended_at,
            status=status,
            page=page,
            page_limit=page_limit,
        )
        return wire.read(await self._get("embed/tasks", query, request_options), TasksListResponse)

    async def _get(
        self,
        path: str,
        query: list[tuple[str, str]],
        options: RequestOptions | None,
        cap: int = _SMALL_ANSWER,
    ) -> bytes:
        again = retrying(self._policy(options), is_transient, sleep=self._sleep)
        body: bytes = await again(self._requests.get, path, query, options, cap=cap)
        return body

    def _policy(self, options: RequestOptions | None) -> RetryPolicy:
        if options is None or "max_retries" not in options:
            return self._retry
        policy = self._retry
        return RetryPolicy(
            attempts=max(0, options["max_retries"]) + 1,
            total_s=policy.total_s,
            first_wait_s=policy.first_wait_s,
            longest_wait_s=policy.longest_wait_s,
            longest_retry_after_s=policy.longest_retry_after_s,
        )


class _Lane:
    """An HTTP client and the queue before it: httpx's own pool is slow when it is long."""

    def __init__(
        self,
        width: int,
        base_url: str,
        headers: dict[str, str],
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.http = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers=headers,
            transport=transport,
            limits=httpx.Limits(max_connections=width, max_keepalive_connections=width),
            timeout=httpx.Timeout(60.0, connect=10.0, pool=None, read=600.0),
            follow_redirects=False,  # the key would travel
        )
        self._turn = asyncio.Semaphore(width)

    def create_request(
        self, form: CreateForm, options: RequestOptions | None, idempotency_key: str | None
    ) -> httpx.Request:
        """The POST. Its multipart body is lazy: a transport that takes the form never reads it."""
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in form.fields]
        if form.upload is not None:
            upload = form.upload
            parts.append(("video_file", (upload.filename, upload.file, upload.content_type)))
        headers = dict((options or {}).get("additional_headers", {}))
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return self.http.build_request(
            "POST",
            "embed/tasks",
            files=parts,
            headers=headers,
            params=(options or {}).get("additional_query_parameters"),
            timeout=_timeout(options),
            extensions={FORM_EXTENSION: form},
        )

    async def get(
        self,
        path: str,
        query: list[tuple[str, str]],
        options: RequestOptions | None,
        *,
        cap: int,
    ) -> bytes:
        extra = (options or {}).get("additional_query_parameters", {})
        request = self.http.build_request(
            "GET",
            path,
            params=[*query, *extra.items()],
            headers=(options or {}).get("additional_headers"),
            timeout=_timeout(options),
        )
        with translating(f"GET {path}"):
            return await self.send(request, cap=cap)

    async def send(self, request: httpx.Request, *, cap: int) -> bytes:
        """Send, and read at most `cap` decoded bytes of the answer.

        Raises:
            ApiError: an error status, redirects included.
            AnswerError: the answer is larger.
        """
        async with self._turn:
            response = await self.http.send(request, stream=True)
            try:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > cap:
                        raise AnswerError(f"the answer is larger than {cap:,} bytes")
            finally:
                await response.aclose()
        if not response.is_success:
            key = request.headers.get("x-api-key")
            secrets = () if key is None else (key,)
            raise error_of(response.status_code, response.headers, bytes(body), secrets=secrets)
        return bytes(body)


def _timeout(options: RequestOptions | None) -> Any:
    seconds = (options or {}).get("timeout_in_seconds")
    return httpx.USE_CLIENT_DEFAULT if seconds is None else seconds

"""`AsyncTasksClient`: `TasksClient` for an event loop. Both send the same `calls`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from batchembed.api import calls
from batchembed.api.arguments import OMIT
from batchembed.api.calls import Call
from batchembed.api.convert import head_of, translating
from batchembed.api.lanes import AsyncLane, AsyncSender, Lane, ThreadedLane
from batchembed.api.models import (
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
)
from batchembed.api.observe import Observer, Unobserved
from batchembed.api.options import (
    DEFAULT_BASE_URL,
    ApiKey,
    RequestOptions,
    as_key,
)
from batchembed.api.pager import AsyncPager
from batchembed.api.repeats import RetryBudget
from batchembed.api.retry import PollPolicy, RetryPolicy, Sleep, poll, retrying
from batchembed.api.sending import Received, Terms, accepted, tls_context
from batchembed.api.uploads import Progress, VideoFile, callers_code
from batchembed.api.waiting import Looks, is_done, pace
from batchembed.errors import SubmissionUnknown

T = TypeVar("T")

#: An answer whose decoding the rest of an event loop would feel.
_LONG_ANSWER_BYTES = 1 << 20


class AsyncTasksClient:
    """As `TasksClient`, in an event loop. Use it as an async context manager, or `aclose` it."""

    def __init__(
        self,
        *,
        api_key: ApiKey | str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  a frozen value
        uploads: int = 4,
        requests: int = 16,
        sleep: Sleep = asyncio.sleep,
        observer: Observer | None = None,
    ) -> None:
        """As `TasksClient`; the observer is told of each request and answer.

        With a `transport`, uploads go through it in the loop.
        """
        self._retry = retry
        self._budget = RetryBudget()
        self._sleep = sleep
        self._observer: Observer = Unobserved() if observer is None else observer
        self._terms = terms = Terms(
            api_key=as_key(api_key),
            base_url=base_url,
            headers=headers,
            timeout_s=timeout,
            tls=tls_context(base_url),
        )
        self._creates: AsyncSender = (
            ThreadedLane(Lane(uploads, terms, creates=True, transport=None))
            if transport is None
            else AsyncLane(uploads, terms, creates=True, transport=transport)
        )
        self._requests: AsyncSender = AsyncLane(requests, terms, creates=False, transport=transport)

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
        await self._creates.aclose()
        await self._requests.aclose()

    async def create(
        self,
        *,
        model_name: str,
        video_file: VideoFile | None = OMIT,
        video_url: str | None = OMIT,
        video_start_offset_sec: float | None = OMIT,
        video_end_offset_sec: float | None = OMIT,
        video_clip_length: float | None = OMIT,
        video_embedding_scope: Sequence[str] | None = OMIT,
        request_options: RequestOptions | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> TasksCreateResponse:
        """As `TasksClient.create`; `progress` is called in another thread.

        Where it is cancelled, the `CancelledError` has a `SubmissionUnknown` as its cause.
        """
        call = calls.create(
            model_name=model_name,
            video_file=video_file,
            video_url=video_url,
            parameters={
                "video_start_offset_sec": video_start_offset_sec,
                "video_end_offset_sec": video_end_offset_sec,
                "video_clip_length": video_clip_length,
                "video_embedding_scope": video_embedding_scope,
            },
            options=request_options,
            idempotency_key=idempotency_key,
            progress=progress,
            now=time.time(),
        )
        with call.closing():
            return await self._repeated(call)

    async def status(
        self, task_id: str, *, request_options: RequestOptions | None = None
    ) -> TasksStatusResponse:
        """The task's status: processing, ready or failed."""
        return await self._repeated(calls.status(task_id, request_options))

    async def wait_for_done(
        self,
        task_id: str,
        *,
        sleep_interval: float = 5.0,
        callback: Callable[[TasksStatusResponse], Awaitable[None] | None] | None = None,
        request_options: RequestOptions | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  it bounds polls, not one await
        raise_on_failed: bool = False,
        policy: PollPolicy | None = None,
    ) -> TasksStatusResponse:
        """As `TasksClient.wait_for_done`; the callback may be a coroutine function."""
        looks = Looks(task_id, request_options, pace(sleep_interval, timeout, policy))

        async def look() -> TasksStatusResponse:
            answer = await self._once(looks.call())
            if callback is not None:
                with callers_code():
                    told = callback(answer)
                    if inspect.isawaitable(told):
                        await told
            return answer

        with looks.watching():
            answer = await poll(look, is_done, looks.policy, sleep=self._sleep)
        return looks.outcome(answer, raise_on_failed=raise_on_failed)

    async def retrieve(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> TasksRetrieveResponse:
        """The task's embeddings: every option that it has, or those asked for."""
        return await self._repeated(calls.retrieve(task_id, embedding_option, request_options))

    async def retrieve_body(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> bytearray:
        """The answer to a retrieve as it came; `wire.segments` reads it with little memory."""
        return await self._repeated(calls.retrieve_body(task_id, embedding_option, request_options))

    async def list(
        self,
        *,
        started_at: str | datetime | None = None,
        ended_at: str | datetime | None = None,
        status: str | None = None,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> AsyncPager:
        """The tasks, newest first, over all pages from `page` on; `page_limit` is 50 at most."""
        asked = functools.partial(
            calls.list_page,
            started_at=started_at,
            ended_at=ended_at,
            status=status,
            page_limit=page_limit,
            options=request_options,
        )

        async def paged(number: int | None) -> AsyncPager:
            listing: TasksListResponse = await self._repeated(asked(page=number))
            return AsyncPager(listing, number or 1, lambda: paged((number or 1) + 1))

        return await paged(page)

    async def _repeated(self, call: Call[T]) -> T:
        again = retrying(
            self._retry.at_most(call.options.get("max_retries")),
            lambda error: call.is_worth_repeating(error, self._retry),
            self._budget,
            sleep=self._sleep,
        )
        answer: T = await again(self._once, call)
        return answer

    async def _once(self, call: Call[T]) -> T:
        lane = self._requests if call.submitted is None else self._creates
        try:
            with translating(call.name, call.submitted):
                self._observer.sent(call.kind)
                body = self._accepted(call, await lane.send(call))
                if len(body) > _LONG_ANSWER_BYTES:
                    answer = await asyncio.to_thread(call.read, body)
                else:
                    answer = call.read(body)
        except asyncio.CancelledError as cancelled:
            if call.submitted is None:
                raise
            lost = f"{call.name}: it was cancelled; a task may have been created"
            raise cancelled from SubmissionUnknown(lost, submitted=call.submitted)
        self._budget.earn()
        return answer

    def _accepted(self, call: Call[Any], received: Received) -> bytearray:
        code, headers = received.status_code, received.headers
        self._observer.answered(head_of(call.kind, code, headers, api_key=self._terms.api_key))
        return accepted(received, self._terms)

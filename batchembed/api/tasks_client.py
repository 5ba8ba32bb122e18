"""`TasksClient`: the Embed API's tasks, with the document's signatures and behaviour.

What the document lacks comes by keyword: a deadline, backoff and `raise_on_failed` in
`wait_for_done`, an idempotency key and progress in `create`. httpx and its exceptions stay inside.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx

from batchembed.api import calls
from batchembed.api.arguments import OMIT
from batchembed.api.calls import Call
from batchembed.api.convert import translating
from batchembed.api.lanes import Lane
from batchembed.api.models import (
    TasksCreateResponse,
    TasksListResponse,
    TasksRetrieveResponse,
    TasksStatusResponse,
)
from batchembed.api.options import (
    DEFAULT_BASE_URL,
    ApiKey,
    RequestOptions,
    as_key,
)
from batchembed.api.pager import SyncPager
from batchembed.api.repeats import RetryBudget
from batchembed.api.retry import (
    BlockingSleep,
    PollPolicy,
    RetryPolicy,
    blocking_poll,
    blocking_retrying,
    blocking_sleep,
)
from batchembed.api.sending import Terms, accepted, tls_context
from batchembed.api.uploads import Progress, VideoFile, callers_code
from batchembed.api.waiting import Looks, is_done, pace

T = TypeVar("T")


class TasksClient:
    """Creates, watches and retrieves video embedding tasks. Threads may share it.

    Use it as a context manager, or `close` it.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        transport: httpx.BaseTransport | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  a frozen value
        uploads: int = 4,
        requests: int = 16,
        sleep: BlockingSleep = blocking_sleep,
    ) -> None:
        """Connect to nothing yet.

        Args:
            api_key: sent as `x-api-key`.
            base_url: of the service, its version included.
            headers: more of them, for every request.
            timeout: seconds that each connect, read or write may take.
            transport: in place of httpx's own.
            retry: how requests are repeated.
            uploads: how many at once.
            requests: how many others at once.
            sleep: waits between requests.
        """
        self._retry = retry
        self._budget = RetryBudget()
        self._sleep = sleep
        self._terms = terms = Terms(
            api_key=as_key(api_key),
            base_url=base_url,
            headers=headers,
            timeout_s=timeout,
            tls=tls_context(base_url),
        )
        self._creates = Lane(uploads, terms, creates=True, transport=transport)
        self._requests = Lane(requests, terms, creates=False, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._creates.close()
        self._requests.close()

    def create(
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
        """Create a task; repeated only while it is certain that the service did not accept it.

        Args:
            model_name: such as `Marengo-retrieval-2.7`.
            video_file: an open binary file, bytes, a path, or `(name, content[, type[, headers]])`.
            video_url: a public URL, instead of a file.
            video_start_offset_sec: where to begin, in seconds; goes with the end.
            video_end_offset_sec: where to stop, in seconds; goes with the start.
            video_clip_length: seconds of each clip.
            video_embedding_scope: `["clip"]` or `["clip", "video"]`.
            request_options: of this request.
            idempotency_key: the same for every attempt at one task; else one of this call.
            progress: called with the bytes sent, and of how many.

        Raises:
            ArgumentError: an argument can't be right; nothing was sent.
            SubmissionUnknown: the answer was lost: a task may exist.
            VideoChangedError: the file changed while it was sent: a task embeds what was.
            ApiError: the service refused.
            ApiConnectionError: no connection could be made.
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
            return self._repeated(call)

    def status(
        self, task_id: str, *, request_options: RequestOptions | None = None
    ) -> TasksStatusResponse:
        """The task's status: processing, ready or failed."""
        return self._repeated(calls.status(task_id, request_options))

    def wait_for_done(
        self,
        task_id: str,
        *,
        sleep_interval: float = 5.0,
        callback: Callable[[TasksStatusResponse], None] | None = None,
        request_options: RequestOptions | None = None,
        timeout: float | None = None,
        raise_on_failed: bool = False,
        policy: PollPolicy | None = None,
    ) -> TasksStatusResponse:
        """Poll until the task is ready or failed; errors that pass are looked through.

        Args:
            task_id: of the task.
            sleep_interval: seconds between looks.
            callback: told of every status, the first included; what it raises is raised.
            request_options: of each request.
            timeout: seconds after which to give up; None waits for ever.
            raise_on_failed: raise where the task failed, instead of returning it.
            policy: in place of `sleep_interval`: growing waits, and how long errors may last.

        Raises:
            ArgumentError: `sleep_interval` is not positive.
            ApiTimeoutError: still processing after `timeout`, or the policy's deadline.
            TaskFailedError: with `raise_on_failed`, the task failed.
            ServiceError: an error that does not pass, such as that to a refused key; or one that
                passes, but came to each of the first five looks, or for a quarter of an hour.
        """
        looks = Looks(task_id, request_options, pace(sleep_interval, timeout, policy))

        def look() -> TasksStatusResponse:
            answer = self._once(looks.call())
            if callback is not None:
                with callers_code():
                    callback(answer)
            return answer

        with looks.watching():
            answer = blocking_poll(look, is_done, looks.policy, sleep=self._sleep)
        return looks.outcome(answer, raise_on_failed=raise_on_failed)

    def retrieve(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> TasksRetrieveResponse:
        """The task's embeddings: every option that it has, or those asked for."""
        return self._repeated(calls.retrieve(task_id, embedding_option, request_options))

    def retrieve_body(
        self,
        task_id: str,
        *,
        embedding_option: str | Sequence[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> bytearray:
        """The answer to a retrieve as it came; `wire.segments` reads it with little memory."""
        return self._repeated(calls.retrieve_body(task_id, embedding_option, request_options))

    def list(
        self,
        *,
        started_at: str | datetime | None = None,
        ended_at: str | datetime | None = None,
        status: str | None = None,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> SyncPager:
        """The tasks, newest first, over all pages from `page` on; `page_limit` is 50 at most."""
        asked = functools.partial(
            calls.list_page,
            started_at=started_at,
            ended_at=ended_at,
            status=status,
            page_limit=page_limit,
            options=request_options,
        )

        def paged(number: int | None) -> SyncPager:
            listing: TasksListResponse = self._repeated(asked(page=number))
            return SyncPager(listing, number or 1, lambda: paged((number or 1) + 1))

        return paged(page)

    def _repeated(self, call: Call[T]) -> T:
        again = blocking_retrying(
            self._retry.at_most(call.options.get("max_retries")),
            lambda error: call.is_worth_repeating(error, self._retry),
            self._budget,
            sleep=self._sleep,
        )
        answer: T = again(self._once, call)
        return answer

    def _once(self, call: Call[T]) -> T:
        lane = self._requests if call.submitted is None else self._creates
        with translating(call.name, call.submitted):
            answer = call.read(accepted(lane.send(call), self._terms))
        self._budget.earn()
        return answer

"""Where calls meet httpx: a client, and the queue before it.

httpx's own pool is slow when it is long, and uploads must not starve polls: each kind of call has
a lane of its own, as wide as the caller says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import httpx

from batchembed.api.calls import Call
from batchembed.api.convert import error_of
from batchembed.api.models import FORM_EXTENSION
from batchembed.api.uploads import Reader
from batchembed.errors import AnswerTooLargeError, ApiTimeoutError, ServiceError

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0


class Lane:
    """Sends calls from the caller's thread."""

    def __init__(
        self,
        width: int,
        *,
        base_url: str,
        headers: Mapping[str, str],
        timeout_s: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            width: calls at once.
            base_url: with the version, such as `.../v1.3`.
            headers: of every request.
            timeout_s: how long each connect, read or write may take.
            transport: in place of httpx's own.
        """
        self.http = httpx.Client(transport=transport, **_terms(width, base_url, headers, timeout_s))
        self._turn = threading.BoundedSemaphore(width)

    def send(self, call: Call[Any], *, going: Callable[[], None] = lambda: None) -> bytearray:
        """Send, and read the answer's body, decoded.

        Args:
            call: what is sent.
            going: called between the steps; raises where the call is to end.

        Raises:
            ApiError: an error status, redirects included.
            AnswerTooLargeError: the answer is larger than the call's.
            ApiTimeoutError: it took longer than the call may.
            httpx.HTTPError: the connection broke.
        """
        with self._turn:
            watch = _Watch(call, going)
            response = self.http.send(_request(self.http, call, watch), stream=True)
            try:
                body = bytearray()
                for chunk in response.iter_bytes(call.options.get("chunk_size")):
                    watch.took(body, chunk)
            finally:
                response.close()
        return _accepted(response, body)

    def close(self) -> None:
        """Close every connection."""
        self.http.close()


class AsyncSender(Protocol):
    """Sends calls from an event loop."""

    async def send(self, call: Call[Any]) -> bytearray:
        """As `Lane.send`."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class AsyncLane:
    """Sends calls from an event loop; their files are read in it."""

    def __init__(
        self,
        width: int,
        *,
        base_url: str,
        headers: Mapping[str, str],
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As `Lane`."""
        self.http = httpx.AsyncClient(
            transport=transport, **_terms(width, base_url, headers, timeout_s)
        )
        self._turn = asyncio.Semaphore(width)

    async def send(self, call: Call[Any]) -> bytearray:
        """As `Lane.send`."""
        async with self._turn:
            watch = _Watch(call)
            response = await self.http.send(_request(self.http, call, watch), stream=True)
            try:
                body = bytearray()
                async for chunk in response.aiter_bytes(call.options.get("chunk_size")):
                    watch.took(body, chunk)
            finally:
                await response.aclose()
        return _accepted(response, body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.http.aclose()


class ThreadedLane:
    """Sends calls from an event loop in threads of their own: the loop reads no file.

    An upload costs half the CPU that it costs in an event loop.
    """

    def __init__(self, lane: Lane, width: int) -> None:
        self._lane = lane
        self._turn = asyncio.Semaphore(width)

    async def send(self, call: Call[Any]) -> bytearray:
        """As `Lane.send`. When this is cancelled the upload ends at its next chunk."""
        cancelled = threading.Event()

        def going() -> None:
            if cancelled.is_set():
                raise ServiceError("the upload was cancelled")

        async with self._turn:
            try:
                return await _in_a_thread(lambda: self._lane.send(call, going=going))
            finally:
                cancelled.set()

    async def aclose(self) -> None:
        """Close every connection."""
        self._lane.close()


async def _in_a_thread(work: Callable[[], T]) -> T:
    """The work's result. The thread keeps no process from ending, unlike those of a pool."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  it is raised in the caller
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name="upload", daemon=True).start()
    return await asyncio.shield(asyncio.wrap_future(outcome))


class _Watch:
    """Holds one call to its time and to the size of its answer."""

    def __init__(self, call: Call[Any], going: Callable[[], None] = lambda: None) -> None:
        self._call = call
        self._going = going
        self._timeout_s = call.options.get("timeout_in_seconds")
        self._began = time.monotonic()

    def going(self) -> None:
        self._going()
        if self._timeout_s is not None and time.monotonic() - self._began > self._timeout_s:
            raise ApiTimeoutError(f"no whole answer within {self._timeout_s:g} s")

    def took(self, body: bytearray, chunk: bytes) -> None:
        self.going()
        body += chunk
        if len(body) > self._call.most_bytes:
            raise AnswerTooLargeError(f"the answer is larger than {self._call.most_bytes:,} bytes")


def _terms(
    width: int, base_url: str, headers: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    return {
        "base_url": base_url.rstrip("/") + "/",
        "headers": dict(headers),
        "limits": httpx.Limits(max_connections=width, max_keepalive_connections=width),
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S), pool=None),
        "follow_redirects": False,  # the key would travel
    }


def _request(
    http: httpx.Client | httpx.AsyncClient, call: Call[Any], watch: _Watch
) -> httpx.Request:
    """The request. Its multipart body is lazy: a transport that takes the form never reads it."""
    options = call.options
    timeout = options.get("timeout_in_seconds")
    return http.build_request(
        call.method,
        call.path,
        params=[*call.query, *options.get("additional_query_parameters", {}).items()],
        headers={**call.headers, **options.get("additional_headers", {})},
        files=_parts(call, watch),
        timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
        extensions={} if call.form is None else {FORM_EXTENSION: call.form},
    )


def _parts(call: Call[Any], watch: _Watch) -> list[tuple[str, Any]] | None:
    """As parts of a form even where none is a file: the API takes nothing else."""
    if call.form is None:
        return None
    parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in call.form.fields]
    upload = call.form.upload
    if upload is not None:
        reader = Reader(upload, call.progress, watch.going)
        content = (upload.filename, reader, upload.content_type, dict(upload.headers))
        parts.append(("video_file", content))
    return parts


def _accepted(response: httpx.Response, body: bytearray) -> bytearray:
    """The body of an answer that says that all is well."""
    if not response.is_success:
        key = response.request.headers.get("x-api-key")
        secrets = () if key is None else (key,)
        raise error_of(response.status_code, response.headers, bytes(body), secrets=secrets)
    return body

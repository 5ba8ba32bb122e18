"""Where calls meet httpx: a client, and the queue before it.

httpx's own pool is slow when it is long, and creates must not starve polls: each kind of call has a
lane of its own, as wide as the caller says. A create has a connection of its own, so that none is
lost on one that the server has just closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx

from batchembed.api.calls import Call
from batchembed.api.convert import error_of
from batchembed.api.models import FORM_EXTENSION
from batchembed.api.options import (
    CREATE_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    ApiKey,
    check_base_url,
    pairs,
    request_headers,
)
from batchembed.api.uploads import Reader
from batchembed.errors import AnswerError, AnswerTooLargeError, ApiTimeoutError, UsageError

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
_WRITE_TIMEOUT_S = 60.0
#: A second coding would multiply what a small answer can unpack to.
_CODINGS = frozenset({"", "identity", "gzip", "deflate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the lanes of a client share. Bad ones are `ArgumentError`."""

    api_key: ApiKey | None
    base_url: str
    headers: Mapping[str, str] | None
    timeout_s: float | None  #: of each connect, read or write; None: the API's own


class AbandonedError(Exception):
    """Ends a call that nobody waits for any more."""


class Lane:
    """Sends calls from the caller's thread."""

    def __init__(
        self, width: int, terms: Terms, *, creates: bool, transport: httpx.BaseTransport | None
    ) -> None:
        """Open nothing yet.

        Args:
            width: calls at once.
            terms: of the client.
            creates: whether these are creates.
            transport: in place of httpx's own.
        """
        self.terms = terms
        self.width = width
        self.http = httpx.Client(transport=transport, **_settings(width, terms, creates=creates))
        self._turn = threading.BoundedSemaphore(width)

    def send(self, call: Call[Any]) -> bytearray:
        """Send when it is the call's turn, and read the answer's body, decoded.

        Raises:
            ApiError: an error status, redirects included.
            AnswerTooLargeError: the answer is larger than the call's.
            ApiTimeoutError: it took longer than the call may.
            httpx.HTTPError: the connection broke.
        """

        def in_turn(watch: _Watch) -> bytearray:
            with self._turn:
                return self.send_now(call, watch)

        watch = _Watch(call)
        if watch.limit_s is None:
            return in_turn(watch)
        # A server that drips its head can be left alone with a thread only.
        outcome = _started(functools.partial(in_turn, watch))
        try:
            return outcome.result(watch.limit_s)
        except TimeoutError:
            raise watch.late() from None
        finally:
            watch.abandon()

    def send_now(self, call: Call[Any], watch: _Watch) -> bytearray:
        """Send, whoever's turn it is."""
        _require_open(self.http)
        watch.going()
        response = self.http.send(_request(self.http, self.terms, call, watch), stream=True)
        try:
            _require_readable(response)
            body = bytearray()
            for chunk in response.iter_bytes():
                watch.took(body, chunk)
        finally:
            response.close()
        return _accepted(response, body, self.terms.api_key)

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
        terms: Terms,
        *,
        creates: bool,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        """As `Lane`."""
        self._terms = terms
        self.http = httpx.AsyncClient(
            transport=transport, **_settings(width, terms, creates=creates)
        )
        self._turn = asyncio.Semaphore(width)

    async def send(self, call: Call[Any]) -> bytearray:
        """As `Lane.send`."""
        watch = _Watch(call)
        try:
            async with asyncio.timeout(watch.limit_s), self._turn:
                return await self._send(call, watch)
        except TimeoutError:
            raise watch.late() from None

    async def _send(self, call: Call[Any], watch: _Watch) -> bytearray:
        _require_open(self.http)
        response = await self.http.send(_request(self.http, self._terms, call, watch), stream=True)
        try:
            _require_readable(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                watch.took(body, chunk)
        finally:
            await response.aclose()
        return _accepted(response, body, self._terms.api_key)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.http.aclose()


class ThreadedLane:
    """Sends calls from an event loop in threads of their own: the loop reads no file.

    An upload costs half the CPU that it costs in an event loop.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._turn = asyncio.Semaphore(lane.width)

    async def send(self, call: Call[Any]) -> bytearray:
        """As `Lane.send`. When this is cancelled the thread ends, and its connection with it."""
        watch = _Watch(call)
        try:
            async with asyncio.timeout(watch.limit_s), self._turn:
                outcome = asyncio.wrap_future(
                    _started(functools.partial(self.lane.send_now, call, watch))
                )
                outcome.add_done_callback(_heard)
                return await asyncio.shield(outcome)
        except TimeoutError:
            raise watch.late() from None
        finally:
            watch.abandon()

    async def aclose(self) -> None:
        """Close every connection."""
        self.lane.close()


def _started(work: Callable[[], T]) -> Future[T]:
    """The work, in a thread that keeps no process from ending, as those of a pool would."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  it is raised in the caller
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="batchembed", daemon=True).start()
    return outcome


def _heard(outcome: asyncio.Future[Any]) -> None:
    """Whoever waited may have gone: then nobody else would take the exception."""
    if not outcome.cancelled():
        outcome.exception()


class _Watch:
    """Holds one call to its time and to the size of its answer; ends it from another thread."""

    def __init__(self, call: Call[Any]) -> None:
        self._call = call
        self.limit_s = call.options.get("timeout_in_seconds")
        self._began = time.monotonic()
        self._abandoned = threading.Event()
        self._socket: socket.socket | None = None

    def going(self) -> None:
        """Raises where the call is to end."""
        if self._abandoned.is_set():
            raise AbandonedError
        if self.limit_s is not None and time.monotonic() - self._began > self.limit_s:
            raise self.late()

    def late(self) -> ApiTimeoutError:
        """What a call is told that took too long."""
        return ApiTimeoutError(f"no whole answer within {self.limit_s or 0:g} s")

    def took(self, body: bytearray, chunk: bytes) -> None:
        """Keep a chunk of the answer."""
        step = self._call.options.get("chunk_size") or len(chunk) or 1
        for at in range(0, len(chunk), step):
            self.going()
            body += chunk[at : at + step]
            if len(body) > self._call.most_bytes:
                raise AnswerTooLargeError(
                    f"the answer is larger than {self._call.most_bytes:,} bytes"
                )

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Told by httpcore of each step; of a new connection it keeps the socket."""
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")
        self.going()

    def abandon(self) -> None:
        """End the call: it waits for nothing any more, whatever thread it is in."""
        self._abandoned.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


def _settings(width: int, terms: Terms, *, creates: bool) -> dict[str, Any]:
    # The turn is what bounds creates: one that was given up may hold its connection for a moment.
    limits = (
        httpx.Limits(max_connections=None, max_keepalive_connections=0)
        if creates
        else httpx.Limits(max_connections=width, max_keepalive_connections=width)
    )
    return {
        "base_url": check_base_url(terms.base_url) + "/",
        "headers": {
            **request_headers(terms.api_key, terms.headers),
            "accept-encoding": "gzip, deflate",
        },
        "limits": limits,
        "timeout": _timeout(terms.timeout_s, creates=creates),
        "follow_redirects": False,  # the key would travel
    }


def _timeout(timeout_s: float | None, *, creates: bool) -> httpx.Timeout:
    own = CREATE_TIMEOUT_S if creates else REQUEST_TIMEOUT_S
    whole = own if timeout_s is None else timeout_s
    return httpx.Timeout(
        whole,
        connect=min(whole, _CONNECT_TIMEOUT_S),
        write=min(whole, _WRITE_TIMEOUT_S),
        pool=None,
    )


def _request(
    http: httpx.Client | httpx.AsyncClient, terms: Terms, call: Call[Any], watch: _Watch
) -> httpx.Request:
    """The request. Its multipart body is lazy: a transport that takes the form never reads it."""
    creates = call.submitted is not None
    each_s = [limit for limit in (watch.limit_s, terms.timeout_s) if limit is not None]
    extensions: dict[str, Any] = {} if call.form is None else {FORM_EXTENSION: call.form}
    if creates and isinstance(http, httpx.Client):
        extensions["trace"] = watch.trace
    return http.build_request(
        call.method,
        call.path,
        params=[*call.query, *_pairs(call.options.get("additional_query_parameters"))],
        headers={**call.headers, **dict(_pairs(call.options.get("additional_headers")))},
        files=_parts(call, watch),
        timeout=_timeout(min(each_s, default=None), creates=creates),
        extensions=extensions,
    )


def _pairs(given: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name, value in (given or {}).items():
        yield from pairs(name, value)


def _parts(call: Call[Any], watch: _Watch) -> list[tuple[str, Any]] | None:
    """As parts of a form even where none is a file: the API takes nothing else."""
    if call.form is None:
        return None
    parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in call.form.fields]
    upload = call.form.upload
    if upload is not None:
        call.begin()
        reader = Reader(upload, call.progress, watch.going)
        content = (upload.filename, reader, upload.content_type, dict(upload.headers))
        parts.append(("video_file", content))
    return parts


def _require_open(http: httpx.Client | httpx.AsyncClient) -> None:
    if http.is_closed:
        raise UsageError("the client is closed: make another")


def _require_readable(response: httpx.Response) -> None:
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise AnswerError(f"the answer is encoded as {coding[:40]!r}, which was not asked for")


def _accepted(response: httpx.Response, body: bytearray, api_key: ApiKey | None) -> bytearray:
    """The body of an answer that says that all is well."""
    if not response.is_success:
        raise error_of(response.status_code, response.headers, bytes(body), api_key=api_key)
    return body

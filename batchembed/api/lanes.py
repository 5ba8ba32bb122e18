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
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import httpx

from batchembed.api.calls import Call
from batchembed.api.sending import (
    Received,
    Terms,
    Watch,
    request,
    require_open,
    require_readable,
    settings,
)
from batchembed.errors import ApiTimeoutError

T = TypeVar("T")

#: An answer is given up that does not bring so many bytes more, or its end, in so long.
_SLOWEST_BYTES, _SLOWEST_S = 60_000, 60.0


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
        self._settings = settings(width, terms, creates=creates)
        self._is_shared = transport is not None or not creates
        self.http = httpx.Client(transport=transport, **self._settings)
        self._calls: set[Watch] = set()
        self._turn = threading.BoundedSemaphore(width)

    def send(self, call: Call[Any]) -> Received:
        """Send when it is the call's turn, and read the answer, whatever its status, to its end.

        Raises:
            AnswerTooLargeError: the answer is larger than the call's.
            ApiTimeoutError: it took longer than the call may.
            httpx.HTTPError: the connection broke.
        """

        def in_turn(watch: Watch) -> Received:
            with self._turn:
                return self.send_now(call, watch)

        watch = Watch(call)
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

    def send_now(self, call: Call[Any], watch: Watch) -> Received:
        """Send, whoever's turn it is."""
        with self._client(watch) as http:
            watch.going()
            response = http.send(request(http, self.terms, call, watch), stream=True)
            try:
                require_readable(response)
                body = bytearray()
                for chunk in response.iter_bytes():
                    watch.took(body, chunk)
            finally:
                response.close()
            return Received(response.status_code, response.headers, body)

    @contextlib.contextmanager
    def _client(self, watch: Watch) -> Iterator[httpx.Client]:
        """For a create one of its own.

        In a pool that threads share, a connection is idle for a moment before it is closed. A create
        that takes it in that moment is cut off: one in 20,000, where threads take turns often.
        """
        self._calls.add(watch)  # first: whoever closes the lane from now on cuts this call
        try:
            require_open(self.http)
            if self._is_shared:
                yield self.http
            else:
                with httpx.Client(**self._settings) as own:
                    yield own
        finally:
            watch.ended()
            self._calls.discard(watch)

    def close(self) -> None:
        """Close every connection. A create that is on its way is cut off."""
        self.http.close()
        for watch in tuple(self._calls):
            watch.cut()


class AsyncSender(Protocol):
    """Sends calls from an event loop."""

    async def send(self, call: Call[Any]) -> Received:
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
            transport=transport, **settings(width, terms, creates=creates)
        )
        self._turn = asyncio.Semaphore(width)

    async def send(self, call: Call[Any]) -> Received:
        """As `Lane.send`."""
        watch = Watch(call)
        try:
            async with asyncio.timeout(watch.limit_s), self._turn:
                return await self._send(call, watch)
        except TimeoutError:
            raise watch.late() from None

    async def _send(self, call: Call[Any], watch: Watch) -> Received:
        require_open(self.http)
        made = request(self.http, self._terms, call, watch)
        # When an upload has left is not known here: the head of its answer is waited for.
        begins_s = watch.answer_s if call.submitted is None else None
        try:
            async with asyncio.timeout(begins_s) as patience:
                response = await self.http.send(made, stream=True)
                try:
                    require_readable(response)
                    body = await _paced(response, watch, patience)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise ApiTimeoutError(
                f"no answer began within {watch.answer_s:g} s, or it was slower than "
                f"{_SLOWEST_BYTES / _SLOWEST_S:,.0f} bytes a second"
            ) from None
        return Received(response.status_code, response.headers, body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.http.aclose()


async def _paced(response: httpx.Response, watch: Watch, patience: asyncio.Timeout) -> bytearray:
    """The body. A large one over a slow line goes on; one that drips would never end."""
    now = asyncio.get_running_loop().time
    body, due = bytearray(), _SLOWEST_BYTES
    patience.reschedule(now() + _SLOWEST_S)
    async for chunk in response.aiter_bytes():
        watch.took(body, chunk)
        if len(body) >= due:
            due = len(body) + _SLOWEST_BYTES
            patience.reschedule(now() + _SLOWEST_S)
    return body


class ThreadedLane:
    """Sends calls from an event loop in threads of their own: the loop reads no file.

    An upload costs half the CPU that it costs in an event loop.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._turn = asyncio.Semaphore(lane.width)

    async def send(self, call: Call[Any]) -> Received:
        """As `Lane.send`. When this is cancelled the thread ends, and its connection with it."""
        watch = Watch(call)
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

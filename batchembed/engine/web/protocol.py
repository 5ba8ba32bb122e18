"""uvicorn's protocol of a connection, with the deadlines that uvicorn has none of.

A client that sends its request, or reads its answer, too slowly is told so where it can be, and
closed. Each connection is looked at a few times a second (`look`), which costs less than timers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import h11
import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from batchembed.engine.refusal import Refusal, unavailable
from batchembed.engine.web.answers import refused

#: Under this name a scope's extensions have what aborts the connection without another byte.
ABORT = "batchembed.abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How slow a client may be."""

    headers_s: float = 10.0  #: for the whole head of a request
    stall_s: float = 10.0  #: without a byte more of a body, or taken of an answer
    grace_s: float = 10.0  #: before the rate of a body is looked at
    min_bytes_per_s: float = 1_000.0  #: of a body, on average
    keep_alive_s: int = 20  #: without a request; clients keep a connection less long (httpx: 5)
    linger_s: float = 2.0  #: for the rest of a body that was refused, so that the answer is read
    linger_bytes: int = 16 << 20


class PatientTransport(asyncio.Transport):
    """A transport that, when closed while the client still sends, first lets it read the answer.

    Closing at once would reset the connection, and the client might never see why.
    """

    def __init__(self, transport: asyncio.Transport, linger_bytes: int) -> None:
        super().__init__()
        self._transport = transport
        self._left_bytes = linger_bytes
        self.client_sends = False  #: whether the rest of a body is to come
        self.lingering = False

    def close(self) -> None:
        if not self.client_sends:
            self._transport.close()
        elif not self._transport.is_closing() and not self.lingering:
            self.lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()

    def drop(self, data: bytes) -> None:
        """Forget what comes while lingering; enough of it ends the connection."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.abort()

    def is_closing(self) -> bool:
        return self.lingering or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.lingering:
            self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_closing():
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  as asyncio
        return self._transport.get_extra_info(name, default)


_TOO_SLOW = Refusal(408, "request_canceled_or_timed_out", "The request came too slowly.")
_MALFORMED = Refusal(400, "parameter_invalid", "The request is no HTTP that this server reads.")
_OVERLOADED = unavailable("The server has too many connections. Try again later.")


class GuardedProtocol(H11Protocol):
    """One connection; a server makes a class of its own with `protocol_class`."""

    deadlines = Deadlines()
    max_connections = 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._patient = PatientTransport(
            cast("asyncio.Transport", transport), self.deadlines.linger_bytes
        )
        super().connection_made(self._patient)
        self._guarded_app, self.app = self.app, cast("Any", self._answer)
        now = self.loop.time()
        self._head_since: float | None = now  # None once the head has come
        self._body_since, self._body_bytes, self._progress_at = now, 0, now
        self._looked_at = self._unsent_since = now
        self._unsent_bytes = 0
        self._too_slow = False
        if len(self.connections) > 2 * self.max_connections:
            self._patient.abort()  # not even a word: every connection takes a descriptor

    def data_received(self, data: bytes) -> None:
        if self._patient.lingering:
            self._patient.drop(data)
            return
        self._progress_at = self.loop.time()
        self._body_bytes += len(data)
        if self._head_since is None and self._is_idle():
            self._head_since = self._progress_at
        super().data_received(data)

    def shutdown(self) -> None:
        if self._patient.is_closing():
            self._patient.abort()
        else:
            super().shutdown()

    def abort(self) -> None:
        """End the connection at once; its app sees a client that went away."""
        self._patient.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  ours is an error object
        self._refuse(_MALFORMED)

    def _is_idle(self) -> bool:
        return self._cycle is None or self._cycle.response_complete

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The request that is answered, or was the last; uvicorn's type forgets that none may be."""
        return self.cycle

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app, as this connection calls it."""
        cycle = self.cycle
        self._head_since = None
        self._body_since = self._progress_at = self.loop.time()
        self._body_bytes = 0
        scope.setdefault("extensions", {})[ABORT] = self._patient.abort

        async def receive_in_time() -> Message:
            message = await receive()
            if self._too_slow:
                raise _TOO_SLOW
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and cycle.more_body:
                self._patient.client_sends = True
                headers = [*message.get("headers", []), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        if len(self.connections) > self.max_connections:
            await refused(_OVERLOADED)(scope, receive, send_and_close)
            return
        try:
            app = cast("ASGIApp", self._guarded_app)
            await app(scope, receive_in_time, send_and_close)
        except Refusal as refusal:  # of the body, where no app of ours made an answer of it
            await refused(refusal)(scope, receive, send_and_close)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                raise  # else the server ends, and the request's task with this

    def look(self, now: float) -> None:
        """End the connection if its client has been too slow until now."""
        since_last_look, self._looked_at = now - self._looked_at, now
        self._look_at_answer(now)
        if self._patient.lingering:
            if now - self._progress_at > self.deadlines.linger_s:
                self._patient.abort()
        elif self._head_since is not None:
            if now - self._head_since > self.deadlines.headers_s:
                self._refuse(_TOO_SLOW)
        elif not self._is_idle() and self.cycle.more_body and not self._too_slow:
            if self.flow.read_paused:  # it is us who are slow
                self._progress_at = now
                self._body_since += since_last_look
            elif self._is_slow_body(now):
                self._too_slow = True
                self.cycle.message_event.set()

    def _is_slow_body(self, now: float) -> bool:
        limits, took_s = self.deadlines, now - self._body_since
        if now - self._progress_at > limits.stall_s:
            return True
        return took_s > limits.grace_s and self._body_bytes < took_s * limits.min_bytes_per_s

    def _look_at_answer(self, now: float) -> None:
        """Every byte of an answer that is not taken stays in the transport's buffer."""
        unsent_bytes = self._patient.get_write_buffer_size()
        if unsent_bytes == 0 or unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent_bytes, now
        elif now - self._unsent_since > self.deadlines.stall_s:
            self._patient.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what no app will see, and close."""
        if not self._is_idle():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self._patient.abort()
            return
        body = msgspec.json.encode(refusal.body())
        head = h11.Response(
            status_code=refusal.status_code,
            reason=HTTPStatus(refusal.status_code).phrase,
            headers=[
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ],
        )
        self._head_since = None
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self._patient.write(self.conn.send(event) or b"")
        self._patient.client_sends = True
        self._patient.close()


def protocol_class(deadlines: Deadlines, max_connections: int) -> type[GuardedProtocol]:
    """The protocol with these limits."""

    class Configured(GuardedProtocol):
        pass

    Configured.deadlines = deadlines
    Configured.max_connections = max_connections
    return Configured

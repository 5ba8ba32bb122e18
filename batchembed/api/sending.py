"""What is sent over httpx, and what is looked at while it is: the same for every lane."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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

_CONNECT_TIMEOUT_S = 10.0
_WRITE_TIMEOUT_S = 60.0
#: What a body's small pieces are joined to, at most.
_PIECE_BYTES = 1 << 16
#: A second coding would multiply what a small answer can unpack to.
_CODINGS = frozenset({"", "identity", "gzip", "deflate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the lanes of a client share. Bad ones are `ArgumentError`."""

    api_key: ApiKey | None
    base_url: str
    headers: Mapping[str, str] | None
    timeout_s: float | None  #: of each connect, read or write; None: the API's own
    tls: ssl.SSLContext


def tls_context(base_url: str) -> ssl.SSLContext:
    """What connections trust. To make one costs a tenth of a second: a client's lanes share it."""
    if base_url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class Received:
    """An answer, read to its end and decoded."""

    status_code: int
    headers: Mapping[str, str]
    body: bytearray


class AbandonedError(Exception):
    """Ends a call that nobody waits for any more."""


class Watch:
    """Holds one call to its time and to the size of its answer; ends it from another thread."""

    def __init__(self, call: Call[Any]) -> None:
        self._call = call
        self.limit_s = call.options.get("timeout_in_seconds")
        self._began = time.monotonic()
        self._abandoned = threading.Event()
        self._socket: socket.socket | None = None
        self._is_cut = False
        self.answer_s = 0.0  #: that an answer may take to begin, however often a byte of it comes
        self._alarm: threading.Timer | None = None

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
        """Told by httpcore of each step; of a new connection it keeps the socket, TLS's once it is.

        Once an upload has left, its answer has its time: one that drips would never end.
        """
        if event.endswith(".send_request_headers.started"):
            self.ended()  # what was asked before was the proxy
        if event.endswith(".receive_response_headers.started"):
            self._alarm = threading.Timer(self.answer_s, self.cut)
            self._alarm.daemon = True
            self._alarm.start()
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_cut:
                self.cut()
        self.going()

    def ended(self) -> None:
        """The call has ended: there is nothing to cut any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def abandon(self) -> None:
        """End the call, for whose outcome nobody waits, whatever thread it is in."""
        self._abandoned.set()
        self.cut()

    def cut(self) -> None:
        """Cut its connection, now or once there is one: the call ends as where a network does so."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                # Not as TLS would: whoever reads from it in another thread is to see it end.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def settings(width: int, terms: Terms, *, creates: bool) -> dict[str, Any]:
    """Of an httpx client, blocking or not."""
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
        "verify": terms.tls,
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


def request(
    http: httpx.Client | httpx.AsyncClient, terms: Terms, call: Call[Any], watch: Watch
) -> httpx.Request:
    """The request. Its multipart body is lazy: a transport that takes the form never reads it."""
    creates = call.submitted is not None
    each_s = [limit for limit in (watch.limit_s, terms.timeout_s) if limit is not None]
    extensions: dict[str, Any] = {} if call.form is None else {FORM_EXTENSION: call.form}
    if creates and isinstance(http, httpx.Client):
        extensions["trace"] = watch.trace
    timeout = _timeout(min(each_s, default=None), creates=creates)
    # A create's is counted from the end of its upload, another's from before it connects.
    watch.answer_s = (timeout.read or 0.0) * (1 if creates else 2)
    made = http.build_request(
        call.method,
        call.path,
        params=[*call.query, *_pairs(call.options.get("additional_query_parameters"))],
        headers={**call.headers, **dict(_pairs(call.options.get("additional_headers")))},
        files=_parts(call, watch),
        timeout=timeout,
        extensions=extensions,
    )
    # What comes through a pipe, of no known length, is sent as it comes.
    is_known = isinstance(http, httpx.Client) and "content-length" in made.headers
    if is_known and isinstance(made.stream, httpx.SyncByteStream):
        made.stream = _Joined(made.stream)
    return made


class _Joined(httpx.SyncByteStream):
    """A body in fewer pieces: httpx gives four for each field of a form, and sends them one by one."""

    def __init__(self, pieces: httpx.SyncByteStream) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        small = bytearray()
        for piece in self._pieces:
            if small and len(small) + len(piece) > _PIECE_BYTES:
                yield bytes(small)
                small.clear()
            if len(piece) < _PIECE_BYTES:
                small += piece
            else:
                yield piece  # of a file: not copied once more
        if small:
            yield bytes(small)


def _pairs(given: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name, value in (given or {}).items():
        yield from pairs(name, value)


def _parts(call: Call[Any], watch: Watch) -> list[tuple[str, Any]] | None:
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


def require_open(http: httpx.Client | httpx.AsyncClient) -> None:
    """Raises `UsageError` where the client is closed."""
    if http.is_closed:
        raise UsageError("the client is closed: make another")


def require_readable(response: httpx.Response) -> None:
    """Raises `AnswerError` where the body is packed as nobody asked."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise AnswerError(f"the answer is encoded as {coding[:40]!r}, which was not asked for")


def accepted(received: Received, terms: Terms) -> bytearray:
    """The body of an answer that says that all is well.

    Raises:
        ApiError: an error status, redirects included.
    """
    if not 200 <= received.status_code < 300:
        raise error_of(
            received.status_code,
            received.headers,
            bytes(received.body),
            api_key=terms.api_key,
            base_url=terms.base_url,
        )
    return received.body

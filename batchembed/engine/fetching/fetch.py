"""Fetch a video from a URL that a stranger gave: only from where strangers may send us, within limits.

Names are resolved once, every address is checked, and the connection goes to the checked address
itself, so that no second answer of DNS can lead elsewhere. There is no HTTP client, only httpx's
transport under it: no cookies, credentials, proxies, environment, or log lines with the URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from batchembed.engine.fetching.resolve import Resolver, resolve_host
from batchembed.engine.fetching.target import (
    CONNECT_S,
    Address,
    FetchError,
    FetchRules,
    Target,
    literal_address,
    read_target,
    refused,
    require_allowed,
    too_large,
    unreachable,
    url_problem,
)

__all__ = ["FetchError", "FetchRules", "Resolver", "fetch", "resolve_host", "url_problem"]

_MOST_ADDRESSES = 4
_WRITE_BYTES = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_VIDEO = {
    "text/html": "a web page",
    "application/xhtml+xml": "a web page",
    "application/vnd.apple.mpegurl": "a playlist",
    "application/x-mpegurl": "a playlist",
    "application/dash+xml": "a playlist",
}


async def fetch(  # noqa: PLR0913  each is a seam to the world
    url: str,
    destination: Path,
    rules: FetchRules,
    *,
    resolve: Resolver = resolve_host,
    require_room: Callable[[int], None] = lambda _: None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write what the URL answers to `destination`, which must not exist; durable when this returns.

    Whatever else happens, cancellation included, `destination` is not there. `transport` is closed.
    `require_room` is called in a thread before so many bytes are written; what it raises goes on.

    Raises:
        FetchError: the URL is refused, or does not give a video within the rules.
        OSError: `destination` can't be written.
    """
    target = read_target(url, rules)
    whole = asyncio.timeout(rules.timeout_s)
    with contextlib.ExitStack() as undo:
        try:
            async with whole, transport or _transport() as wire:
                fetcher = _Fetcher(
                    rules=rules,
                    resolve=resolve,
                    require_room=require_room,
                    transport=wire,
                    clock=clock,
                    undo=undo,
                )
                await fetcher.follow(target, destination)
        except TimeoutError as error:
            if not whole.expired():
                raise
            late = f"was not fetched within {rules.timeout_s:g} s"
            raise unreachable(target, late, "use a faster or a nearer host") from error
        undo.pop_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetcher:
    """One fetch, once its URL's text is accepted."""

    rules: FetchRules
    resolve: Resolver
    require_room: Callable[[int], None]
    transport: httpx.AsyncBaseTransport
    clock: Callable[[], float]
    undo: contextlib.ExitStack  #: what a failure takes back

    async def follow(self, target: Target, destination: Path) -> None:
        """Redirects are followed by hand: each is a URL that a stranger gave."""
        first = target
        for _ in range(self.rules.max_redirects + 1):
            async with self._answer(target) as response:
                location = response.headers.get("location")
                if response.status_code not in _REDIRECTS or location is None:
                    _require_video(target, response, self.rules)
                    await self._save(target, response, destination)
                    return
            target = self._redirected(target, location)
        more = f"redirects more than {self.rules.max_redirects} times"
        raise unreachable(first, more, "give the link that it ends at")

    def _redirected(self, target: Target, location: str) -> Target:
        try:
            found = read_target(str(target.url.join(location)), self.rules)
        except (httpx.InvalidURL, ValueError) as error:
            raise unreachable(target, "redirects to what is no URL", "check the link") from error
        except FetchError as error:
            message = f"{target.shown} redirects to another URL. {error.reason.message}"
            raise FetchError(replace(error.reason, message=message)) from error
        if target.url.scheme == "https" and found.url.scheme == "http":
            why = f"{target.shown} redirects to {found.shown}, which is not encrypted."
            raise refused(why, "give a link that stays on https://")
        return found

    @contextlib.asynccontextmanager
    async def _answer(self, target: Target) -> AsyncIterator[httpx.Response]:
        """The answer's head; its body is yet to be read."""
        addresses = await self._addresses(target)
        received = False
        try:
            response = await self._ask(target, addresses)
            received = True
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            what = "broke off its answer" if received else _failed(error)
            raise unreachable(target, what, "check the link, or try again later") from error

    async def _addresses(self, target: Target) -> Sequence[Address]:
        """Resolve once, and refuse the host if any address of it is refused."""
        literal = literal_address(target.host)
        if literal is not None:
            return [literal]
        try:
            async with self._no_stall(target, "its host to be found"):
                texts = await self.resolve(target.host, target.port)
        except OSError as error:
            raise _no_host(target) from error
        addresses = [ipaddress.ip_address(text) for text in texts]
        if not addresses:
            raise _no_host(target)
        require_allowed(target, addresses, self.rules)
        return addresses[:_MOST_ADDRESSES]

    async def _ask(self, target: Target, addresses: Sequence[Address]) -> httpx.Response:
        *before, last = addresses
        for address in before:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._ask_one(target, address)
        return await self._ask_one(target, last)

    async def _ask_one(self, target: Target, address: Address) -> httpx.Response:
        async with self._no_stall(target, "an answer"):
            return await self.transport.handle_async_request(target.request(address))

    @contextlib.asynccontextmanager
    async def _no_stall(self, target: Target, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.rules.stall_s):
                yield
        except TimeoutError as error:
            late = f"kept us waiting over {self.rules.stall_s:g} s for {what}"
            raise unreachable(target, late, "try again later, or use a faster host") from error

    async def _save(self, target: Target, response: httpx.Response, destination: Path) -> None:
        file = destination.open("xb")
        self.undo.callback(destination.unlink, missing_ok=True)
        with file:
            await self._copy(target, response, file)

    async def _copy(self, target: Target, response: httpx.Response, file: BinaryIO) -> None:
        pace = _Pace(target=target, rules=self.rules, clock=self.clock)
        buffer = bytearray()
        # It is a generator, whatever httpx declares.
        body = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        async with contextlib.aclosing(body) as chunks:
            while True:
                async with self._no_stall(target, f"more than {pace.total_bytes:,} bytes"):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                pace.took(len(chunk))
                buffer += chunk
                if len(buffer) >= _WRITE_BYTES:
                    await _to_its_end(functools.partial(self._write, file, buffer))
                    buffer = bytearray()
        await _to_its_end(functools.partial(self._finish, file, buffer))

    def _write(self, file: BinaryIO, buffer: bytearray) -> None:
        self.require_room(len(buffer))
        file.write(buffer)

    def _finish(self, file: BinaryIO, rest: bytearray) -> None:
        self._write(file, rest)
        file.flush()
        os.fsync(file.fileno())


class _Pace:
    """Counts what comes: not too much, and not too slowly."""

    def __init__(self, *, target: Target, rules: FetchRules, clock: Callable[[], float]) -> None:
        self._target = target
        self._rules = rules
        self._clock = clock
        self._began, self._window_bytes, self.total_bytes = clock(), 0, 0

    def took(self, size_bytes: int) -> None:
        """Raises FetchError where it is too much, or was too little for too long."""
        self.total_bytes += size_bytes
        self._window_bytes += size_bytes
        if self.total_bytes > self._rules.max_bytes:
            raise too_large(self._target, self.total_bytes, self._rules)
        elapsed_s = self._clock() - self._began
        if elapsed_s < self._rules.stall_s:
            return
        if self._window_bytes < self._rules.min_bytes_per_s * elapsed_s:
            slow = f"sent only {self._window_bytes:,} bytes in {elapsed_s:.0f} s"
            raise unreachable(self._target, slow, "use a faster or a nearer host")
        self._began, self._window_bytes = self._clock(), 0


def _require_video(target: Target, response: httpx.Response, rules: FetchRules) -> None:
    """Refuse an answer by its head."""
    status = response.status_code
    if status != HTTPStatus.OK:
        again = status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS
        hint = "try again later" if again else "check that the link is public and has not expired"
        raise unreachable(target, f"answered {status} instead of 200", hint)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _NO_VIDEO:
        what = f"points at {_NO_VIDEO[kind]}, not a raw video file"
        raise unreachable(target, what, "give the link that downloads the file itself")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise unreachable(target, "sent compressed content, unasked", "serve the file as it is")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > rules.max_bytes:
        raise too_large(target, int(announced), rules)


async def _to_its_end(work: Callable[[], object]) -> None:
    """Work on a file in a thread; a cancelled caller waits too, and does not close it meanwhile."""
    running = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    finally:
        await asyncio.wait([running])


def _transport() -> httpx.AsyncBaseTransport:
    """No connection is kept: another host at the same address must show its own certificate."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _failed(error: httpx.TransportError) -> str:
    """What happened before an answer. Only a failure to connect is free of words of the other side."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"could not be connected to within {CONNECT_S:g} s"
    if isinstance(error, httpx.ConnectError):
        return f"could not be connected to: {error}"
    return "gave no answer that is HTTP"


def _no_host(target: Target) -> FetchError:
    return unreachable(target, "names a host that is not found", "check its spelling")

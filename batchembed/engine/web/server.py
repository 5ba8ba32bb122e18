"""The HTTP server around an app: listens, watches its connections, drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from batchembed.engine.web.listener import SeldomShort, descriptor_limit, listen, room_for
from batchembed.engine.web.protocol import Deadlines, GuardedProtocol, protocol_class

_MAX_HEAD_BYTES = 16 << 10
_LOOKS_A_DEADLINE = 5
_LONGEST_LOOK_S = 1.0


class HttpServer:
    """An app on a port. Use it as an async context manager, in the loop that it serves in."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        deadlines: Deadlines | None = None,
        max_connections: int = 1000,
    ) -> None:
        """Bind the port, but answer nothing yet.

        Args:
            app: what answers.
            host: a name or address of this machine.
            port: 0 picks one.
            deadlines: how slow clients may be.
            max_connections: more are told that the server is overloaded; fewer where the process
                has few descriptors, as it is limited now.

        Raises:
            OSError: the port is in use, or the address is not this machine's.
        """
        limits = deadlines or Deadlines()
        room = room_for(max_connections, descriptor_limit())
        self._socket = listen(host, port, below=room.below)
        self._host = host
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,
                http=protocol_class(limits, room.served),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.keep_alive_s,
                h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            )
        )
        shortest_s = min(limits.headers_s, limits.stall_s, limits.grace_s, limits.linger_s)
        self._look_every_s = min(_LONGEST_LOOK_S, shortest_s / _LOOKS_A_DEADLINE)

    @property
    def address(self) -> str:
        """Such as `http://127.0.0.1:8080`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        self._watching = asyncio.create_task(self._watch())
        await self._server.up.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop(drain_s=0)

    async def stop(self, *, drain_s: float, hurry: asyncio.Event | None = None) -> None:
        """Take no more connections, end the requests there are, and close. It may be repeated.

        Args:
            drain_s: how long requests may take to their end; then they are cut off.
            hurry: when set, they are cut off at once.
        """
        self._server.should_exit = True
        hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
        await asyncio.wait(
            {self._serving, hurried}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED
        )
        for running in (hurried, self._watching):
            running.cancel()
        await asyncio.gather(hurried, self._watching, return_exceptions=True)
        self._server.force_exit = (
            not self._serving.done()
        )  # else it waits for the app's own threads
        while not self._serving.done():
            for connection in self._connections():
                connection.abort()
            await asyncio.wait({self._serving}, timeout=self._look_every_s)
        await self._serving
        await self._end_requests()

    async def _end_requests(self) -> None:
        """Those whose connection is cut off: nobody waits for them, and the app may end now."""
        left = tuple(self._server.server_state.tasks)
        for request in left:
            request.cancel()
        if left:
            await asyncio.wait(left)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._look_every_s)
            for connection in self._connections():
                connection.look(loop.time())

    def _connections(self) -> tuple[GuardedProtocol, ...]:
        there = tuple(self._server.server_state.connections)
        return tuple(each for each in there if isinstance(each, GuardedProtocol))


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to its owner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def quiet_logs() -> None:
    """Let only defects be logged: what clients do wrong is told to them."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(SeldomShort())

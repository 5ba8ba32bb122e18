"""Engines for tests: a pool that embeds at once without a process, and an engine on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvicorn

from batchembed.api.client import AsyncTasksClient
from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.core.segments import cut, window
from batchembed.engine.app import build_app
from batchembed.engine.embed import Embedded, EmbeddedSegment, EmbedFailed, EmbedPlan
from batchembed.engine.inprocess import BASE_URL, InProcessTransport
from batchembed.engine.pool import Expected
from batchembed.engine.service import Engine, Workers
from batchembed.media.probe import probe


class InstantPool:
    """Embeds in the caller's thread: unit vectors that depend on the bytes and the segment alone.

    It can be told to fail every video, never to end, or to warn of something.
    """

    def __init__(self, *, fails: bool = False, hangs: bool = False, warns: bool = False) -> None:
        self.embedded: list[str] = []
        self._fails = fails
        self._hangs = hangs
        self._warns = warns

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        future: Future[Embedded] = Future()
        self.embedded.append(path)
        if self._hangs:
            return future
        if self._fails:
            reason = Reason(code="video_file_broken", message="the film is torn")
            future.set_exception(EmbedFailed(reason))
            return future
        embedded = _embed(path, plan)
        odd = (Reason(code="frames_corrupt", message="1 of 9 frames"),) if self._warns else ()
        future.set_result(replace(embedded, warnings=odd))
        return future

    def close(self) -> None:
        """There is nothing to end."""


def _embed(path: str, plan: EmbedPlan) -> Embedded:
    facts = probe(path)
    assert isinstance(facts, Facts)
    whole = window(facts.duration_sec, plan.start_offset_sec, plan.end_offset_sec)
    clips = cut(whole, plan.clip_length_sec)
    spans = [("clip", span) for span in clips]
    if "video" in plan.scopes:
        spans.append(("video", whole))
    options = ("visual-text", "audio") if facts.has_audio else ("visual-text",)
    segments = tuple(
        EmbeddedSegment(
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            embedding_option=option,
            embedding_scope=scope,
        )
        for option in options
        for scope, span in spans
    )
    seed = hashlib.sha256(Path(path).read_bytes()).digest()
    vectors = np.random.default_rng(list(seed)).standard_normal((len(segments), 1024))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embedded(
        duration_sec=facts.duration_sec,
        segments=segments,
        vectors=vectors.astype(np.float32),
        warnings=(),
    )


@contextlib.asynccontextmanager
async def in_process(folder: Path, pool: Workers | None = None) -> AsyncIterator[AsyncTasksClient]:
    """A client of an engine in this process."""
    async with (
        Engine(folder, workers=2, pool=pool or InstantPool()) as engine,
        AsyncTasksClient(base_url=BASE_URL, transport=InProcessTransport(engine)) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def on_loopback(folder: Path, pool: Workers | None = None) -> AsyncIterator[AsyncTasksClient]:
    """A client of an engine behind a real HTTP server on a free port of loopback."""
    async with (
        Engine(folder, workers=2, pool=pool or InstantPool()) as engine,
        served(engine) as base_url,
        AsyncTasksClient(base_url=base_url) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[str]:
    """The base URL of an engine behind a real HTTP server."""
    server = _Server(
        uvicorn.Config(
            build_app(engine), host="127.0.0.1", port=0, log_level="error", lifespan="off"
        )
    )
    serving = asyncio.create_task(server._serve())  # its signals are pytest's
    try:
        await server.up.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1.3"
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextlib.contextmanager
def served_from_a_thread(folder: Path, pool: Workers | None = None) -> Iterator[str]:
    """The base URL of an engine that serves while the test's own thread does something else."""
    began: Future[str] = Future()

    async def serve(end: asyncio.Event) -> None:
        async with (
            Engine(folder, workers=2, pool=pool or InstantPool()) as engine,
            served(engine) as base_url,
        ):
            began.set_result(base_url)
            await end.wait()

    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(end)))
    thread.start()
    try:
        yield began.result(timeout=20)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()

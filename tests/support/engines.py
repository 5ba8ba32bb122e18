"""Engines for tests: a pool that embeds at once without a process, and an engine on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer
from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.core.segments import cut, window
from batchembed.engine.service import Engine, Workers
from batchembed.engine.video.embed import Embedded, EmbeddedSegment, EmbedFailed, EmbedPlan
from batchembed.engine.web.app import build_app
from batchembed.engine.web.guards import Guards
from batchembed.engine.web.inprocess import BASE_URL, InProcessTransport
from batchembed.engine.web.server import HttpServer
from batchembed.engine.web.uploads import MAX_UPLOAD_BYTES
from batchembed.engine.workers.pool import Expected
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
async def in_process(
    folder: Path, pool: Workers | None = None, *, observer: Observer | None = None
) -> AsyncIterator[AsyncTasksClient]:
    """A client of an engine in this process."""
    async with (
        Engine(folder, workers=2, pool=pool or InstantPool()) as engine,
        AsyncTasksClient(
            base_url=BASE_URL, transport=InProcessTransport(engine), observer=observer
        ) as client,
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
async def served(
    engine: Engine,
    *,
    api_key: str | None = None,
    max_upload_bytes: int = MAX_UPLOAD_BYTES,
    **options: Any,
) -> AsyncIterator[str]:
    """The base URL of an engine behind a real HTTP server; `options` are `HttpServer`'s."""
    app = build_app(engine, max_upload_bytes=max_upload_bytes)
    async with HttpServer(Guards(app, host="127.0.0.1", api_key=api_key), **options) as server:
        yield f"{server.address}/v1.3"


@contextlib.contextmanager
def served_from_a_thread(
    folder: Path,
    pool: Workers | None = None,
    *,
    engine_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[str]:
    """The base URL of an engine that serves while the test's own thread does something else.

    `engine_options` are the engine's, `options` those of `served`.
    """
    began: Future[str] = Future()

    async def serve(end: asyncio.Event) -> None:
        async with (
            Engine(folder, workers=2, pool=pool or InstantPool(), **engine_options or {}) as engine,
            served(engine, **options) as base_url,
        ):
            began.set_result(base_url)
            await end.wait()

    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    threads = ThreadPoolExecutor(1)
    serving = threads.submit(loop.run_until_complete, serve(end))
    try:
        serving.add_done_callback(lambda _: began.done() or began.cancel())
        try:
            base_url = began.result(timeout=20)
        except CancelledError:
            serving.result()
            raise
        yield base_url
    finally:
        loop.call_soon_threadsafe(end.set)
        threads.shutdown()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

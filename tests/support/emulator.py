"""A hosted service for hard times: the real engine behind faults, and a log of who asked what."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from batchembed.core.model import Parameters
from batchembed.engine.faults.answers import Answer, collect, deliver, in_html, made, start
from batchembed.engine.faults.app import FaultyApp
from batchembed.engine.faults.plan import AnyRule, FaultPlan
from batchembed.engine.fetching.fetch import FetchRules
from batchembed.engine.service import Engine, Workers
from batchembed.engine.tasks.listing import ListingQuery
from batchembed.engine.tasks.task import Task
from batchembed.engine.video.embed import Embedded, EmbedPlan
from batchembed.engine.web.app import API_PREFIX, build_app
from batchembed.engine.web.protocol import ABORT
from batchembed.engine.web.server import HttpServer
from batchembed.engine.workers.pool import Expected
from tests.support.engines import InstantPool

MODEL = "local-v1"
TASKS = f"{API_PREFIX}/embed/tasks"

How = Literal["drop", "reset", "truncate", "no_id", "500", "502", "504", "hang"]
HOWS: tuple[How, ...] = ("drop", "reset", "truncate", "no_id", "500", "502", "504", "hang")
#: `SO_LINGER` with no time to linger: closing sends a reset.
_RESETS = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What becomes of one create: whether the service does it, and how its answer goes astray."""

    how: How
    when: Literal["before", "after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as it arrived; `who` is its API key, `at` in seconds since 1970."""

    at: float
    who: str
    method: str
    path: str

    @property
    def creates(self) -> bool:
        return self.method == "POST"

    @property
    def lists(self) -> bool:
        return self.method == "GET" and self.path == TASKS


@dataclass(kw_only=True)
class Emulator:
    """What a service was asked, and which tasks it made. Its own log: no client has a part in it."""

    engine: Engine
    base_url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)  #: of the next creates, one each
    on_list: Callable[[Emulator], None] | None = None  #: called before each page of a listing
    answered: threading.Condition = field(default_factory=threading.Condition)

    def await_tasks(self, count: int, *, most_s: float = 60.0) -> None:
        """Wait until so many tasks were made."""
        with self.answered:
            came = self.answered.wait_for(lambda: len(self.tasks()) >= count, most_s)
        assert came, f"{len(self.tasks())} of {count} tasks after {most_s} s"

    def tasks(self) -> tuple[Task, ...]:
        """Every task that was ever made, oldest first."""
        asked = ListingQuery(status=None, started_at=None, ended_at=None, page=1, page_limit=10**6)
        return self.engine.tasks.page(asked).tasks[::-1]

    def paid(self, *, marked: str = "") -> Counter[str]:
        """How many tasks each content has, by sha256 or URL: each of them was paid for.

        `marked` leaves only those whose upload's name begins so, or whose URL does.
        """
        return Counter(
            task.input_url or (task.source.sha256 if task.source else "")
            for task in self.tasks()
            if (task.input_url or task.input_filename or "").startswith(marked)
        )

    def add_foreign(
        self,
        count: int,
        *,
        filename: Callable[[int], str] | None = None,
        url: str | None = None,
        clip_length: float = 6.0,
        ago_s: float = 0.0,
    ) -> None:
        """Put in tasks that another client of the same account made, so long ago."""
        moment = time.time() - ago_s
        for number in range(count):
            task = Task(
                task_id=secrets.token_hex(12),
                status="ready",
                created_at=moment,
                parameters=Parameters(
                    model_name=MODEL,
                    video_clip_length=clip_length,
                    video_embedding_scope=("clip", "video"),
                ),
                input_filename=None if filename is None else filename(number),
                input_url=url,
                duration_sec=4.0,
                request_digest="foreign",
                ended_at=moment,
            )
            self.engine.tasks.add(task)


class HeldPool(InstantPool):
    """Embeds nothing until it is released: so long every task is processing."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._held: list[Callable[[], None]] | None = []

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        outcome: Future[Embedded] = Future()

        def embed() -> None:
            outcome.set_result(InstantPool.submit(self, path, plan, deadline_s=deadline_s).result())

        with self._lock:
            if self._held is not None:
                self._held.append(embed)
                return outcome
        embed()
        return outcome

    def release(self) -> None:
        """Embed what waits, and from now on at once."""
        with self._lock:
            held, self._held = self._held or [], None
        for embed in held:
            embed()


class _Log:
    """Writes down every request before anybody else sees it."""

    def __init__(self, app: ASGIApp, emulator: Emulator) -> None:
        self._app = app
        self._emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        asked = Asked(
            at=time.time(),
            who=headers.get(b"x-api-key", b"").decode(),
            method=scope["method"],
            path=scope["path"],
        )
        self._emulator.asked.append(asked)
        if asked.lists and self._emulator.on_list is not None:
            await asyncio.to_thread(self._emulator.on_list, self._emulator)
        await self._app(scope, receive, send)
        with self._emulator.answered:
            self._emulator.answered.notify_all()


class _Losing:
    """Loses creates, or their answers, as the emulator is told to."""

    def __init__(self, app: ASGIApp, emulator: Emulator) -> None:
        self._app = app
        self._losses = emulator.losses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or not self._losses:
            await self._app(scope, receive, send)
            return
        loss = self._losses.pop(0)
        if loss.when == "after":
            answer = await collect(self._app, scope, receive)
        else:
            await _read(receive)
            answer = made(200, b'{"_id":"0123456789abcdef01234567"}', "application/json")
        await _lose(loss.how, answer, scope, receive, send)


async def _read(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass


async def _lose(how: How, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    abort = scope["extensions"][ABORT]
    match how:
        case "drop":
            abort()
        case "reset":
            peer: socket.socket = abort.__self__.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
            abort()
        case "truncate":
            await start(answer, send)
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            abort()
        case "no_id":
            await deliver(answer.with_body(b"{}"), send)
            return
        case "500" | "502" | "504":
            await deliver(in_html(int(how)), send)
            return
        case "hang":
            pass
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def emulated(
    folder: Path,
    *,
    rules: Sequence[AnyRule] = (),
    seed: int = 7,
    losses: Sequence[Loss] = (),
    on_list: Callable[[Emulator], None] | None = None,
    fetches: bool = False,
    pool: Workers | None = None,
) -> Iterator[Emulator]:
    """A service with its state in `folder`, served by a thread.

    Args:
        folder: of the engine.
        rules: its faults.
        seed: of their probabilities.
        losses: of its first creates.
        on_list: called before each page of a listing.
        fetches: whether it takes URLs, on loopback too.
        pool: where it embeds; at once, if not told otherwise.
    """
    began: Future[Emulator] = Future()

    async def serve(end: asyncio.Event) -> None:
        rules_of_fetches = FetchRules(allow_private=True) if fetches else None
        engine = Engine(folder, workers=8, pool=pool or InstantPool(), fetch_rules=rules_of_fetches)
        emulator = Emulator(engine=engine, losses=list(losses), on_list=on_list)
        async with engine:
            engine.tasks._db.execute("PRAGMA synchronous = OFF")  # nobody cuts its power
            plan = FaultPlan(seed=seed, rules=tuple(rules))
            faulty = FaultyApp(build_app(engine), plan, note=emulator.faults.append)
            # Losses are outermost: what is lost has its place in the faults' listings all the same.
            app = _Log(_Losing(faulty, emulator), emulator)
            async with HttpServer(app) as server:
                emulator.base_url = f"{server.address}{API_PREFIX}"
                began.set_result(emulator)
                await end.wait()

    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    threads = ThreadPoolExecutor(1)
    serving = threads.submit(loop.run_until_complete, serve(end))
    serving.add_done_callback(lambda _: began.done() or began.cancel())
    try:
        try:
            yield began.result(timeout=20)
        except CancelledError:
            serving.result()
            raise
    finally:
        loop.call_soon_threadsafe(end.set)
        threads.shutdown()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    serving.result()

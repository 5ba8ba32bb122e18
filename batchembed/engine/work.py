"""What becomes of a task: its video is fetched where it is a URL's, and embedded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

import msgspec

from batchembed.core.model import FileIdentity
from batchembed.core.problems import Reason
from batchembed.engine.fetching.fetch import FetchError, FetchRules, fetch
from batchembed.engine.intake import Probes, Taken, arrived, take
from batchembed.engine.refusal import Refusal
from batchembed.engine.spool import Spool, discard
from batchembed.engine.tasks.table import TaskTable
from batchembed.engine.tasks.task import SourceFile, Task
from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.workers.pool import Expected, PoolClosedError
from batchembed.media.identity import identity_of, sha256_file
from batchembed.media.unreadable import UnreadableVideoError

#: URLs fetched at once.
_FETCHES = 4
#: URLs whose video is on the disk: the others wait where they are.
_FETCHED = 16


class Workers(Protocol):
    """Where videos are embedded: the one seam for scale."""

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        """Have the video at `path` embedded; the future may hold `EmbedFailed`."""
        ...

    def close(self) -> None:
        """End what is at work; its futures get `PoolClosedError`."""
        ...


class Workshop:
    """Tasks that wait, and the loops that work them off. For one event loop."""

    def __init__(
        self,
        tasks: TaskTable,
        pool: Workers,
        spool: Spool,
        *,
        probes: Probes,
        fetch_rules: FetchRules | None,
    ) -> None:
        self._tasks = tasks
        self._pool = pool
        self._spool = spool
        self._probes = probes
        self._fetch_rules = fetch_rules
        self._to_fetch: asyncio.Queue[Task] = asyncio.Queue()
        self._fetched_places = asyncio.Semaphore(_FETCHED)
        self._to_embed: asyncio.PriorityQueue[tuple[float, str, Task]] = asyncio.PriorityQueue()
        #: Tasks that were put in and have not ended.
        self.unended = 0

    def put(self, task: Task) -> None:
        """Take a task that is durable."""
        self.unended += 1
        if task.source is None:
            self._to_fetch.put_nowait(task)
        else:
            self._line_up(task)

    def loops(self, workers: int) -> tuple[Coroutine[None, None, None], ...]:
        """What works the tasks off. Each ends by an error alone: the engine's folder can't be used."""
        return (
            *(self._embed_forever() for _ in range(workers)),
            *(self._fetch_forever() for _ in range(_FETCHES)),
        )

    def _line_up(self, task: Task) -> None:
        """The longest first: so the last worker is not alone with it at the end."""
        self._to_embed.put_nowait((-(task.duration_sec or 0.0), task.task_id, task))

    async def _fetch_forever(self) -> None:
        while True:
            await self._fetch(await self._to_fetch.get())

    async def _fetch(self, task: Task) -> None:
        await self._fetched_places.acquire()  # until the task has ended
        taken = await self._fetched(task)
        if taken is None:
            return
        if isinstance(taken, Reason):
            await self._fail(task, taken)
            return
        # Not written down: after a restart the video is fetched again.
        self._line_up(
            msgspec.structs.replace(
                task, source=taken.source, duration_sec=taken.facts.duration_sec
            )
        )

    async def _fetched(self, task: Task) -> Taken | Reason | None:
        if self._fetch_rules is None:
            return Reason(
                code="video_url_unreachable", message="the engine no longer fetches any URL"
            )
        path = await asyncio.to_thread(self._spool.new_path)
        try:
            await fetch(
                task.input_url or "",
                path,
                self._fetch_rules,
                require_room=self._spool.require_room,
            )
        except FetchError as error:
            return error.reason
        except (Refusal, OSError) as error:  # a full disk: the next video may be smaller
            why = getattr(error, "strerror", None) or str(error)
            return Reason(
                code="video_url_unreachable",
                message=f"the video can't be kept while it waits: {why}",
                hint="free space on the server's disk, then try again",
            )
        file = await asyncio.to_thread(arrived, str(path), path.name, sha256=None)
        try:
            taken = await take(file, task.parameters, self._probes)
        except Refusal:
            return None  # the engine ends: the task goes on when it is opened again
        if isinstance(taken, Reason):
            discard(file.path)
        return taken

    async def _embed_forever(self) -> None:
        while True:
            *_, task = await self._to_embed.get()
            await self._embed(task)

    async def _embed(self, task: Task) -> None:
        assert task.source is not None  # noqa: S101  narrows the type: it is lined up with it
        file = await asyncio.to_thread(_as_created, task.source)
        if file is None:
            changed = Reason(
                code="video_file_changed",
                message="the file is not the one that the task was created from",
                hint="run again: a changed file is a new job",
            )
            await self._fail(task, changed)
            return
        try:
            embedded = await asyncio.wrap_future(
                self._pool.submit(
                    file.path,
                    _plan(task),
                    deadline_s=120 + 3 * (task.duration_sec or 0.0),
                    expect=Expected(
                        dev=file.dev,
                        inode=file.inode,
                        size_bytes=file.size_bytes,
                        mtime_ns=file.mtime_ns,
                    ),
                )
            )
        except EmbedFailed as failure:
            await self._fail(task, failure.reason)
            return
        except PoolClosedError:
            return  # the engine ends: the task goes on when it is opened again
        await asyncio.to_thread(self._tasks.finish, task, embedded)
        self._ended(task)

    async def _fail(self, task: Task, reason: Reason) -> None:
        await asyncio.to_thread(self._tasks.fail, task, reason)
        self._ended(task)

    def _ended(self, task: Task) -> None:
        self.unended -= 1
        if task.input_url is not None:
            self._fetched_places.release()
        if task.source is not None and task.source.owned:
            discard(task.source.identity.path)


def _plan(task: Task) -> EmbedPlan:
    asked = task.parameters
    return EmbedPlan(
        clip_length_sec=asked.video_clip_length,
        scopes=asked.video_embedding_scope,
        start_offset_sec=asked.video_start_offset_sec,
        end_offset_sec=asked.video_end_offset_sec,
    )


def _as_created(source: SourceFile) -> FileIdentity | None:
    """The file, if its bytes are those the task was created from; touched is not changed."""
    path, before = source.identity.path, source.identity
    try:
        now = identity_of(path, os.stat(path))  # noqa: PTH116  as fstat
        same = replace(now, ctime_ns=before.ctime_ns) == before
        return now if same or sha256_file(path) == source.sha256 else None
    except (OSError, UnreadableVideoError):
        return None

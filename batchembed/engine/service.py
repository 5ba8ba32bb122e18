"""The engine: creates tasks durably and works them off, the longest video first."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import secrets
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from batchembed.api.models import CreateForm, Upload
from batchembed.core.model import Facts, FileIdentity, Parameters
from batchembed.core.problems import Reason
from batchembed.engine.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.pool import Expected, PoolClosedError, WorkerPool
from batchembed.engine.refusal import Refusal
from batchembed.engine.requests import MODEL_NAME, read_form
from batchembed.engine.tasks import SourceFile, Task, TaskTable
from batchembed.errors import BatchembedError, StorageError
from batchembed.media.identity import identity_of, sha256_file
from batchembed.media.limits import breaches
from batchembed.media.probe import probe
from batchembed.media.unreadable import UnreadableVideoError

_COPY_CHUNK = 1 << 20


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


class Engine:
    """Tasks in a folder, and workers for them. Use it as an async context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int,
        pool: Workers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._uploads = folder / "uploads"
        self._workers = workers
        self._pool: Workers = pool or WorkerPool(workers)
        self._clock = clock
        self._queue: list[tuple[float, str, Task]] = []
        self._waiting = asyncio.Condition()
        self._consumers: list[asyncio.Task[None]] = []
        #: Why no task will end any more; whoever asks for one must be told.
        self.failure: BatchembedError | None = None

    async def __aenter__(self) -> Self:
        self.tasks = await asyncio.to_thread(TaskTable, self._folder)
        for task in await asyncio.to_thread(self.tasks.processing):
            self._push(task)
        self._consumers = [asyncio.create_task(self._consume()) for _ in range(self._workers)]
        for consumer in self._consumers:
            consumer.add_done_callback(self._consumer_ended)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for consumer in self._consumers:
            consumer.cancel()
        await asyncio.to_thread(self._pool.close)
        await asyncio.gather(*self._consumers, return_exceptions=True)
        await asyncio.to_thread(self.tasks.close)

    async def create(self, form: CreateForm, idempotency_key: str | None) -> Task:
        """Check a create and make its task, durable when this returns.

        Raises:
            Refusal: the request is refused, with the document's code.
            StorageError: the engine's folder can't be written.
        """
        request = read_form(form)
        upload = form.upload
        if upload is None:  # read_form refuses it; mypy can't know
            raise Refusal(400, "parameter_not_provided", "The video_file parameter is required.")
        try:
            source, facts = await asyncio.to_thread(self._take, upload, request.parameters)
        except UnreadableVideoError as error:
            raise Refusal(400, error.reason.code, error.reason.message) from error
        except OSError as error:
            raise StorageError(f"the engine's folder {self._folder}: {error}") from error
        task = Task(
            task_id=secrets.token_hex(12),
            status="processing",
            created_at=self._clock(),
            parameters=request.parameters,
            input_filename=upload.filename,
            duration_sec=facts.duration_sec,
            source=source,
            request_digest=request.digest(source.sha256),
            idempotency_key=idempotency_key,
        )
        try:
            task, new = await asyncio.to_thread(self.tasks.add, task)
        except Refusal:
            self._discard(source)
            raise
        if not new:
            self._discard(source)
            return task
        async with self._waiting:
            self._push(task)
            self._waiting.notify()
        return task

    def _take(self, upload: Upload, parameters: Parameters) -> tuple[SourceFile, Facts]:
        """The file to embed, held to the limits: the caller's own, or a copy of what came."""
        path = upload.path or self._spool(upload.file)
        found = os.fstat(upload.file.fileno()) if upload.path else os.stat(path)  # noqa: PTH116  as fstat
        source = SourceFile(
            identity=identity_of(path, found),
            sha256=upload.sha256 or sha256_file(path),
            owned=upload.path is None,
        )
        facts = probe(path)
        refusals = (
            (facts,) if isinstance(facts, Reason) else breaches(facts, parameters, None, MODEL_NAME)
        )
        if isinstance(facts, Reason) or refusals:
            self._discard(source)
            raise Refusal(400, refusals[0].code, "; ".join(reason.message for reason in refusals))
        return source, facts

    def _spool(self, file: BinaryIO) -> str:
        self._uploads.mkdir(exist_ok=True)
        path = self._uploads / secrets.token_hex(12)
        with path.open("xb") as sink:
            shutil.copyfileobj(file, sink, _COPY_CHUNK)
            sink.flush()
            os.fsync(sink.fileno())
        return str(path)

    @staticmethod
    def _discard(source: SourceFile) -> None:
        if source.owned:
            with contextlib.suppress(FileNotFoundError):
                Path(source.identity.path).unlink()

    def _push(self, task: Task) -> None:
        heapq.heappush(self._queue, (-task.duration_sec, task.task_id, task))

    async def _consume(self) -> None:
        while True:
            async with self._waiting:
                while not self._queue:
                    await self._waiting.wait()
                *_, task = heapq.heappop(self._queue)
            await self._work(task)

    def _consumer_ended(self, consumer: asyncio.Task[None]) -> None:
        """A consumer ends by an error alone: most likely a full disk. Then no task can end any more."""
        error = None if consumer.cancelled() else consumer.exception()
        if isinstance(error, BatchembedError):
            self.failure = error
        elif isinstance(error, OSError):
            self.failure = StorageError(f"the engine's folder {self._folder}: {error}")
        elif error is not None:
            self.failure = BatchembedError(f"a defect of the engine: {error!r}")

    async def _work(self, task: Task) -> None:
        file = await asyncio.to_thread(_as_created, task.source)
        if file is None:
            changed = Reason(
                code="video_file_changed",
                message="the file is not the one that the task was created from",
                hint="run again: a changed file is a new job",
            )
            await asyncio.to_thread(self.tasks.fail, task, changed)
            return
        asked = task.parameters
        plan = EmbedPlan(
            clip_length_sec=asked.video_clip_length,
            scopes=asked.video_embedding_scope,
            start_offset_sec=asked.video_start_offset_sec,
            end_offset_sec=asked.video_end_offset_sec,
        )
        try:
            embedded = await asyncio.wrap_future(
                self._pool.submit(
                    file.path,
                    plan,
                    deadline_s=120 + 3 * task.duration_sec,
                    expect=Expected(
                        dev=file.dev,
                        inode=file.inode,
                        size_bytes=file.size_bytes,
                        mtime_ns=file.mtime_ns,
                    ),
                )
            )
            await asyncio.to_thread(self.tasks.finish, task, embedded)
        except EmbedFailed as failure:
            await asyncio.to_thread(self.tasks.fail, task, failure.reason)
        except PoolClosedError:
            return  # the engine ends: the task goes on when it is opened again
        self._discard(task.source)


def _as_created(source: SourceFile) -> FileIdentity | None:
    """The file, if its bytes are those the task was created from; touched is not changed."""
    path, before = source.identity.path, source.identity
    try:
        now = identity_of(path, os.stat(path))  # noqa: PTH116  as fstat
        same = replace(now, ctime_ns=before.ctime_ns) == before
        return now if same or sha256_file(path) == source.sha256 else None
    except (OSError, UnreadableVideoError):
        return None

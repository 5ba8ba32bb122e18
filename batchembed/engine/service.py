"""The engine: creates tasks durably and works them off, the longest video first."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from batchembed.api.models import CreateForm
from batchembed.core.problems import Reason
from batchembed.engine.fetching.fetch import FetchRules, url_problem
from batchembed.engine.intake import Arrived, Probe, Probes, arrive, arrived, take
from batchembed.engine.received import Received
from batchembed.engine.refusal import Refusal, invalid, unavailable
from batchembed.engine.requests import CreateRequest, read_form
from batchembed.engine.spool import RESERVE_BYTES, Spool, discard
from batchembed.engine.tasks.table import UPLOADS, TaskTable
from batchembed.engine.tasks.task import Task
from batchembed.engine.work import Workers, Workshop
from batchembed.engine.workers.pool import WorkerPool
from batchembed.errors import BatchembedError, StorageError
from batchembed.media.probe import probe as probe_here

__all__ = ["MAX_PROCESSING", "Engine", "Workers"]

#: Tasks that may wait; more are told to come again.
MAX_PROCESSING = 10_000
_COME_AGAIN_S = 60
#: Codes of a probe that the engine failed to make: not the video's fault.
_OWN_FAULT = "worker_"


class Engine:
    """Tasks in a folder, and workers for them. Use it as an async context manager."""

    def __init__(  # noqa: PLR0913  each is a limit, or a seam to the world
        self,
        folder: Path,
        *,
        workers: int,
        pool: Workers | None = None,
        clock: Callable[[], float] = time.time,
        probe: Probe = probe_here,
        aliases: Collection[str] = (),
        fetch_rules: FetchRules | None = None,
        retention_s: float | None = None,
        sweep_every_s: float = 600.0,
        max_processing: int = MAX_PROCESSING,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Open nothing yet.

        Args:
            folder: of this engine alone.
            workers: how many videos are embedded at once.
            pool: where.
            clock: the time, in seconds since 1970.
            probe: what finds the facts of a video; no end waits for one that runs.
            aliases: further names of the model.
            fetch_rules: what a `video_url` may reach; None: none is fetched.
            retention_s: how long an ended task is kept; None: for good.
            sweep_every_s: between two removals of what has expired.
            max_processing: tasks that have not ended, at most.
            reserve_bytes: of the disk, which uploads leave free.
        """
        self.workers = workers
        self.aliases = frozenset(aliases)
        self.spool = Spool(folder / UPLOADS, reserve_bytes=reserve_bytes)
        self._folder = folder
        self._pool: Workers = pool or WorkerPool(workers)
        self._clock = clock
        self._probes = Probes(probe)
        self._fetch_rules = fetch_rules
        self._retention_s = retention_s
        self._sweep_every_s = sweep_every_s
        self._max_processing = max_processing
        self._receiving: set[str] = set()
        self._running: list[asyncio.Task[None]] = []
        #: Why no task will end any more; whoever asks for one must be told.
        self.failure: BatchembedError | None = None

    async def __aenter__(self) -> Self:
        processing = await asyncio.to_thread(self._open)
        self._workshop = Workshop(
            self.tasks,
            self._pool,
            self.spool,
            probes=self._probes,
            fetch_rules=self._fetch_rules,
        )
        for task in processing:
            self._workshop.put(task)
        self._running = [
            asyncio.create_task(work)
            for work in (*self._workshop.loops(self.workers), self._sweep_regularly())
        ]
        for running in self._running:
            running.add_done_callback(self._ended)
        return self

    def _open(self) -> tuple[Task, ...]:
        self.tasks = TaskTable(self._folder, clock=self._clock, retention_s=self._retention_s)
        with contextlib.ExitStack() as undo, self.storing():
            undo.callback(self.tasks.close)
            self.tasks.sweep()
            processing = self.tasks.processing()
            self.spool.keep_only(
                {Path(task.source.identity.path).name for task in processing if task.source}
            )
            undo.pop_all()
            return processing

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for running in self._running:
            running.cancel()
        self._probes.close()  # one that runs is waited for by nobody here
        await asyncio.to_thread(self._pool.close)
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.to_thread(self.tasks.close)

    @property
    def queue_length(self) -> int:
        """Tasks that have not ended."""
        return self._workshop.unended

    def require_room(self) -> None:
        """Refuse a create that the engine could not work off.

        Raises:
            Refusal: 503, no task will end any more; 429, too many wait.
        """
        if self.failure is not None:
            raise unavailable(f"The engine has stopped working: {self.failure}. Start it again.")
        if self.queue_length >= self._max_processing:
            raise Refusal(
                429,
                "too_many_requests",
                f"{self.queue_length:,} tasks are processing already. "
                f"Please try again later after {_COME_AGAIN_S} seconds.",
                headers={"Retry-After": str(_COME_AGAIN_S)},
            )

    @contextlib.contextmanager
    def receiving(self, idempotency_key: str | None) -> Iterator[None]:
        """Hold an Idempotency-Key while its create is on its way.

        Raises:
            Refusal: 409, a create with this key is on its way already.
        """
        if idempotency_key is None:
            yield
            return
        if idempotency_key in self._receiving:
            raise Refusal(
                409,
                "request_in_progress",
                "A request with this Idempotency-Key is still being received",
                headers={"Retry-After": "1"},
            )
        self._receiving.add(idempotency_key)
        try:
            yield
        finally:
            self._receiving.discard(idempotency_key)

    async def create(self, form: CreateForm, idempotency_key: str | None) -> Task:
        """Check a create from this process and make its task, durable when this returns.

        Raises:
            Refusal: the request is refused, with the document's code.
            StorageError: the engine's folder can't be written.
        """
        upload = form.upload
        with self.receiving(idempotency_key), self.storing():
            request = read_form(form.fields, has_file=upload is not None, aliases=self.aliases)
            if request.video_url is not None or upload is None:
                return await self._create_of_url(request, idempotency_key)
            file = await asyncio.to_thread(arrive, upload, self.spool)
            return await self._create_of_file(request, file, idempotency_key)

    async def create_received(self, received: Received, idempotency_key: str | None) -> Task:
        """Check a create that came over HTTP and make its task; the file is the engine's from now on.

        Raises:
            Refusal: the request is refused, with the document's code.
            StorageError: the engine's folder can't be written.
        """
        came = received.file
        path = None if came is None else came.path
        with self.storing(), self._discarding(path):
            request = read_form(received.fields, has_file=came is not None, aliases=self.aliases)
            if request.video_url is not None or came is None:
                task = await self._create_of_url(request, idempotency_key)
                self._discard(path)
                return task
            file = await asyncio.to_thread(arrived, came.path, came.filename, sha256=came.sha256)
            return await self._create_of_file(request, file, idempotency_key)

    async def _create_of_file(
        self, request: CreateRequest, file: Arrived, idempotency_key: str | None
    ) -> Task:
        with self._discarding(file.path if file.owned else None):
            taken = await take(file, request.parameters, self._probes)
            if isinstance(taken, Reason):
                if taken.code.startswith(_OWN_FAULT):
                    raise unavailable(f"The video can't be probed: {taken.message}")
                raise Refusal(400, taken.code, taken.message)
            made = Task(
                task_id=secrets.token_hex(12),
                status="processing",
                created_at=self._clock(),
                parameters=request.parameters,
                input_filename=file.filename,
                duration_sec=taken.facts.duration_sec,
                source=taken.source,
                request_digest=request.digest(taken.source.sha256),
                idempotency_key=idempotency_key,
            )
            task = await self._add(made)
            if task is not made and file.owned:
                discard(file.path)
            return task

    async def _create_of_url(self, request: CreateRequest, idempotency_key: str | None) -> Task:
        url = request.video_url or ""
        if self._fetch_rules is None:
            raise invalid("video_url", "This engine fetches no URL: upload the file as video_file")
        problem = url_problem(url, self._fetch_rules)
        if problem is not None:
            raise Refusal(400, problem.code, problem.message)
        return await self._add(
            Task(
                task_id=secrets.token_hex(12),
                status="processing",
                created_at=self._clock(),
                parameters=request.parameters,
                input_url=url,
                request_digest=request.digest(url),
                idempotency_key=idempotency_key,
            )
        )

    async def _add(self, made: Task) -> Task:
        """Make the task durable and put it to work; or give the one that its key has."""
        self.require_room()
        task, new = await asyncio.to_thread(self.tasks.add, made)
        if not new:
            return task
        self._workshop.put(made)
        return made

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """Tell what the system says of the folder as `StorageError`."""
        try:
            yield
        except OSError as error:
            raise StorageError(f"the engine's folder {self._folder}: {error}") from error

    @contextlib.contextmanager
    def _discarding(self, path: str | None) -> Iterator[None]:
        """Remove the file of a create that is refused.

        Not that of a cancelled one, which may have a task: if not, the next start removes it.
        """
        try:
            yield
        except (Refusal, BatchembedError, OSError):
            self._discard(path)
            raise

    @staticmethod
    def _discard(path: str | None) -> None:
        if path is not None:
            discard(path)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            await asyncio.to_thread(self.tasks.sweep)

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Work ends by an error alone: most likely a full disk. Then no task can end any more."""
        error = None if running.cancelled() else running.exception()
        if isinstance(error, BatchembedError):
            self.failure = error
        elif isinstance(error, OSError):
            self.failure = StorageError(f"the engine's folder {self._folder}: {error}")
        elif error is not None:
            self.failure = BatchembedError(f"a defect of the engine: {error!r}")

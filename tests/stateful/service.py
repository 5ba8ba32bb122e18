"""A service in memory that keeps its own log of what it made, and a client of it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import (
    PageInfo,
    TasksCreateResponse,
    TasksListResponse,
    TasksStatusResponse,
    TasksStatusResponseVideoEmbedding,
    Upload,
    VideoEmbeddingMetadata,
    VideoEmbeddingTask,
)
from batchembed.api.observe import Answered, Kind, Observer
from batchembed.api.pager import AsyncPager
from batchembed.core.keys import unsigned_url
from batchembed.core.segments import Span, cut
from batchembed.errors import (
    BadRequestError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    ServerError,
    SubmissionUnknown,
)
from tests.stateful.world import World

DAY_S = 86_400.0
#: How long the service keeps what it made.
KEPT_S = 7 * DAY_S
#: Of the videos behind files, and of those behind URLs.
FILE_SEC, URL_SEC = 10.0, 20.0

Answer = Literal["ok", "lost before", "lost after", "refused", "limited", "blocked", "away"]


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of one create, and of its task."""

    answer: Answer = "ok"
    takes_s: float = 0.5  #: until the task is made, and the answer leaves
    lag_s: float = 0.0  #: until a listing shows it
    hidden_s: float = 0.0  #: until a listing says what it was made of
    lasts_s: float = 3.0
    end: Literal["ready", "failed"] = "ready"


@dataclass(kw_only=True)
class ModelTask:
    """A task. Times are the world's, in seconds."""

    task_id: str
    key: str  #: the create's Idempotency-Key; empty: another customer's
    content: str  #: sha256 of the bytes, or the URL without its signature
    name: str | None
    url: str | None
    start: float | None
    end: float | None
    made_s: float
    listed_s: float
    named_s: float
    ends_s: float
    ended: str
    gone_s: float = math.inf

    def status(self, now: float) -> str:
        return self.ended if now >= self.ends_s else "processing"

    def has(self, now: float) -> bool:
        """Whether the service has it, and not had it."""
        return self.made_s <= now < min(self.gone_s, max(self.made_s, self.ends_s) + KEPT_S)

    @property
    def vector(self) -> float:
        return vector_of(self.content, self.start, self.end)


def vector_of(content: str, start: float | None, end: float | None) -> float:
    """The first number of every vector of a video: it says which video, and which window."""
    digest = hashlib.sha256(f"{content} {start} {end}".encode()).digest()
    return float(1 + int.from_bytes(digest[:2]))


@dataclass(kw_only=True)
class ModelService:
    """What it has, what it will do, and what nobody may do to it."""

    world: World
    idempotent: bool
    tasks: list[ModelTask] = field(default_factory=list)
    fates: deque[Fate] = field(default_factory=deque)
    creates: int = 0
    doubled: list[str] = field(default_factory=list)  #: what was made although it was there
    #: What a status says of a task, when it is asked for the n-th time; None: the truth.
    says: Callable[[ModelTask, int], str | TasksStatusResponse | Exception | None] = (
        lambda task, number: None
    )
    looks: int = 0
    hides: Callable[[ModelTask], bool] = lambda task: False  #: from its listing
    #: What a retrieve gives of a task, when one is asked for the n-th time; None: its segments.
    gives: Callable[[ModelTask, int], dict[str, Any] | Exception | None] = lambda task, number: None
    fetches: int = 0
    received: list[tuple[int, int]] = field(default_factory=list)  #: moments of uploads
    faults: int = 0  #: so many requests are answered by 503
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def make(
        self,
        fate: Fate,
        *,
        key: str,
        content: str,
        name: str | None,
        url: str | None,
        window: tuple[float | None, float | None],
    ) -> ModelTask:
        """A new task, or the one of the same key where the service honours that."""
        now = self.world.monotonic()
        for task in self.tasks:
            if key and task.key == key and (task.made_s > now or task.has(now)):
                if self.idempotent:
                    return task
                self.doubled.append(f"task {task.task_id} was there, and is made again")
        made_s = now + fate.takes_s
        task = ModelTask(
            task_id=f"{next(self._ids):024x}",
            key=key,
            content=content,
            name=name,
            url=url,
            start=window[0],
            end=window[1],
            made_s=made_s,
            listed_s=made_s + fate.lag_s,
            named_s=made_s + fate.hidden_s,
            ends_s=made_s + fate.lasts_s,
            ended=fate.end,
        )
        self.tasks.append(task)
        return task

    def find(self, task_id: str) -> ModelTask:
        now = self.world.monotonic()
        for task in self.tasks:
            if task.task_id == task_id and task.has(now):
                return task
        raise NotFoundError(status_code=404, message="no such task")

    def listed(self) -> list[ModelTask]:
        """Those that a listing shows, newest first."""
        now = self.world.monotonic()
        made = (task for task in self.tasks if task.has(now) and task.listed_s <= now)
        shown = [task for task in made if not self.hides(task)]
        return sorted(shown, key=lambda task: -task.made_s)


class ModelClient(AsyncTasksClient):
    """A client of the service, without a wire."""

    def __init__(self, service: ModelService, observer: Observer) -> None:
        self._service = service
        self._world = service.world
        self._told = observer

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def create(  # type: ignore[override]
        self,
        *,
        model_name: str,
        video_file: Upload | None = None,
        video_url: str | None = None,
        video_start_offset_sec: float | None = None,
        video_end_offset_sec: float | None = None,
        idempotency_key: str = "",
        **_: Any,
    ) -> TasksCreateResponse:
        service = self._service
        fate = service.fates.popleft() if service.fates else Fate()
        self._told.sent("create")
        self._world.moment()
        if fate.answer == "away":
            raise NotSentError("no connection")
        content = unsigned_url(video_url or "")
        if video_file is not None:
            content = hashlib.sha256(video_file.file.read()).hexdigest()
        service.creates += 1
        task = None
        if fate.answer in {"ok", "lost after"}:
            task = service.make(
                fate,
                key=idempotency_key,
                content=content,
                name=None if video_file is None else video_file.filename,
                url=video_url,
                window=(video_start_offset_sec, video_end_offset_sec),
            )
        self._world.moment()
        await asyncio.sleep(fate.takes_s)
        self._world.moment()
        return self._answer(fate, task)

    def _answer(self, fate: Fate, task: ModelTask | None) -> TasksCreateResponse:
        match fate.answer:
            case "lost before" | "lost after":
                raise SubmissionUnknown("the answer was lost")
            case "refused":
                raise BadRequestError(status_code=400, code="video_file_broken", message="torn")
            case "limited":
                raise RateLimitError(status_code=429, retry_after_s=2.0)
            case "blocked":
                raise RateLimitError(status_code=429, retry_after_s=11_382.0)
            case _:
                assert task is not None
                self._answered("create")
                return TasksCreateResponse(id=task.task_id)

    async def status(self, task_id: str, **_: Any) -> TasksStatusResponse:
        await self._asked("status")
        task = self._service.find(task_id)
        self._service.looks += 1
        said = self._service.says(task, self._service.looks)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, TasksStatusResponse):
            return said
        return TasksStatusResponse(id=task_id, status=said or task.status(self._world.monotonic()))

    async def retrieve_body(self, task_id: str, **_: Any) -> bytearray:
        await self._asked("retrieve")
        task = self._service.find(task_id)
        self._service.fetches += 1
        given = self._service.gives(task, self._service.fetches)
        if isinstance(given, Exception):
            raise given
        return bytearray(json.dumps(self.answer(task) if given is None else given).encode())

    @staticmethod
    def answer(task: ModelTask) -> dict[str, Any]:
        """What a retrieve gives of a ready task."""
        whole_sec = URL_SEC if task.url else FILE_SEC
        start = 0.0 if task.start is None else task.start
        end = whole_sec if task.end is None else task.end
        segments = [
            {
                "start_offset_sec": span.start_offset_sec,
                "end_offset_sec": span.end_offset_sec,
                "embedding_option": "visual-text",
                "embedding_scope": "clip",
                "float": [task.vector, 1.0],
            }
            for span in cut(Span(round(start * 1000), round(end * 1000)), 6.0)
        ]
        return {"video_embedding": {"segments": segments}}

    async def list(
        self, *, page: int | None = None, page_limit: int | None = None, **_: Any
    ) -> AsyncPager:
        number, size = page or 1, page_limit or 10
        await self._asked("list")
        shown = self._service.listed()
        response = TasksListResponse(
            data=[self._shown(task) for task in shown[(number - 1) * size : number * size]],
            page_info=PageInfo(
                page=number,
                limit_per_page=size,
                total_page=max(1, -(-len(shown) // size)),
                total_results=len(shown),
            ),
        )
        following = functools.partial(self.list, page=number + 1, page_limit=size)
        return AsyncPager(response, number, following)

    def _shown(self, task: ModelTask) -> VideoEmbeddingTask:
        about = None
        if self._world.monotonic() >= task.named_s:
            about = TasksStatusResponseVideoEmbedding(
                metadata=VideoEmbeddingMetadata(
                    input_filename=task.name,
                    input_url=task.url,
                    video_clip_length=6.0,
                    video_embedding_scope=["clip"],
                )
            )
        return VideoEmbeddingTask(
            id=task.task_id,
            model_name="local-v1",
            status=task.status(self._world.monotonic()),
            created_at=datetime.fromtimestamp(self._world.began + task.made_s, tz=UTC),
            video_embedding=about,
        )

    async def _asked(self, kind: Kind) -> None:
        self._told.sent(kind)
        self._world.moment()
        await asyncio.sleep(0.03)
        self._world.moment()
        if self._service.faults:
            self._service.faults -= 1
            raise ServerError(status_code=503)
        self._answered(kind)

    def _answered(self, kind: Kind) -> None:
        self._told.answered(
            Answered(
                kind=kind,
                status_code=200,
                limits=None,
                request_id=None,
                server_date=float(int(self._world.server())),
            )
        )

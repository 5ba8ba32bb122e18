"""A service that lists tasks, in a loop whose time passes only while nothing else is to be done."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from batchembed.api.models import (
    PageInfo,
    TaskError,
    TasksListResponse,
    TasksStatusResponse,
    VideoEmbeddingTask,
)
from batchembed.api.options import RequestOptions
from batchembed.api.pager import AsyncPager
from batchembed.core.model import TaskId
from batchembed.errors import NotFoundError

T = TypeVar("T")


class _Jumps(selectors.SelectSelector):
    """Waits no time, and says how much has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for somebody else"
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its timers are due as soon as nothing else is; its time begins at 0."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """The work's result, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass(kw_only=True)
class FakeTask:
    """A task, its end in the loop's time, and how it shows."""

    id: TaskId
    ends_s: float
    end: str = "ready"
    listed: bool = True
    word: str = "processing"  #: until then

    @property
    def status(self) -> str:
        return self.end if now_s() >= self.ends_s else self.word


@dataclass(kw_only=True)
class FakeTasks:
    """Answers `status` and `list` after `takes_s`, unless `fault` gives an error for it."""

    takes_s: float = 0.03
    page_tasks: int = 50
    fault: Callable[[str, int], Exception | None] = lambda kind, number: None
    tasks: dict[TaskId, FakeTask] = field(default_factory=dict)
    asked: list[tuple[str, str | int, float]] = field(default_factory=list)

    def create(self, name: str, *, takes_s: float, **shown: Any) -> TaskId:
        """A task that ends in `takes_s`."""
        task_id = TaskId(name)
        self.tasks[task_id] = FakeTask(id=task_id, ends_s=now_s() + takes_s, **shown)
        return task_id

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _, _ in self.asked)

    def times_s(self) -> list[float]:
        return [at for _, _, at in self.asked]

    async def status(
        self, task_id: str, *, request_options: RequestOptions | None = None
    ) -> TasksStatusResponse:
        await self._asked("status", task_id)
        task = self.tasks.get(TaskId(task_id))
        if task is None:
            raise NotFoundError(status_code=404)
        error = TaskError(message="torn") if task.status == "failed" else None
        return TasksStatusResponse(id=task_id, status=task.status, error=error)

    async def list(
        self,
        *,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> AsyncPager:
        number = page or 1
        await self._asked("list", number)
        listed = [task for task in reversed(self.tasks.values()) if task.listed]
        size = min(page_limit or 10, self.page_tasks)
        response = TasksListResponse(
            data=[
                VideoEmbeddingTask(id=task.id, status=task.status)
                for task in listed[(number - 1) * size : number * size]
            ],
            page_info=PageInfo(
                page=number,
                limit_per_page=size,
                total_page=-(-len(listed) // size),
                total_results=len(listed),
            ),
        )
        return AsyncPager(response, number, self._no_more)

    async def _no_more(self) -> AsyncPager:
        raise AssertionError("a page is asked for by its number")

    async def _asked(self, kind: str, what: str | int) -> None:
        self.asked.append((kind, what, now_s()))
        fault = self.fault(kind, len(self.asked))
        await asyncio.sleep(self.takes_s)
        if fault is not None:
            raise fault

"""Answers looks that fall due together: by pages of the listing, and what these don't bring singly.

Nothing runs by itself: whoever asks first waits for others to join, and asks for all. Where it is
cancelled, another takes its place.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from batchembed.api.models import TasksListResponse, TasksStatusResponse, VideoEmbeddingTask
from batchembed.api.options import RequestOptions
from batchembed.api.pager import AsyncPager
from batchembed.api.repeats import is_transient
from batchembed.api.waiting import is_done
from batchembed.core.model import TaskId
from batchembed.errors import ApiError, BatchembedError, ServiceError
from batchembed.runner.outage import Outages, now_s
from batchembed.runner.vocabulary import Vocabulary
from batchembed.runner.whereabouts import PAGE_TASKS, Whereabouts

#: So many looks are cheaper by themselves than by a page.
_FEW = 2
#: How often a batch asks for pages, each time knowing better where its tasks are.
_ROUNDS = 3
#: A task that so many pages in a row should have shown is asked for by itself.
_MISSES = 2
#: Batches that are answered at once: a slow answer must not hold up all others.
_BATCHES = 3
#: After two batches to which pages brought nothing, none is asked for so long, doubled each time.
_REST_S = 1.0
_LONGEST_REST_S = 600.0
#: Looking again is what repeats it. The time is for a server that never ends its answer.
_ONE_TRY: RequestOptions = {"max_retries": 0, "timeout_in_seconds": 300.0}


class StatusClient(Protocol):
    """What is needed of `AsyncTasksClient`."""

    async def status(
        self, task_id: str, *, request_options: RequestOptions | None = None
    ) -> TasksStatusResponse:
        """The task's status."""
        ...

    async def list(
        self,
        *,
        page: int | None = None,
        page_limit: int | None = None,
        request_options: RequestOptions | None = None,
    ) -> AsyncPager:
        """One page of the tasks, newest first."""
        ...


class Nothing(enum.Enum):
    """In place of an answer."""

    NEWS = enum.auto()  #: the service gave none that can be used
    TURN = enum.auto()  #: whoever was to ask has gone: ask again


Told: TypeAlias = TasksStatusResponse | BatchembedError | Literal[Nothing.NEWS]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A look that waits for its answer, and in whose name it is asked."""

    task_id: TaskId
    answer: asyncio.Future[Told | Literal[Nothing.TURN]]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def tell(self, told: Told | Literal[Nothing.TURN]) -> None:
        if not self.answer.done():
            self.answer.set_result(told)


_Batch: TypeAlias = dict[TaskId, _Asked]


class Gathering:
    """Answers looks. What pages tell beside is kept, for those that will ask."""

    def __init__(
        self,
        client: StatusClient,
        *,
        outages: Outages,
        listing: bool,
        window: Callable[[], Awaitable[None]],
        news: Callable[[TaskId, bool], bool],
        odd: Callable[[str], None],
    ) -> None:
        """Ask nothing yet.

        Args:
            client: asks.
            outages: lets requests through.
            listing: whether pages are asked for at all; else nothing is gathered.
            window: lasts as long as others are waited for.
            news: is told of a task that is not asked for, and whether it has ended; says whether
                it will be now.
            odd: is told of each status that nobody knows, once.
        """
        self.where = Whereabouts()
        self._client = client
        self._outages = outages
        self._lists = listing
        self._window = window
        self._news = news
        self._vocabulary = Vocabulary(odd)
        self._due: _Batch = {}
        self._gathers = False
        self._turns = asyncio.Semaphore(_BATCHES)
        self._kept: dict[TaskId, TasksStatusResponse | BatchembedError] = {}
        self._to_confirm: set[TaskId] = set()  #: a page says that they failed, and not why
        self._unended_s: dict[TaskId, float] = {}  #: when each was last said to be processing
        self._misses: Counter[TaskId] = Counter()
        self._in_vain = 0
        self._rests_until_s = 0.0

    @property
    def shares(self) -> bool:
        """Whether there are so many tasks that pages answer looks, and nobody minds more of these."""
        many = self.where.awaited > _FEW
        return self._lists and many and not self._outages.was_limited

    def has_news(self, task_id: TaskId) -> bool:
        """Whether a look is worth while now."""
        return task_id in self._kept or task_id in self._to_confirm

    def keep(self, task_id: TaskId, told: TasksStatusResponse | BatchembedError) -> None:
        """Give this to the next that asks."""
        self._kept[task_id] = told

    def forget(self, task_id: TaskId) -> None:
        """Nobody will ask for it any more."""
        self.where.forget(task_id)
        self._kept.pop(task_id, None)
        self._to_confirm.discard(task_id)
        self._misses.pop(task_id, None)
        self._unended_s.pop(task_id, None)

    def unended_s(self, task_id: TaskId) -> float | None:
        """When it was last seen not to have ended; None: it was not."""
        return self._unended_s.get(task_id)

    async def ask(self, task_id: TaskId) -> Told:
        """What the service says of a task, or the error that does not pass."""
        while True:
            kept = self._kept.pop(task_id, None)
            if kept is not None:
                return kept
            if not self._lists:
                return await self._single(task_id)
            if task_id not in self._due:
                future = asyncio.get_running_loop().create_future()
                self._due[task_id] = _Asked(task_id, future)
            asked = self._due[task_id]
            if not self._gathers:
                await self._gather()
            told = await asyncio.shield(asked.answer)
            if told is not Nothing.TURN:
                return told

    async def _gather(self) -> None:
        """Wait for others to join, and answer all."""
        batch: _Batch = {}
        self._gathers = True
        try:
            await self._window()
            async with self._turns:
                batch = self._taken()
                await self._answer(dict(batch))
        finally:
            # Something is left only where this was cancelled: the others see to themselves.
            for asked in (batch or self._taken()).values():
                asked.tell(Nothing.TURN)

    def _taken(self) -> _Batch:
        batch, self._due, self._gathers = self._due, {}, False
        return batch

    async def _answer(self, left: _Batch) -> None:
        for task_id in [each for each in left if each in self._kept]:
            left.pop(task_id).tell(self._kept.pop(task_id))
        await self._by_pages(left)
        async with asyncio.TaskGroup() as group:
            for asked in left.values():
                group.create_task(self._singly(asked), context=asked.context)

    async def _by_pages(self, left: _Batch) -> None:
        """Answer what pages bring; the rest is left."""
        before, seen = len(left), set[int]()
        pages = self._worth_asking(left, seen)
        if not pages:
            return
        for _ in range(_ROUNDS):
            async with asyncio.TaskGroup() as group:
                for number in pages:
                    group.create_task(self._page(number, left, seen))
            pages = self._worth_asking(left, seen)
        for number, page in self.where.pages(left).items():
            self._misses.update(page.wanted if number in seen else ())
        self._in_vain = self._in_vain + 1 if len(left) == before else 0
        if self._in_vain > 1:
            rest_s = min(_LONGEST_REST_S, _REST_S * 2.0 ** min(self._in_vain - 2, 16))
            self._rests_until_s = now_s() + rest_s

    def _worth_asking(self, left: _Batch, seen: Collection[int]) -> list[int]:
        """The pages that are expected to show more than a few, the best first."""
        if not self._lists or not left or now_s() < self._rests_until_s:
            return []
        pages = self.where.pages(
            each for each in left if each not in self._to_confirm and self._misses[each] < _MISSES
        )
        # Those that are awaited and not yet asked for make a page worth while, but no second one.
        shown = {n: len(page.wanted) if seen else page.awaited for n, page in pages.items()}
        worth = [number for number in pages if shown[number] > _FEW and number not in seen]
        worth.sort(key=lambda number: -len(pages[number].wanted))
        # Without any page seen, all guesses may be wrong alike.
        return worth if self.where.has_seen else worth[:1]

    async def _page(self, number: int, left: _Batch, seen: set[int]) -> None:
        listing = await self._outages.ask(functools.partial(self._list, number))
        if listing is None or not self._lists:
            return
        seen.add(number)
        tasks = listing.data or []
        size = None if listing.page_info is None else listing.page_info.limit_per_page
        self.where.saw(number, [TaskId(each.id or "") for each in tasks], size or PAGE_TASKS)
        for each in tasks:
            self._tell(each, left)

    async def _list(self, number: int) -> TasksListResponse:
        """A page. A service that refuses to list is not asked to again."""
        try:
            found = await self._client.list(
                page=number, page_limit=PAGE_TASKS, request_options=_ONE_TRY
            )
        except ServiceError as error:
            cannot = isinstance(error, ApiError) and error.status_code == 501
            if is_transient(error) and not cannot:
                raise
            self._lists = False
            return TasksListResponse()
        return found.response

    def _tell(self, listed: VideoEmbeddingTask, left: _Batch) -> None:
        """Tell whoever asks for a task, or sleeps, what a page says of it."""
        task_id = TaskId(listed.id or "")
        if listed.status is None or not (task_id in left or self.where.knows(task_id)):
            return
        self._misses.pop(task_id, None)
        self._vocabulary.hear(listed.status)
        told = TasksStatusResponse(
            id=listed.id,
            model_name=listed.model_name,
            status=listed.status,
            video_embedding=listed.video_embedding,
            error=listed.error,
            warnings=listed.warnings,
        )
        if listed.status == "failed" and listed.error is None:  # its own status may say why
            self._to_confirm.add(task_id)
            self._news(task_id, True)
            return
        if not is_done(told):
            self._unended_s[task_id] = now_s()
        if task_id in left:
            left.pop(task_id).tell(told)
        elif self._news(task_id, is_done(told)):
            self._kept[task_id] = told

    async def _singly(self, asked: _Asked) -> None:
        asked.tell(await self._single(asked.task_id))

    async def _single(self, task_id: TaskId) -> Told:
        self._to_confirm.discard(task_id)
        request = functools.partial(self._client.status, task_id, request_options=_ONE_TRY)
        try:
            answer = await self._outages.ask(request)
        except BatchembedError as error:
            return error
        if answer is None:
            return Nothing.NEWS
        self._vocabulary.hear(answer.status)
        if not is_done(answer):
            self._unended_s[task_id] = now_s()
        return answer

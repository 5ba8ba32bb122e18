"""What faults make of tasks: decided once at the creation, true in every answer from then on.

Tasks are known by the answers to their creates, in this process alone: those of an earlier process
are shown as they are, and so are the oldest of very many, and a task in the moment between its
creation and that answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope

from batchembed.api.models import PageInfo, TasksCreateResponse
from batchembed.engine.faults.answers import Answer, collect, refusing
from batchembed.engine.faults.draws import Draws
from batchembed.engine.faults.plan import (
    Endpoint,
    HiddenInListing,
    Lost,
    TaskRule,
    is_hidden,
    shown_status,
)
from batchembed.engine.refusal import unknown_task

#: How many tasks are kept in mind; of more the oldest are forgotten.
MOST_TASKS = 100_000

_PAGE = 50
#: What only the true status explains.
_OF_THE_TRUTH = ("error", "warnings")

Item = dict[str, object]


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a listing; its items stay as they are."""

    data: list[Item]
    page_info: PageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """What was decided for a task: born at `born_s`, after so many listings had begun."""

    born_s: float
    born_listings: int
    rule: TaskRule | None
    hiding: HiddenInListing | None


class FaultyTasks:
    """The app's answers, with tasks as the plan wants them shown."""

    def __init__(
        self,
        app: ASGIApp,
        draws: Draws,
        *,
        now: Callable[[], float],
        note: Callable[[str], None],
        most: int = MOST_TASKS,
    ) -> None:
        self._app = app
        self._draws = draws
        self._now = now
        self._note = note
        self._watches = draws.has(TaskRule) or draws.has(HiddenInListing)
        self._most = most
        self._known: dict[str, None] = {}  # in the order of their creation
        self._fates: dict[str, _Fate] = {}  # of some of those that are known
        self._listings = 0

    def touches(self, endpoint: Endpoint, task_id: str | None) -> bool:
        """Whether the answer has to be looked into."""
        match endpoint:
            case "create":
                return self._watches
            case "list":
                return bool(self._fates)
            case _:
                return task_id in self._fates

    async def answer(
        self, endpoint: Endpoint, task_id: str | None, scope: Scope, receive: Receive
    ) -> Answer:
        """The answer to a request, which the app carries out unless the task is lost."""
        fate = None if task_id is None else self._fates.get(task_id)
        if task_id is not None and fate is not None and isinstance(fate.rule, Lost):
            return refusing(unknown_task(task_id))
        begins = endpoint == "list" and _query(scope).get("page", "1") == "1"
        self._listings += begins
        answer = await collect(self._app, scope, receive)
        if answer.status != 200:
            return answer
        if endpoint == "create":
            self._decide(answer)
        elif endpoint == "list" and self._fates:
            return await self._listing(answer, scope)
        elif fate is not None:
            status = shown_status(fate.rule, self._now() - fate.born_s)
            return answer if status is None else answer.edited(lambda task: _shown(task, status))
        return answer

    def _decide(self, created: Answer) -> None:
        """Draw for a task that is new; a create that is repeated brings an old one."""
        task_id = msgspec.json.decode(created.body, type=TasksCreateResponse).id
        if task_id is None or task_id in self._known:
            return
        self._remember(task_id)
        rule = self._draws.draw(TaskRule, "create")
        hiding = self._draws.draw(HiddenInListing, "create")
        for drawn in (rule, hiding):
            if drawn is not None:
                self._note(f"task {task_id}: {drawn.name}")
        if rule is not None or hiding is not None:
            self._fates[task_id] = _Fate(
                born_s=self._now(), born_listings=self._listings, rule=rule, hiding=hiding
            )

    def _remember(self, task_id: str) -> None:
        """Know this task from now on, at the cost of the oldest where there are too many."""
        self._known[task_id] = None
        if len(self._known) > self._most:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._fates.pop(oldest, None)

    async def _listing(self, answer: Answer, scope: Scope) -> Answer:
        """The page that was asked for, of the listing that would be if tasks were as shown.

        Where tasks are missing or have another status, every page is another one: so all of the
        app's pages are read. What is no page, the app's refusal, is the answer to the whole.
        """
        whole = await self._all(scope)
        if isinstance(whole, Answer):
            return whole
        asked = msgspec.json.decode(answer.body, type=_Page).page_info
        page, limit = asked.page or 1, asked.limit_per_page or _PAGE
        status = _query(scope).get("status")
        items = [
            item
            for item in map(self._listed, whole)
            if item is not None and (status is None or item.get("status") == status)
        ]
        total = {"total_page": max(1, -(-len(items) // limit)), "total_results": len(items)}

        def of_this_page(content: object) -> object:
            if isinstance(content, dict):
                content["data"] = items[(page - 1) * limit : page * limit]
                content["page_info"] |= total
            return content

        return answer.edited(of_this_page)

    def _listed(self, item: Item) -> Item | None:
        """A task of a listing as it is shown, or None."""
        fate = self._fates.get(str(item.get("_id")))
        if fate is None:
            return item
        if isinstance(fate.rule, Lost):
            return None
        age_s = self._now() - fate.born_s
        status = shown_status(fate.rule, age_s)
        if status is not None:
            item["status"] = status
        listings = self._listings - fate.born_listings
        if fate.hiding is None or not is_hidden(fate.hiding, age_s=age_s, listings=listings):
            return item
        return {**item, "video_embedding": {}} if fate.hiding.metadata else None

    async def _all(self, scope: Scope) -> Iterable[Item] | Answer:
        """Every task that the app lists in the asked time, of whatever status, newest first.

        Or its answer, where that is no page.
        """
        kept = {
            name: value
            for name, value in _query(scope).items()
            if name not in {"status", "page", "page_limit"}
        }
        found: dict[str, Item] = {}
        page, pages = 1, 1
        while page <= pages:
            query = urlencode({**kept, "page": page, "page_limit": _PAGE}).encode()
            answer = await collect(self._app, {**scope, "query_string": query}, _nothing)
            if answer.status != 200:
                return answer
            part = msgspec.json.decode(answer.body, type=_Page)
            found |= {str(item.get("_id")): item for item in part.data}
            page, pages = page + 1, part.page_info.total_page or 1
        return found.values()


def _shown(content: object, status: str) -> object:
    """A task's status or its retrieve, as if its status were another."""
    if isinstance(content, dict):
        content["status"] = status
        for name in _OF_THE_TRUTH:
            content.pop(name, None)
        embedding = content.get("video_embedding")
        if isinstance(embedding, dict):
            embedding.pop("segments", None)
    return content


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}

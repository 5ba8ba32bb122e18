"""Misbehaves on purpose: an ASGI middleware around the server's app, which knows nothing of it.

Only what the document's endpoints answer is touched; every other path goes straight through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batchembed.engine.faults.answers import Answer, deliver, in_html, instead, spoiled, start
from batchembed.engine.faults.draws import Draws
from batchembed.engine.faults.plan import (
    AnswerLost,
    AnswerRule,
    ConnectionCut,
    Endpoint,
    FaultPlan,
    IgnoreIdempotencyKey,
    InsteadRule,
    Slow,
    SlowUpload,
)
from batchembed.engine.faults.tasks import MOST_TASKS, FaultyTasks
from batchembed.engine.web.openapi import API_PREFIX
from batchembed.engine.web.protocol import ABORT

_TASKS = f"{API_PREFIX}/embed/tasks"
_STATUS = "/status"
#: A longer body drips in so many pieces: a timer a byte would take minutes.
_PIECES = 1000

Sleep = Callable[[float], Awaitable[None]]
Note = Callable[[str], None]


def _silent(_note: str) -> None:
    """Say nothing."""


class FaultyApp:
    """`app`, with the faults of `plan`.

    `now` gives seconds since 1970; `note` hears of every fault, in a line each: it may neither
    block nor fail. Of more than `most_tasks` tasks the oldest are shown as they are.
    """

    def __init__(
        self,
        app: ASGIApp,
        plan: FaultPlan,
        *,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], float] = time.time,
        note: Note = _silent,
        most_tasks: int = MOST_TASKS,
    ) -> None:
        self._app = app
        self._sleep = sleep
        self._now = now
        self._note = note
        self._draws = Draws(plan)
        self._tasks = FaultyTasks(app, self._draws, now=now, note=note, most=most_tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or fail to.

        Raises:
            ConnectionResetError: a connection is to be cut, and the server has no way to do it.
        """
        endpoint, task_id = _asked(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        rule = self._draws.draw(AnswerRule, endpoint)
        forgetful = self._draws.draw(IgnoreIdempotencyKey, endpoint)
        for drawn in (rule, forgetful):
            if drawn is not None:
                self._note(f"{endpoint}: {drawn.name}")
        match rule:
            case InsteadRule():
                await deliver(instead(rule, now=self._now()), send)
                return
            case ConnectionCut(when="before"):
                await _cut(scope, receive)
                return
            case SlowUpload():
                receive = self._late(receive, rule.delay_s)
            case _:
                pass
        if forgetful is not None:
            scope = _without_idempotency_key(scope)
        if rule is None and not self._tasks.touches(endpoint, task_id):
            await self._app(scope, receive, send)
            return
        answer = await self._tasks.answer(endpoint, task_id, scope, receive)
        await self._send(rule, answer, scope, receive, send)

    async def _send(
        self, rule: AnswerRule | None, answer: Answer, scope: Scope, receive: Receive, send: Send
    ) -> None:
        match rule:
            case None:
                await deliver(answer, send)
            case AnswerLost(how="error"):
                await deliver(in_html(rule.status), send)
            case AnswerLost():
                if rule.how == "hang":
                    await self._hang(rule.delay_s, receive)
                await _cut(scope, receive)
            case ConnectionCut():
                await start(answer, send)
                half = answer.body[: len(answer.body) // 2]
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await _cut(scope, receive)
            case Slow(drip=True):
                await self._drip(answer, rule.delay_s, send)
            case Slow():
                await self._sleep(rule.delay_s)
                await deliver(answer, send)
            case _:
                await deliver(await asyncio.to_thread(spoiled, rule, answer), send)

    def _late(self, receive: Receive, delay_s: float) -> Receive:
        """`receive`, of which the first message comes late."""
        waits = [delay_s]

        async def receive_late() -> Message:
            while waits:
                await self._sleep(waits.pop())
            return await receive()

        return receive_late

    async def _hang(self, delay_s: float, receive: Receive) -> None:
        """Wait, or until the client has gone."""
        ends = {asyncio.ensure_future(self._sleep(delay_s)), asyncio.ensure_future(_gone(receive))}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _drip(self, answer: Answer, delay_s: float, send: Send) -> None:
        await start(answer, send)
        size = max(1, -(-len(answer.body) // _PIECES))
        pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._sleep(delay_s / len(pieces))
        await send({"type": "http.response.body", "body": b""})


def _asked(scope: Scope) -> tuple[Endpoint | None, str | None]:
    """The endpoint of a request and the task that it is about, where it has them."""
    if scope["type"] != "http":
        return None, None
    path, method = scope["path"], scope["method"]
    if path == _TASKS:
        by_method: dict[str, Endpoint] = {"POST": "create", "GET": "list"}
        return by_method.get(method), None
    task_id = path.removeprefix(f"{_TASKS}/").removesuffix(_STATUS)
    if method != "GET" or not path.startswith(f"{_TASKS}/") or not task_id or "/" in task_id:
        return None, None
    return ("status" if path.endswith(_STATUS) else "retrieve"), task_id


def _without_idempotency_key(scope: Scope) -> Scope:
    kept = [pair for pair in scope["headers"] if pair[0].lower() != b"idempotency-key"]
    return {**scope, "headers": kept}


async def _gone(receive: Receive) -> None:
    """Until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(scope: Scope, receive: Receive) -> None:
    """Close the connection as it stands."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if abort is None:
        raise ConnectionResetError("the connection is cut on purpose")
    abort()
    await _gone(receive)  # an app that ends before would be answered for, with a 500

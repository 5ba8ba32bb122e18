"""Fakes: a scripted service, a clock that a test moves, a ledger in memory."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from batchembed.core.model import JobKey
from batchembed.core.states import Entry, State, require_allowed
from batchembed.store.ledger import KnownFile

Answer = httpx.Response | httpx.HTTPError


class ScriptedService(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Gives its answers in order, and keeps the requests; the last answer is given for ever."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request, await request.aread())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request, request.read())

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(body)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.HTTPError):
            raise answer
        # A response is read once: give a fresh one each time.
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=answer.stream, request=request
        )


class FakeSleep:
    """Sleeps no time, and remembers how long it was asked to."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


class MemoryLedger:
    """A ledger without a file."""

    def __init__(self) -> None:
        self._entries: dict[JobKey, Entry] = {}
        self._files: dict[str, KnownFile] = {}

    def entries(self) -> dict[JobKey, Entry]:
        return dict(self._entries)

    def add(self, key: JobKey, *, now: float) -> None:
        self._entries.setdefault(
            key, Entry(job_key=key, state=State.PLANNED, attempt=1, updated_at=now)
        )

    def move(self, entry: Entry, *, old: State) -> bool:
        require_allowed(old, entry.state)
        before = self._entries.get(entry.job_key)
        if before is None or before.state is not old or before.attempt > entry.attempt:
            return False
        self._entries[entry.job_key] = entry
        return True

    def files(self) -> dict[str, KnownFile]:
        return dict(self._files)

    def remember(self, known: KnownFile) -> None:
        self._files[known.identity.path] = known

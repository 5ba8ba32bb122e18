"""Fakes: a scripted service, a clock that a test moves, a ledger in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import httpx
import msgspec

from batchembed.core.model import JobKey, TaskId, VideoId
from batchembed.core.quota import Charge
from batchembed.core.states import IN_DOUBT, IN_FLIGHT, Entry, State, require_allowed
from batchembed.store.ledger import Beginning, Block, KnownFile, Ledger, LedgerMove

T = TypeVar("T")
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


class FakeClock:
    """Time that a test moves, or a sleep: both clocks of the world, which begin apart."""

    def __init__(self, now: float = 1_762_553_467.0) -> None:
        self.now = now
        self.elapsed = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds


class MemoryCalls:
    """A ledger without a file, as a run asks it."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()

    async def do(self, call: Callable[[Ledger], T]) -> T:
        return call(self.ledger)


class MemoryLedger:
    """A ledger without a file."""

    def __init__(self, *, run_id: str = "") -> None:
        self._run_id = run_id
        self._entries: dict[JobKey, Entry] = {}
        self._files: dict[str, KnownFile] = {}
        self._moves: list[tuple[JobKey, LedgerMove]] = []
        self._charges: dict[tuple[JobKey, int], dict[float, Charge]] = {}
        self._block: Block | None = None
        self._beginning: Beginning | None = None
        self._names: dict[tuple[VideoId, JobKey], float] = {}

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
        self._put(entry)
        if entry.state is State.SUBMITTING:
            before_it = self._beginning or Beginning(doubted_since=None, record=None)
            self._beginning = msgspec.structs.replace(before_it, payer=self._run_id)
        return True

    def beginning(self) -> Beginning | None:
        return self._beginning

    def begin(self, beginning: Beginning) -> None:
        self._beginning = beginning
        for key, entry in self._entries.items():
            if entry.state in {State.PLANNED, State.FAILED, State.LOST}:
                self._entries[key] = replace(entry, intent=None)

    def recall(self, entry: Entry) -> None:
        before = self._entries.get(entry.job_key)
        if before is None or before.state not in {State.STAGED, State.COMMITTED}:
            attempt = entry.attempt if before is None else max(entry.attempt, before.attempt)
            self._put(replace(entry, attempt=attempt))

    def _put(self, entry: Entry) -> None:
        self._entries[entry.job_key] = entry
        made = LedgerMove(
            at=entry.updated_at,
            run_id=self._run_id,
            state=entry.state,
            attempt=entry.attempt,
            task_id=entry.task_id,
            reason=entry.reason,
        )
        self._moves.append((entry.job_key, made))

    def history(self, key: JobKey) -> tuple[LedgerMove, ...]:
        return tuple(move for of, move in self._moves if of == key)

    def task_ids(self) -> frozenset[TaskId]:
        return frozenset(move.task_id for _, move in self._moves if move.task_id is not None)

    def charge(self, key: JobKey, attempt: int, charge: Charge) -> None:
        self._charges.setdefault((key, attempt), {})[charge.at] = charge

    def withdraw(self, key: JobKey, attempt: int) -> None:
        kept = self._charges.get((key, attempt))
        if kept:
            del kept[max(kept)]

    def settle(self, key: JobKey, attempt: int, video_sec: float) -> None:
        kept = self._charges.get((key, attempt))
        if kept:
            kept[max(kept)] = Charge(at=max(kept), video_sec=video_sec)

    def open_charges(self) -> dict[JobKey, Charge]:
        found: dict[JobKey, Charge] = {}
        for key, entry in self._entries.items():
            kept = self._charges.get((key, entry.attempt))
            if kept and entry.state in IN_DOUBT | IN_FLIGHT:
                found[key] = kept[max(kept)]
        return found

    def charges(self) -> tuple[Charge, ...]:
        every = [charge for kept in self._charges.values() for charge in kept.values()]
        return tuple(sorted(every, key=lambda charge: charge.at))

    def set_back(self, now: float) -> None:
        for kept in self._charges.values():
            ahead = sorted((at for at in kept if at > now), reverse=True)
            for rank, at in enumerate(ahead):
                if now - rank / 1000 not in kept:
                    charge = replace(kept.pop(at), at=now - rank / 1000)
                    kept[charge.at] = charge
        self._block = None if self._block is None else self._block.set_back(now)

    def block(self) -> Block | None:
        return self._block

    def set_block(self, block: Block | None) -> None:
        self._block = block

    def name(self, video_id: VideoId, key: JobKey, *, source: str, now: float) -> None:
        self._names.setdefault((video_id, key), now)

    def jobs_of(self, video_id: VideoId) -> tuple[JobKey, ...]:
        found = [(at, key) for (of, key), at in self._names.items() if of == video_id]
        return tuple(key for _, key in sorted(found))

    def names(self) -> dict[JobKey, VideoId]:
        named: dict[JobKey, VideoId] = {}
        for video_id, key in sorted(self._names):
            named.setdefault(key, video_id)
        return named

    def files(self) -> dict[str, KnownFile]:
        return dict(self._files)

    def remember(self, known: KnownFile) -> None:
        self._files[known.identity.path] = known

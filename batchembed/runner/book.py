"""The ledger's entries in memory, kept in step with it: the one place where a job moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

from batchembed.core.model import JobKey, TaskId
from batchembed.core.states import IN_DOUBT, Entry, State
from batchembed.errors import BatchembedError
from batchembed.store.ledger import Ledger

T = TypeVar("T")
#: Notes that wait for a move, at most.
_MOST_NOTES = 64
#: What else is done to the ledger in the transaction of a move.
Also = Callable[[Ledger], None]


class Calls(Protocol):
    """Runs calls on a ledger; what each did is durable when it returns."""

    async def do(self, call: Callable[[Ledger], T]) -> T:
        """Run one."""
        ...


def _nothing(_ledger: Ledger) -> None:
    """Nothing else is done in the transaction."""


def _all_of(calls: Iterable[Also]) -> Also:
    def call_all(ledger: Ledger) -> None:
        for call in calls:
            call(ledger)

    return call_all


def _unheard(_entry: Entry) -> None:
    """Nobody wants to know of moves."""


class Book:
    """Every entry, and every task that any job has or had."""

    def __init__(
        self,
        ledger: Calls,
        entries: Mapping[JobKey, Entry],
        task_ids: Iterable[TaskId],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._entries = dict(entries)
        self._claimed = set(task_ids)
        self._in_doubt = {key for key, entry in self._entries.items() if entry.state in IN_DOUBT}
        self._clock = clock
        self._notes: list[Also] = []
        self.moved: Callable[[Entry], None] = _unheard

    @property
    def entries(self) -> Mapping[JobKey, Entry]:
        """Every entry, by job."""
        return self._entries

    @property
    def claimed(self) -> frozenset[TaskId]:
        """Tasks that are some job's, or were."""
        return frozenset(self._claimed)

    def claim(self, task_id: TaskId) -> bool:
        """Take a task for a job, before that is written down; False where one has, or had, it."""
        is_free = task_id not in self._claimed
        self._claimed.add(task_id)
        return is_free

    @property
    def in_doubt(self) -> tuple[Entry, ...]:
        """Those whose create may have left, and nobody knows what became of it."""
        return tuple(self._entries[key] for key in self._in_doubt)

    def __getitem__(self, key: JobKey) -> Entry:
        return self._entries[key]

    def get(self, key: JobKey) -> Entry | None:
        """A job's entry, if it has one."""
        return self._entries.get(key)

    async def do(self, call: Callable[[Ledger], T]) -> T:
        """What concerns no entry."""
        return await self._ledger.do(call)

    async def note(self, note: Also) -> None:
        """Keep what a crash may take: it goes with the next move, or with `_MOST_NOTES` others."""
        self._notes.append(note)
        if len(self._notes) >= _MOST_NOTES:
            await self.keep_notes()

    async def keep_notes(self) -> None:
        """Have every note in the ledger."""
        if self._notes:
            await self._ledger.do(_all_of(self._taken_notes()))

    def _taken_notes(self) -> list[Also]:
        taken, self._notes = self._notes, []
        return taken

    async def ensure(self, key: JobKey) -> Entry:
        """The job's entry, put in as planned where there is none."""
        if key not in self._entries:
            entry = self.draft(key)
            await self._ledger.do(lambda ledger: ledger.add(key, now=entry.updated_at))
            self._entries.setdefault(key, entry)
        return self._entries[key]

    def draft(self, key: JobKey) -> Entry:
        """The job's entry; where there is none, as its first move puts it in."""
        return self._entries.get(key) or Entry(
            job_key=key, state=State.PLANNED, attempt=1, updated_at=self._clock()
        )

    async def move(self, entry: Entry, *, old: State, also: Also = _nothing) -> Entry:
        """Take a job from `old` to what `entry` says; durable, with what goes with it.

        Raises:
            BatchembedError: it is not in `old`: only a defect, or another writer, makes that so.
        """
        (moved,) = await self.move_all([(old, entry)], also=also)
        return moved

    async def move_all(
        self, moves: Iterable[tuple[State, Entry]], *, also: Also = _nothing
    ) -> tuple[Entry, ...]:
        """Several moves in one transaction; each from the state that stands before it.

        A job that has no entry yet is put in as planned before.
        """
        now = self._clock()
        made = [(old, replace(entry, updated_at=now)) for old, entry in moves]
        if not made:
            return ()
        new = {entry.job_key for _, entry in made if entry.job_key not in self._entries}
        keep = _all_of(self._taken_notes())

        def move(ledger: Ledger) -> list[Entry]:
            keep(ledger)
            for key in new:
                ledger.add(key, now=now)
            failed = [entry for old, entry in made if not ledger.move(entry, old=old)]
            also(ledger)
            return failed

        for entry in await self._ledger.do(move):
            msg = f"the ledger no longer has job {entry.job_key} where it was: is another run at work?"
            raise BatchembedError(msg)
        for _, entry in made:
            self._entries[entry.job_key] = entry
            (self._in_doubt.add if entry.state in IN_DOUBT else self._in_doubt.discard)(
                entry.job_key
            )
            if entry.task_id is not None:
                self._claimed.add(entry.task_id)
            self.moved(entry)
        return tuple(entry for _, entry in made)

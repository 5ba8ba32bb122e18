"""Finds out what became of creates whose answer was lost, from the service's listing of its tasks.

One listing serves every job in doubt, also those that are in doubt later than it, where it proves
as much. A task that is found is adopted; one that two complete listings do not show, both begun
after the settle time, was never created, and the job is planned again. A listing that lacks a task
of which the ledger knows that it was made proves nothing. Anything less stays unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.reconcile import (
    MOST_ABSENCES,
    Ambiguous,
    Found,
    Listing,
    Unseen,
    Verdict,
    gap_s,
    judge,
)
from batchembed.core.segments import window
from batchembed.core.states import KEPT_S, Entry, State
from batchembed.errors import RateLimitError
from batchembed.runner.book import Book
from batchembed.runner.submit import seconds_of
from batchembed.runner.tasks_listed import NoListingError
from batchembed.store.ledger import Ledger

#: Complete listings, begun after the settle time, that must not show a task.
_PROOFS = 2
#: How often in a row a service must say that it has no listing: one in trouble may say it, too.
_SIGHTINGS = 3
#: How many settle times a run waits for tasks that do not say yet what they are.
_PATIENCE = 3


@dataclass(kw_only=True)
class Reconciler:
    """Settles doubts, all of a run's with the same listings."""

    read: Callable[[], Awaitable[Listing]]
    book: Book
    dataset_id: str
    settle_s: float
    on_unknown: str  #: `wait`, `resubmit` or `fail`, where there is no listing
    longest_wait_s: float
    clock: Callable[[], float]
    server_now: Callable[[], float | None]  #: the service's clock, once it has told
    monotonic: Callable[[], float]
    wait: Callable[[float], Awaitable[None]]  #: raises StoppedError where the run drains
    #: Lets nothing be created while it is held; what it gives says that a listing has come.
    holding: Callable[[], AbstractContextManager[Callable[[], None]]]
    absent: Callable[[JobKey], None]  #: told of each job whose create made no task
    found: Callable[[Entry], None]  #: told of each that has its task again
    charged: Callable[[JobKey, Charge], None]  #: told of each charge that a lost ledger had
    has_twin: Callable[[Entry], bool]  #: a task that is found may as well be another job's
    adopted: int = 0
    _next: asyncio.Task[tuple[float, Listing]] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _quiet_until: float = float("-inf")
    _has_listed: bool = False  #: in this run
    _denials: int = 0  #: in a row: that there is no listing
    _kept: list[tuple[float, Listing]] = field(default_factory=list)  #: flawless, by beginning

    async def settle(self, entry: Entry) -> Reason | None:
        """Find out about an entry that is `submitting` or `unknown`.

        Returns:
            Why it is still unknown. None: look at the entry, it is processing, planned or failed.

        Raises:
            StoppedError: the run drains.
            ServiceError: the listing can't be had, although there is one.
        """
        # A service in trouble gets no more creates until it gives a listing.
        with self.holding() as has_listed:
            return await self._settle(entry, has_listed)

    async def _settle(self, entry: Entry, has_listed: Callable[[], None]) -> Reason | None:
        entry, lasted_s = await self._doubt(entry)
        began = self.monotonic()
        kept = [each for each in self._kept if each[0] >= began - lasted_s + self.settle_s]
        proofs = 0
        hidden: tuple[TaskId, ...] = ()
        while True:
            is_kept = bool(kept)
            try:
                if is_kept:
                    at, listing = kept.pop(0)
                else:
                    at, listing = await self._listing()
                    has_listed()
            except NoListingError as error:
                has_listed()
                return await self._unlisted(entry, lasted_s, error)
            except RateLimitError as error:
                return _unlistable(entry, error)
            age_s = min(lasted_s + at - began, self._since_intent_s(entry, at))
            match self._judge(entry, listing):
                case Found() as found:
                    await self._adopt(entry, found)
                    return None
                case Ambiguous(tasks=tasks):
                    return _unknown(
                        entry,
                        f"it may be task {' or '.join(tasks)}",
                        hint="say which by `batchembed reconcile MANIFEST --adopt VIDEO=TASK`; if it "
                        "is none, --forget VIDEO",
                    )
                case Unseen(hidden=hidden):
                    proofs += listing.flaw is None and not hidden and age_s >= self.settle_s
            if proofs == _PROOFS:
                return await self._absent(entry)
            if is_kept:
                continue
            why = self._why_no_longer(entry, listing, hidden, age_s)
            if why is not None:
                return why
            # Nobody waits for an answer of a presumed create: what is not listed yet is seldom there.
            until_settled_s = self.settle_s - age_s if entry.is_presumed else 0.0
            await self.wait(max(gap_s(self.settle_s), until_settled_s))

    def _since_intent_s(self, entry: Entry, at: float) -> float:
        """How long before a moment its create was meant, by the service's clock, where that is known.

        No doubt is older, whatever ours says, that may have been set on between two runs.
        """
        now, then = self.server_now(), None if entry.intent is None else entry.intent.server_at
        if now is None or then is None:
            return math.inf
        return now - (self.monotonic() - at) - then

    def _judge(self, entry: Entry, listing: Listing) -> Verdict:
        verdict = judge(
            entry,
            listing,
            dataset_id=self.dataset_id,
            claimed=self.book.claimed,
            earliest=self._earliest(entry),
        )
        if isinstance(verdict, Found) and self.has_twin(entry):
            return Ambiguous(tasks=(verdict.task.task_id,))
        return verdict

    def _earliest(self, entry: Entry) -> float | None:
        """When its create left at the earliest, by the service's clock, from how long ago that is.

        If ours was set back meanwhile, it can't say that; the earlier of what both say is taken.
        """
        now, server_now = self.clock(), self.server_now()
        if server_now is None or entry.intended_at is None or entry.intended_at > now:
            return None
        return min(entry.intended_at, server_now - (now - entry.intended_at))

    def _why_no_longer(
        self, entry: Entry, listing: Listing, hidden: tuple[TaskId, ...], age_s: float
    ) -> Reason | None:
        """Why this run waits no longer for a task to be listed, if so."""
        if age_s >= _PATIENCE * self.settle_s and hidden:
            return _unknown(
                entry,
                f"it may be task {', '.join(hidden)}: the service does not say what that is, names "
                "another model, or dates it a little before",
                hint="if so, `batchembed reconcile MANIFEST --adopt VIDEO=TASK`; if not, "
                "--forget VIDEO",
            )
        if age_s >= _PATIENCE * self.settle_s and listing.flaw is not None:
            return _unknown(entry, listing.flaw)
        if self.settle_s - age_s > self.longest_wait_s:
            return _unknown(
                entry, f"it may still be listed in the next {self.settle_s - age_s:.0f} s"
            )
        return None

    async def _doubt(self, entry: Entry) -> tuple[Entry, float]:
        """The entry as `unknown`, and how long it has been: the moment is written once."""
        now = self.clock()
        if entry.state is State.SUBMITTING or entry.unknown_since is None:
            entry = replace(entry, state=State.UNKNOWN, unknown_since=now)
            old = self.book[entry.job_key].state
            return await self.book.move(entry, old=old), 0.0
        return entry, max(0.0, now - entry.unknown_since)

    async def _listing(self) -> tuple[float, Listing]:
        """A listing that begins from now on, and when it began; whoever asks meanwhile shares it."""
        while True:
            if self._next is None:
                self._next = asyncio.create_task(self._read())
                self._next.add_done_callback(_heard)
            try:
                return await asyncio.shield(self._next)
            except NoListingError:
                if self._denials >= _SIGHTINGS:
                    raise

    async def _read(self) -> tuple[float, Listing]:
        async with self._turn:
            try:
                early_s = self._quiet_until - self.monotonic()
                if early_s > 0:
                    await self.wait(early_s)
            finally:
                self._next = None  # who asks from here on needs one that begins later
            began, now = self.monotonic(), self.clock()
            try:
                listing = await self.read()
            except NoListingError:
                self._denials += 1
                rest_s = min(gap_s(self.settle_s), self.longest_wait_s)
                self._quiet_until = self.monotonic() + rest_s
                raise
            self._has_listed, self._denials = True, 0
            listing = listing.lacking(self.book.entries.values(), now=now, settle_s=self.settle_s)
            self._quiet_until = self.monotonic() + gap_s(self.settle_s)
            if listing.flaw is None:
                self._kept = [*self._kept, (began, listing)][-_PROOFS:]
        return began, listing

    async def _adopt(self, entry: Entry, found: Found) -> None:
        task = found.task
        warnings = entry.warnings
        if found.others:
            paid = Reason(
                code="created_twice",
                message=f"the service also made {', '.join(found.others)} of the same upload",
            )
            warnings = (*warnings, paid)
        intent = entry.intent
        if intent is not None and intent.end_ms is None and task.duration_sec is not None:
            # What is adopted of a URL must be of the whole of it.
            whole = window(task.duration_sec, None, None)
            intent = replace(intent, start_ms=whole.start_ms, end_ms=whole.end_ms)
        entry = replace(entry, intent=intent, attempt=found.attempt)
        await self.adopt(entry, task.task_id, created_at=task.created_at, warnings=warnings)

    async def adopt(
        self,
        entry: Entry,
        task_id: TaskId,
        *,
        created_at: float | None = None,
        warnings: tuple[Reason, ...] = (),
    ) -> Entry:
        """Take a task for the entry's. What a lost ledger knew of is charged as if made now."""
        charge = Charge(at=self.clock(), video_sec=seconds_of(entry.intent))

        def also(ledger: Ledger) -> None:
            if entry.is_presumed:
                ledger.charge(entry.job_key, entry.attempt, charge)

        moved = await self.book.move(
            replace(
                entry,
                # With a reason, other bytes were sent than those of the job.
                state=State.PROCESSING if entry.reason is None else State.FAILED,
                task_id=task_id,
                submitted_at=self.clock() if created_at is None else created_at,
                adopted=True,
                unknown_since=None,
                warnings=warnings,
            ),
            old=State.UNKNOWN,
            also=also,
        )
        if entry.is_presumed:
            self.charged(entry.job_key, charge)
        self.adopted += 1
        self.found(moved)
        return moved

    async def _absent(self, entry: Entry) -> Reason | None:
        """No task was made: the same create may be sent again, a few times."""
        meant = self.clock() if entry.intended_at is None else entry.intended_at
        if self.clock() - meant > KEPT_S:
            return _unknown(
                entry,
                "it was sent more than seven days ago, and the service lists no older tasks",
                hint="`batchembed reconcile MANIFEST --forget VIDEO` sends it again, and pays",
            )
        if entry.absences == MOST_ABSENCES:
            return _unknown(
                entry,
                f"{entry.absences + 1} creates got none, and no task is listed",
                hint="ask the service; `batchembed reconcile MANIFEST --forget VIDEO` sends it again",
            )

        def also(ledger: Ledger) -> None:
            ledger.withdraw(entry.job_key, entry.attempt)

        planned = replace(
            entry,
            state=State.PLANNED,
            unknown_since=None,
            reason=None,
            absences=entry.absences + 1,
        )
        await self.book.move(planned, old=State.UNKNOWN, also=also)
        self.absent(entry.job_key)
        return None

    async def _unlisted(self, entry: Entry, lasted_s: float, said: NoListingError) -> Reason | None:
        """Where there is nothing to look into, the manifest says what to do."""
        if self._has_listed:
            return _unlistable(entry, said)
        match self.on_unknown:
            case "resubmit":
                if self.settle_s > lasted_s:
                    await self.wait(self.settle_s - lasted_s)
                await self.book.move(
                    replace(entry, state=State.PLANNED, unknown_since=None), old=State.UNKNOWN
                )
                return None
            case "fail":
                reason = Reason(
                    code="submission_unknown",
                    message=f"{_doubt_of(entry)}, and no listing says more ({said})",
                    hint="`run --retry failed:unknown` sends it again, and may pay for it twice",
                )
                await self.book.move(
                    replace(entry, state=State.FAILED, reason=reason), old=State.UNKNOWN
                )
                return None
            case _:
                return _unknown(
                    entry,
                    f"there is no listing to look into ({said})",
                    hint="on_unknown_submission: resubmit sends it again, and may pay for it twice",
                )


def _doubt_of(entry: Entry) -> str:
    if entry.is_presumed:
        return "another ledger may have known of its create"
    return "its create got no answer"


def _unknown(entry: Entry, why: str, hint: str | None = None) -> Reason:
    return Reason(
        code="submission_unknown",
        message=f"{_doubt_of(entry)}: {why}",
        hint=hint or "run again: it is looked for until it is found, or certainly not there",
    )


def _unlistable(entry: Entry, error: Exception) -> Reason:
    return _unknown(entry, f"the service's tasks can't be listed now: {error}")


def _heard(task: asyncio.Task[tuple[float, Listing]]) -> None:
    """Whoever waited may have gone: then nobody else would take the exception."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()

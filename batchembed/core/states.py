"""The states of a job, and the only moves between them.

planned -> submitting -> processing -> ready -> staged -> committed

A rejection is no state: it is computed from facts and profile, each run anew (docs/adr/0003).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason


class State(enum.StrEnum):
    """How far a job is, as the ledger knows durably."""

    #: Known, and nothing sent.
    PLANNED = "planned"
    #: About to be sent, or sent without an answer yet: no create leaves before this is durable.
    SUBMITTING = "submitting"
    #: Sent, and whether the service accepted it is not known.
    UNKNOWN = "unknown"
    #: The service has it, under a task id.
    PROCESSING = "processing"
    #: The service has its segments.
    READY = "ready"
    #: Its checked rows are in a staged file.
    STAGED = "staged"
    #: Its rows are in the dataset's record.
    COMMITTED = "committed"
    #: Refused by the service, failed there, or answered with segments that break a check.
    FAILED = "failed"
    #: The service no longer has the task.
    LOST = "lost"


#: state -> the states it may move to.
MOVES: dict[State, frozenset[State]] = {
    # Of a job that it does not know, a ledger that was lost may have known a create.
    State.PLANNED: frozenset({State.SUBMITTING, State.UNKNOWN}),
    State.SUBMITTING: frozenset({State.PROCESSING, State.UNKNOWN, State.FAILED, State.PLANNED}),
    State.UNKNOWN: frozenset({State.PROCESSING, State.PLANNED, State.FAILED}),
    State.PROCESSING: frozenset({State.READY, State.FAILED, State.LOST}),
    State.READY: frozenset({State.STAGED, State.LOST, State.FAILED}),
    State.STAGED: frozenset({State.COMMITTED, State.READY}),
    # Rows that neither a record nor staging has any more are retrieved, or computed, again.
    State.COMMITTED: frozenset({State.COMMITTED, State.READY, State.LOST}),
    # A part that was missing may come back, from a backup: then its jobs are committed again.
    State.FAILED: frozenset({State.PLANNED, State.COMMITTED}),
    # A task that was called lost may be there all the same: it is paid for.
    State.LOST: frozenset({State.PLANNED, State.PROCESSING, State.COMMITTED}),
}

#: A create may have left, and nobody knows what became of it.
IN_DOUBT = frozenset({State.SUBMITTING, State.UNKNOWN})
#: The service has a task that is paid for, and not collected.
IN_FLIGHT = frozenset({State.PROCESSING, State.READY})
#: A hosted service deletes a task's results so many seconds after its creation, or later.
KEPT_S = 7 * 86_400.0


def require_allowed(old: State, new: State) -> None:
    """Check a move against the table.

    Raises:
        ValueError: the move is not in it.
    """
    if new not in MOVES[old]:
        msg = f"a job can't go from {old} to {new}"
        raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A staged file: its name in the staging folder, its rows by option, and the sha256 of these."""

    file: str
    rows: tuple[tuple[str, int], ...]  #: (embedding_option, rows), in order of option
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a create asks: enough to find its task in a listing, and to check what comes of it.

    `url_digest` is the sha256 of the URL without its signature; None for a file, whose upload's
    name says which it is. `start_ms` and `end_ms` are the window's; None where it is not known.
    """

    model_name: str
    video_clip_length: float
    video_embedding_scope: tuple[str, ...]
    url_digest: str | None = None
    start_ms: int | None = None
    server_at: float | None = None  #: when it was made, by the service's clock
    end_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the ledger. Moments are in seconds since 1970."""

    job_key: JobKey
    state: State
    attempt: int
    task_id: TaskId | None = None
    staged: Staged | None = None  #: kept after the commit: the digest of the rows
    commit: int | None = None
    reason: Reason | None = None
    warnings: tuple[Reason, ...] = ()  #: what the service or a check found odd in its rows
    intent: Intent | None = None  #: of the attempt
    intended_at: float | None = None  #: the intent was made
    unknown_since: float | None = (
        None  #: a crash or a lost answer was noticed; written once a doubt
    )
    submitted_at: float | None = None  #: the task was created
    adopted: bool = False  #: the task was found in a listing
    losses: int = 0  #: how many of its tasks the service has lost
    absences: int = 0  #: how many of its creates made no task, as two listings showed
    updated_at: float = 0.0

    def planned_again(self, attempt: int) -> Entry:
        """The job before a create: of those before, it is known only how many came to nothing."""
        return Entry(
            job_key=self.job_key,
            state=State.PLANNED,
            attempt=attempt,
            losses=self.losses,
            absences=self.absences,
        )

    @property
    def is_presumed(self) -> bool:
        """Whether no ledger remembers its create: one that was lost may have known of it."""
        return self.state is State.UNKNOWN and self.intended_at is None

    def __post_init__(self) -> None:
        if self.state in IN_FLIGHT and self.task_id is None:
            msg = f"a job that is {self.state} has a task id"
            raise ValueError(msg)
        if self.state in {State.STAGED, State.COMMITTED} and self.staged is None:
            msg = f"a job that is {self.state} names its staged rows"
            raise ValueError(msg)
        if self.state is State.COMMITTED and self.commit is None:
            msg = "a committed job names its commit"
            raise ValueError(msg)

"""What a run owes a job, given what earlier runs wrote down. Pure; `batchembed plan` prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from batchembed.core.model import TaskId
from batchembed.core.states import Entry, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Create a task, as this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The service is at work on the task: poll it."""

    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """The service has the segments: retrieve them."""

    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """A create got no answer: look for its task in the service's listing."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Nothing is owed, for this reason."""

    why: str


Action: TypeAlias = Submit | LookUp | Wait | Collect | Skip


def decide(
    entry: Entry | None,
    *,
    idempotent: bool,
    retry_failed: bool = False,
    resubmit_lost: bool = False,
) -> Action:
    """Say what a run owes a job.

    Args:
        entry: the job's row in the ledger, or None if it has none.
        idempotent: the engine answers a repeated create of one attempt with the same task, so a
            create whose answer was lost is simply sent again.
        retry_failed: failed and lost jobs are tried again.
        resubmit_lost: a job whose task was lost for the first time is tried again (`on_lost`).
    """
    if entry is None:
        return Submit(attempt=1)
    match entry.state:
        case State.PLANNED:
            return Submit(attempt=entry.attempt)
        case State.SUBMITTING | State.UNKNOWN:
            if idempotent:
                return Submit(attempt=entry.attempt)
            return LookUp(attempt=entry.attempt)
        case State.PROCESSING:
            return Wait(task_id=_task(entry))
        case State.READY:
            return Collect(task_id=_task(entry))
        case State.STAGED:
            return Skip(why="staged; waits for the next publish")
        case State.COMMITTED:
            return Skip(why="committed")
        case State.FAILED | State.LOST:
            lost_once = entry.state is State.LOST and entry.losses <= 1
            if retry_failed or (resubmit_lost and lost_once):
                return Submit(attempt=entry.attempt + 1)
            return Skip(why=f"{entry.state} before; `--retry failed` tries it again")
        case unreachable:
            assert_never(unreachable)


def _task(entry: Entry) -> TaskId:
    if entry.task_id is None:  # Entry forbids it; mypy can't know
        msg = f"job {entry.job_key} is {entry.state} without a task"
        raise ValueError(msg)
    return entry.task_id

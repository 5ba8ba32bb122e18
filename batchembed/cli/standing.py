"""Where each video stands, as the verbs that only look tell it. `docs/json.md` has the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchembed.core.failures import FailureClass, failure_class
from batchembed.core.model import EngineKind, Manifest
from batchembed.core.outcome import Outcome
from batchembed.core.plan import Collect, LookUp, Submit, Wait, decide
from batchembed.core.problems import Reason
from batchembed.core.states import IN_DOUBT, IN_FLIGHT, Entry, State
from batchembed.report.expiry import expires_at
from batchembed.report.moments import rfc3339
from batchembed.runner.foresee import Foreseen
from batchembed.runner.presume import is_forgotten

#: What the next run does with a job, by the action that is owed.
_STEPS = {Submit: "submit", LookUp: "look_up", Wait: "wait", Collect: "collect"}


def next_step(each: Foreseen, manifest: Manifest, *, lacking: bool) -> str:
    """What the next run does with a video; the ledger may be `lacking` creates.

    `read` its file, `reject` or `skip` it, `submit`, `look_up`, `wait`, `collect`, `publish`, or
    `nothing`.
    """
    if each.outcome is Outcome.SKIPPED:
        return "skip"
    if each.outcome is None:
        return "read"
    if each.outcome is Outcome.REJECTED:
        return "reject"
    if each.entry is not None and each.entry.state is State.STAGED:
        return "publish"
    action = decide(
        each.entry,
        idempotent=manifest.engine.kind is EngineKind.LOCAL,
        resubmit_lost=manifest.on_lost == "resubmit",
    )
    if isinstance(action, Submit) and lacking and is_forgotten(each.entry):
        return _STEPS[LookUp]
    return _STEPS.get(type(action), "nothing")


def class_of(each: Foreseen) -> FailureClass | None:
    """The class of a video's failure; None where it has not failed."""
    if each.outcome is Outcome.REJECTED:
        return FailureClass.REJECTED
    if each.outcome is not Outcome.FAILED or each.entry is None:
        return None
    return failure_class(each.entry)


def reasons_of(each: Foreseen) -> tuple[Reason, ...]:
    """Why a video is not further."""
    found = () if each.found is None else each.found.reasons
    if found or each.entry is None or each.entry.reason is None:
        return found
    return (each.entry.reason,)


def outcome_of(each: Foreseen) -> str:
    """The outcome, or `new` where the file must be read first."""
    return "new" if each.outcome is None else str(each.outcome)


def is_in_flight(entry: Entry) -> bool:
    """Whether the service has a task of the job that is not collected, or may have."""
    return entry.state in IN_DOUBT | IN_FLIGHT


def is_in_doubt(entry: Entry | None, engine: str) -> bool:
    """Whether nobody knows if a task exists; the embedded engine is simply sent the create again."""
    return entry is not None and entry.state in IN_DOUBT and engine != EngineKind.LOCAL


def moment(at: float | None) -> str | None:
    """A moment for a machine."""
    return None if at is None else rfc3339(at)


def job_dict(entry: Entry | None, engine: str, now: float) -> Mapping[str, Any]:
    """What the ledger has of a video's job; every value None where it has none."""
    expires = expires_at(entry, engine)
    return {
        "job_key": None if entry is None else entry.job_key,
        "state": None if entry is None else str(entry.state),
        "attempt": None if entry is None else entry.attempt,
        "task_id": None if entry is None else entry.task_id,
        "since": None if entry is None else rfc3339(entry.updated_at),
        "age_s": None if entry is None else round(max(0.0, now - entry.updated_at), 3),
        "submitted_at": None if entry is None else moment(entry.submitted_at),
        "unknown_since": None if entry is None else moment(entry.unknown_since),
        "in_doubt": is_in_doubt(entry, engine),
        "expires_at": moment(expires),
        "expires_in_s": None if expires is None else round(expires - now, 3),
    }

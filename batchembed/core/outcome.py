"""How each video ended, and what a run of them returns."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchembed.core.model import Content, Facts, JobKey, Video
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import PRECEDENCE, ExitCode


class Outcome(enum.StrEnum):
    """Where a video stands when a run ends."""

    #: Its rows are in the dataset.
    COMMITTED = "committed"
    #: It breaks a limit, can't be read, or asks for what it does not have. Nothing was paid.
    REJECTED = "rejected"
    #: The service refused or failed it, lost it, or answered with broken segments.
    FAILED = "failed"
    #: Work is left for the next run.
    PENDING = "pending"
    #: The manifest says `skip`.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOutcome:
    """One video of the manifest at the end of a run."""

    video: Video
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    facts: Facts | None = None
    content: Content | None = None
    job_key: JobKey | None = None
    entry: Entry | None = None
    rows: int = 0
    options_absent: tuple[str, ...] = ()


def outcome_of(entry: Entry | None) -> Outcome:
    """The outcome of a video whose job the ledger knows so."""
    if entry is None:
        return Outcome.PENDING
    match entry.state:
        case State.COMMITTED:
            return Outcome.COMMITTED
        case State.FAILED | State.LOST:
            return Outcome.FAILED
        case _:
            return Outcome.PENDING


def withheld(outcomes: Iterable[VideoOutcome], why: Reason) -> tuple[VideoOutcome, ...]:
    """The outcomes of a run that publishes nothing: what is staged only is not committed."""
    return tuple(
        replace(video, outcome=Outcome.PENDING, rows=0, reasons=(why,))
        if video.entry is not None and video.entry.state is State.STAGED
        else video
        for video in outcomes
    )


def exit_code(
    outcomes: Iterable[Outcome], *, accept_rejected: bool = False, also: Iterable[ExitCode] = ()
) -> ExitCode:
    """What a run returns: the gravest of its videos' outcomes and of what else happened."""
    codes = set(also)
    for outcome in outcomes:
        if outcome is Outcome.FAILED or (outcome is Outcome.REJECTED and not accept_rejected):
            codes.add(ExitCode.INCOMPLETE)
        elif outcome is Outcome.PENDING:
            codes.add(ExitCode.AGAIN)
    return next((code for code in PRECEDENCE if code in codes), ExitCode.OK)

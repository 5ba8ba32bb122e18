"""How each video of a run ended, from what was surveyed and how far its job was carried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from batchembed.core.outcome import Outcome, VideoOutcome, outcome_of
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import ApiError, BatchembedError, ExitCode
from batchembed.media.unreadable import DENIED
from batchembed.runner.carry import Carried
from batchembed.runner.foresee import Foreseen
from batchembed.runner.survey import Surveyed

_NOT_ENDED = Reason(
    code="stopped", message="the run ended before this video was looked at", hint="run again"
)
_NOT_CHOSEN = Reason(code="not_chosen", message="this run was asked for others (--only)")


def cut_short(error: BatchembedError) -> Reason:
    """Why a job is left that met what ends the run: a service in trouble has refused nothing."""
    code, message = "cut_short", f"it ended the run: {error}"
    if isinstance(error, ApiError):
        code = error.code or f"http_{error.status_code}"
        if error.status_code is not None and 400 <= error.status_code < 500:
            message = f"the service refused it: {error.server_message or error}"
    return Reason(code=code, message=message, hint="run again once that is mended")


def not_sent(found: Surveyed) -> VideoOutcome:
    """A video that has reasons not to be sent. Where only its store denies it, work is left."""
    return VideoOutcome(
        video=found.video,
        outcome=Outcome.PENDING if found.denied else Outcome.REJECTED,
        reasons=found.reasons,
        warnings=found.warnings,
        facts=found.facts,
        options_absent=found.options_absent,
    )


def ended(found: Surveyed, carried: Carried) -> VideoOutcome:
    """A video whose job this run carried as far as it goes."""
    entry, job = carried.entry, found.job
    staged = entry is not None and entry.state in {State.STAGED, State.COMMITTED}
    # What is staged is committed by the publish that carries this outcome.
    outcome = Outcome.COMMITTED if staged else outcome_of(entry)
    wanted = found.video.embedding_option
    rows = () if entry is None or entry.staged is None else entry.staged.rows
    # Why it failed stands first, also where this run did not try it again.
    told = (
        None if entry is None or outcome is not Outcome.FAILED else entry.reason,
        carried.pending,
    )
    reasons = tuple(reason for reason in told if reason is not None)
    return VideoOutcome(
        video=found.video,
        outcome=outcome,
        reasons=() if staged else reasons,
        warnings=_warnings(found, entry, staged=staged),
        facts=found.facts,
        content=None if job is None else job.content,
        job_key=None if job is None else job.job_key,
        entry=entry,
        rows=sum(n for option, n in rows if wanted is None or option in wanted) if staged else 0,
        options_absent=found.options_absent,
    )


def _warnings(found: Surveyed, entry: Entry | None, *, staged: bool) -> tuple[Reason, ...]:
    """What a probe, the service and the checks found odd; nothing that failed the video anyway."""
    told = (*found.warnings, *(entry.warnings if staged and entry is not None else ()))
    failed = None if entry is None or entry.reason is None else entry.reason.code
    # What was recalled from a record has those of the probe in it, too.
    return tuple(warning for warning in dict.fromkeys(told) if warning.code != failed)


def left(foreseen: Foreseen, now: Entry | None, *, chosen: bool) -> VideoOutcome:
    """A video that the run did not come to: as earlier runs left it, where that is known.

    Its job is where it is `now`: what was in flight is brought home whether or not its video is
    looked at, and a later run publishes it.
    """
    found, video = foreseen.found, foreseen.video
    if video.skip is not None:
        return VideoOutcome(video=video, outcome=Outcome.SKIPPED)
    if found is not None and found.job is None:
        return not_sent(found)
    why = _NOT_ENDED if chosen else _NOT_CHOSEN
    if found is None:
        return VideoOutcome(video=video, outcome=Outcome.PENDING, reasons=(why,))
    pending = why if foreseen.outcome is Outcome.PENDING else None
    outcome = ended(found, Carried(entry=now, pending=pending))
    if pending is not None and outcome.outcome is Outcome.COMMITTED:
        return replace(outcome, outcome=Outcome.PENDING, rows=0, reasons=(pending,))
    return outcome


def needs_permission(outcomes: Iterable[VideoOutcome]) -> tuple[ExitCode, ...]:
    """The exit code of a run some of whose videos are left because their store denies them."""
    reasons = (
        reason for video in outcomes if video.outcome is Outcome.PENDING for reason in video.reasons
    )
    return (ExitCode.NO_PERMISSION,) if any(each.code == DENIED for each in reasons) else ()

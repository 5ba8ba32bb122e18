"""The report of a run that an error ended: what ledger and dataset say of it."""

from __future__ import annotations

from batchembed.cli.options import Read
from batchembed.cli.state import Remembered, remembered_at
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.run_report import RunReport
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import Record
from batchembed.errors import BatchembedError, ExitCode, StorageError
from batchembed.runner.foresee import Foreseen
from batchembed.store.home import Home


def unfinished_report(
    asked: Read,
    dataset: Dataset,
    home: Home,
    error: BaseException,
    *,
    run_id: str,
    began_at: float,
    now: float,
) -> RunReport:
    """The videos as the ledger has them now, and the error as what halted the run.

    What the run collected and which requests it sent is not known any more: 0, and none.
    """
    manifest = asked.manifest
    before, record = _look(home, dataset)
    foreseen = before.foresee(manifest, asked.profile)
    own = [charge for charge in before.charges if charge.at >= began_at]
    submitted_sec = sum(charge.video_sec or 0.0 for charge in own)
    return RunReport(
        run_id=run_id,
        began_at=began_at,
        manifest=manifest.file,
        name=manifest.name,
        engine=manifest.engine.kind,
        model_name=manifest.model_name,
        dataset=manifest.output.path,
        dataset_id=dataset.dataset_id,
        record=None if record is None else record.number,
        published=False,
        rows=0 if record is None else record.rows,
        kept=(),
        submitted=len(own),
        submitted_sec=round(submitted_sec, 3),
        adopted=0,
        collected_sec=0.0,
        price_per_minute=manifest.budget.price_per_minute,
        currency=manifest.budget.currency,
        requests=(),
        parked=None,
        wall_s=round(max(0.0, now - began_at), 3),
        videos=tuple(map(_outcome, foreseen)),
        warnings=(),
        halted=str(error) or type(error).__name__,
        exit_code=exit_code_of(error),
    )


def exit_code_of(error: BaseException) -> ExitCode:
    """What a process that ends by this error returns."""
    if isinstance(error, BatchembedError):
        return error.exit_code
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.UNEXPECTED


def _look(home: Home, dataset: Dataset) -> tuple[Remembered, Record | None]:
    """What can still be read: the error may be of the very files."""
    before, record = Remembered(), None
    try:
        record = dataset.last()
        before = remembered_at(home.ledger, dataset)
    except StorageError:
        pass
    return before, record


def _outcome(each: Foreseen) -> VideoOutcome:
    found, entry = each.found, each.entry
    reasons = () if found is None else found.reasons
    if not reasons and entry is not None and entry.reason is not None:
        reasons = (entry.reason,)
    job = None if found is None else found.job
    return VideoOutcome(
        video=each.video,
        outcome=each.outcome or Outcome.PENDING,
        reasons=reasons,
        facts=None if found is None else found.facts,
        content=None if job is None else job.content,
        job_key=None if job is None else job.job_key,
        entry=entry,
    )

"""Where the rows of a job are for a video: in the dataset's record, staged, or nowhere any more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from batchembed.core.failures import TASK_LOST
from batchembed.core.model import Video
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, Staged, State
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import RowSpec
from batchembed.dataset.staging import staged_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A dataset, and the staging folder of its runs."""

    dataset: Dataset
    staging: Path

    def as_it_is(self, entry: Entry | None, video: Video) -> Entry | None:
        """A video's job, by where its rows for the video are, whatever the ledger says of it.

        Committed where the record shows them, also if a run has called it lost while a part was
        missing. Else what is committed by the ledger waits for a record, staged, or is sought again.

        Raises:
            DatasetError: the record can't be read.
        """
        if entry is None:
            return None
        if entry.state is State.COMMITTED and entry.staged is not None:
            return self._committed(entry, entry.staged, video)
        if entry.state in {State.LOST, State.FAILED}:
            return self._ended(entry, video)
        return entry

    def _committed(self, entry: Entry, staged: Staged, video: Video) -> Entry:
        wanted = video.embedding_option
        if self.dataset.shows(entry.job_key, staged, options=wanted):
            return entry
        if self.dataset.has_rows(entry.job_key, staged, options=wanted, staging=self.staging):
            return replace(entry, state=State.STAGED, commit=None)
        return sought_again(entry)

    def _ended(self, entry: Entry, video: Video) -> Entry:
        record, spec = self.dataset.last(), self.dataset.spec_of(entry.job_key)
        if record is None or spec is None:
            return entry
        staged = staged_of(spec)
        if not self.dataset.shows(entry.job_key, staged, options=video.embedding_option):
            return entry
        return replace(
            entry, state=State.COMMITTED, staged=staged, commit=record.number, reason=None
        )


def staged_of(spec: RowSpec) -> Staged:
    """The staged file that a video's rows in the record came from."""
    return Staged(file=staged_name(spec.job_key), rows=spec.rows, sha256=spec.rows_sha256)


def sought_again(entry: Entry) -> Entry:
    """A committed job whose rows are neither published nor staged: its task has them, if any has."""
    if entry.task_id is not None:
        return replace(entry, state=State.READY, staged=None, commit=None)
    reason = Reason(
        code=TASK_LOST,
        message="its rows are not in the dataset, and the ledger does not know its task any more",
        hint="`run --retry failed:lost` submits the video again, and pays for it again",
    )
    return replace(
        entry,
        state=State.LOST,
        staged=None,
        commit=None,
        reason=reason,
        losses=entry.losses + 1,
    )

"""Ledgers of videos that are in a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchembed.core.model import TaskId
from batchembed.core.states import Entry, Staged, State
from batchembed.dataset.publish import RowSpec
from batchembed.store.sqlite_ledger import SqliteLedger

_WAY = (
    State.SUBMITTING,
    State.PROCESSING,
    State.READY,
    State.STAGED,
    State.COMMITTED,
)


def write_ledger(path: Path, specs: Sequence[RowSpec]) -> None:
    """A ledger in which each video's job went all the way, into record 1."""
    ledger = SqliteLedger(path, run_id="20261125T231000Z-0a1b2c")
    for spec in specs:
        ledger.name(spec.video_id, spec.job_key, source=spec.source, now=1.0)
        ledger.add(spec.job_key, now=1.0)
        old = State.PLANNED
        for state in _WAY:
            ledger.move(_entry(spec, state), old=old)
            old = state
    ledger.close()


def committed(spec: RowSpec) -> Entry:
    """A video's job as record 1 has it."""
    return _entry(spec, State.COMMITTED)


def _entry(spec: RowSpec, state: State) -> Entry:
    staged = Staged(file=f"{spec.job_key}.arrow", rows=spec.rows, sha256=spec.rows_sha256)
    return Entry(
        job_key=spec.job_key,
        state=state,
        attempt=1,
        task_id=None if state is State.SUBMITTING else TaskId(f"task-{spec.job_key[:24]}"),
        staged=staged if state in {State.STAGED, State.COMMITTED} else None,
        commit=1 if state is State.COMMITTED else None,
        updated_at=1.0,
    )

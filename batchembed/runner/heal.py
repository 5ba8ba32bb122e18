"""Brings the ledger in step with record and staging, which a crash may have left ahead of it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from batchembed.core.failures import TASK_LOST
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.dataset.publish import Dataset
from batchembed.dataset.staging import StagedDamagedError, read_staged
from batchembed.runner.book import Book
from batchembed.runner.writing import Writing


async def heal(book: Book, dataset: Dataset, staging: Path, write: Writing) -> None:
    """Rows that the record has are committed; staged rows that are damaged are fetched again."""
    await book.move_all(await write(functools.partial(_moves, book, dataset, staging)))


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


def _moves(book: Book, dataset: Dataset, staging: Path) -> list[tuple[State, Entry]]:
    record = dataset.last()
    published = {(spec.job_key, spec.rows_sha256) for spec in dataset.specs()}
    moves = []
    for entry in book.entries.values():
        if entry.state is not State.STAGED or entry.staged is None:
            continue
        if record is not None and (entry.job_key, entry.staged.sha256) in published:
            moves.append(
                (State.STAGED, replace(entry, state=State.COMMITTED, commit=record.number))
            )
            continue
        try:
            read_staged(staging, entry.staged)
        except StagedDamagedError:
            moves.append((State.STAGED, replace(entry, state=State.READY, staged=None)))
    return moves

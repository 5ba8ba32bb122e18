"""Brings the ledger in step with record and staging, which a crash may have left ahead of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from batchembed.core.failures import TASK_LOST
from batchembed.core.model import Video
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, Staged, State
from batchembed.dataset.publish import Dataset
from batchembed.dataset.staging import StagedDamagedError, read_staged, staged_name
from batchembed.runner.book import Book
from batchembed.runner.writing import Writing

#: Whether the rows of a committed job that a video wants are published, or staged.
HasRows: TypeAlias = Callable[[Entry, Video], bool]
#: Where a job may be whose part was missing.
_SOUGHT = frozenset({State.READY, State.LOST, State.FAILED})


async def heal(book: Book, dataset: Dataset, staging: Path, write: Writing) -> None:
    """Bring every job to where its rows are.

    Rows that the record has are committed. Staged rows that are damaged are fetched again, and so
    are those of missing parts, whoever's they are: no publish can do without them.
    """
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


def as_it_is(entry: Entry | None, video: Video, has_rows: HasRows) -> Entry | None:
    """A video's job: committed as long as its rows for the video are there, else sought again."""
    if entry is None or entry.state is not State.COMMITTED or has_rows(entry, video):
        return entry
    return sought_again(entry)


def _moves(book: Book, dataset: Dataset, staging: Path) -> list[tuple[State, Entry]]:
    return [*_of_staged(book, dataset, staging), *_of_published(book, dataset, staging)]


def _of_published(book: Book, dataset: Dataset, staging: Path) -> Iterator[tuple[State, Entry]]:
    """Jobs whose part is missing, and jobs whose part has come back."""
    record = dataset.last()
    if record is None:
        return
    for key, spec in {spec.job_key: spec for spec in dataset.specs()}.items():
        entry = book.get(key)
        if entry is None:
            continue
        staged = Staged(file=staged_name(key), rows=spec.rows, sha256=spec.rows_sha256)
        has_rows = functools.partial(dataset.has_rows, key, staged, staging=staging)
        if entry.state is State.COMMITTED:
            # Whether an answer is the right one, only the intent tells.
            can_be_had = entry.task_id is not None and entry.intent is not None
            if dataset.missing_parts and can_be_had and not has_rows(options=spec.options):
                yield State.COMMITTED, sought_again(entry)
        elif entry.state in _SOUGHT and has_rows(options=None):
            yield (
                entry.state,
                replace(
                    entry, state=State.COMMITTED, staged=staged, commit=record.number, reason=None
                ),
            )


def _of_staged(book: Book, dataset: Dataset, staging: Path) -> list[tuple[State, Entry]]:
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

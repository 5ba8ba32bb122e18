"""Brings the ledger in step with record and staging, which a crash may have left ahead of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from batchembed.core.model import JobKey, Manifest
from batchembed.core.states import Entry, State
from batchembed.dataset.staging import StagedDamagedError, read_staged
from batchembed.runner.book import Book
from batchembed.runner.holdings import Holdings, sought_again, staged_of
from batchembed.runner.writing import Writing


async def heal(book: Book, holdings: Holdings, manifest: Manifest, write: Writing) -> None:
    """Bring every job to where its rows are.

    Rows that the record has are committed. Staged rows that are damaged are fetched again, and so
    are those of missing parts, whoever's they are: no publish can do without them.
    """
    await book.move_all(await write(functools.partial(_moves, book, holdings, manifest)))


def _moves(book: Book, holdings: Holdings, manifest: Manifest) -> list[tuple[State, Entry]]:
    return [*_of_staged(book, holdings), *_of_missing_parts(book, holdings, manifest)]


def _of_missing_parts(
    book: Book, holdings: Holdings, manifest: Manifest
) -> Iterator[tuple[State, Entry]]:
    dataset = holdings.dataset
    if not dataset.missing_parts:
        return
    named = {video.video_id for video in manifest.videos}
    sought: set[JobKey] = set()
    for spec in dataset.specs():
        entry = book.get(spec.job_key)
        if entry is None or entry.state is not State.COMMITTED or spec.job_key in sought:
            continue
        if manifest.on_removed == "drop" and spec.video_id not in named:
            continue
        if dataset.has_rows(
            spec.job_key, staged_of(spec), options=spec.options, staging=holdings.staging
        ):
            continue
        # Whether an answer is the right one, only the intent tells.
        if entry.task_id is not None and entry.intent is not None:
            sought.add(spec.job_key)
            yield State.COMMITTED, sought_again(entry)


def _of_staged(book: Book, holdings: Holdings) -> list[tuple[State, Entry]]:
    record = holdings.dataset.last()
    published = {(spec.job_key, spec.rows_sha256) for spec in holdings.dataset.specs()}
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
            read_staged(holdings.staging, entry.staged)
        except StagedDamagedError:
            moves.append((State.STAGED, replace(entry, state=State.READY, staged=None)))
    return moves

"""The entries in memory and the ledger in step: what shares a transaction, and what is kept when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from batchembed.core.model import FileIdentity, JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import LedgerError
from batchembed.runner.book import Book
from batchembed.store.ledger import KnownFile, Ledger
from batchembed.store.sqlite_ledger import SqliteLedger

T = TypeVar("T")
KEY = JobKey("k")


class Transactions:
    """Each call in a transaction of its own, which are counted."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.count = 0

    async def do(self, call: Callable[[Ledger], T]) -> T:
        self.count += 1
        answers: list[T] = []
        self.ledger.batch([lambda: answers.append(call(self.ledger))])
        return answers[0]


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Book, Transactions]]:
    ledger = SqliteLedger(folder / "ledger.sqlite", run_id="r")
    calls = Transactions(ledger)
    yield Book(calls, {}, (), clock=lambda: 5.0), calls
    ledger.close()


def a_file(number: int) -> KnownFile:
    identity = FileIdentity(
        path=f"/v/{number}", dev=1, inode=number, size_bytes=3, mtime_ns=4, ctime_ns=5
    )
    return KnownFile(identity=identity, facts=Reason(code="x", message="m"))


async def note(book: Book, number: int) -> None:
    await book.note(lambda ledger: ledger.remember(a_file(number)))


def test_a_job_is_put_in_with_its_first_moves(tmp_path: Path) -> None:
    with opened(tmp_path) as (book, calls):
        draft = book.draft(KEY)
        meant = replace(draft, state=State.SUBMITTING)
        sent = replace(meant, state=State.PROCESSING, task_id=TaskId("t"))

        moved = asyncio.run(book.move_all([(State.PLANNED, meant), (State.SUBMITTING, sent)]))

        assert (draft.state, draft.attempt) == (State.PLANNED, 1)
        assert [entry.state for entry in moved] == [State.SUBMITTING, State.PROCESSING]
        assert calls.ledger.entries() == {KEY: book[KEY]}
        assert calls.count == 1


def test_a_note_goes_with_the_next_move(tmp_path: Path) -> None:
    with opened(tmp_path) as (book, calls):
        asyncio.run(note(book, 1))
        before = calls.ledger.files()
        asyncio.run(book.move(replace(book.draft(KEY), state=State.SUBMITTING), old=State.PLANNED))

        assert (before, set(calls.ledger.files())) == ({}, {"/v/1"})
        assert calls.count == 1


def test_notes_wait_for_no_move_once_they_are_many_or_at_the_end(tmp_path: Path) -> None:
    async def note_many(book: Book) -> None:
        for number in range(70):
            await note(book, number)

    with opened(tmp_path) as (book, calls):
        asyncio.run(note_many(book))
        assert (calls.count, len(calls.ledger.files())) == (1, 64)

        asyncio.run(book.keep_notes())
        asyncio.run(book.keep_notes())
        assert (calls.count, len(calls.ledger.files())) == (2, 70)


def test_what_the_ledger_refuses_moves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as (book, calls):
        calls.ledger.close()

        with pytest.raises(LedgerError):
            asyncio.run(
                book.move(Entry(job_key=KEY, state=State.SUBMITTING, attempt=1), old=State.PLANNED)
            )

        assert book.get(KEY) is None

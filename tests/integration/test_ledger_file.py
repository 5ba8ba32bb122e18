"""The ledger as a file: durable settings, versions, damage, and the thread before it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchembed.core.model import FileIdentity, JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import LedgerError, LockedError
from batchembed.store import ledger_thread, sqlite_ledger
from batchembed.store.ledger import Beginning, Block, KnownFile, Ledger
from batchembed.store.ledger_thread import LedgerThread
from batchembed.store.lock import run_lock
from batchembed.store.queries import migrations
from batchembed.store.sqlite_ledger import SqliteLedger


def test_an_acknowledged_move_is_in_the_file_for_another_connection(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    async def work() -> dict[JobKey, Entry]:
        async with LedgerThread(path) as ledger:
            await ledger.do(lambda opened: opened.add(JobKey("k"), now=1.0))
            reader = SqliteLedger(path, read_only=True)
            seen = reader.entries()
            reader.close()
            return seen

    assert set(asyncio.run(work())) == {"k"}


def test_a_file_of_a_time_beyond_what_is_kept_is_another_the_next_time(tmp_path: Path) -> None:
    """It is read again, and nothing worse."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    identity = FileIdentity(path="/v/a", dev=1, inode=2, size_bytes=3, mtime_ns=2**63, ctime_ns=5)
    ledger.remember(KnownFile(identity=identity, facts=Reason(code="x", message="m")))
    (found,) = ledger.files().values()
    assert found.identity != identity
    ledger.close()


def test_many_callers_share_transactions_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async def work() -> list[bool]:
        async with LedgerThread(tmp_path / "ledger.sqlite") as ledger:

            def add_and_move(number: int, opened: Ledger) -> bool:
                key = JobKey(f"{number:04}")
                opened.add(key, now=1.0)
                entry = Entry(job_key=key, state=State.SUBMITTING, attempt=1)
                return opened.move(entry, old=State.PLANNED)

            return await asyncio.gather(
                *(ledger.do(lambda opened, n=n: add_and_move(n, opened)) for n in range(500))  # type: ignore[misc]
            )

    assert asyncio.run(work()) == [True] * 500


def test_a_defect_in_one_call_is_its_callers_alone(tmp_path: Path) -> None:
    async def work() -> None:
        async with LedgerThread(tmp_path / "ledger.sqlite") as ledger:
            await ledger.do(lambda opened: opened.add(JobKey("k"), now=1.0))
            wrong = Entry(job_key=JobKey("k"), state=State.READY, attempt=1, task_id=TaskId("t"))
            with pytest.raises(ValueError, match="can't go"):
                await ledger.do(lambda opened: opened.move(wrong, old=State.PLANNED))
            assert set(await ledger.do(lambda opened: opened.entries())) == {"k"}

    asyncio.run(work())


def test_callers_of_one_transaction_wake_their_loop_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, goes_on, woken = threading.Event(), threading.Event(), Counter[str]()

    def hold(_: Ledger) -> int:
        held.set()
        assert goes_on.wait(60)
        return 0

    def said(number: int, _: Ledger) -> int:
        return number

    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(callback: Callable[..., object], *args: object) -> asyncio.Handle:
            woken[threading.current_thread().name] += 1
            return wake(callback, *args)

        async with LedgerThread(tmp_path / "ledger.sqlite") as ledger:
            monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
            first = asyncio.create_task(ledger.do(hold))
            await asyncio.to_thread(held.wait, 60)
            rest = [
                asyncio.create_task(ledger.do(functools.partial(said, n))) for n in range(1, 100)
            ]
            await asyncio.sleep(0)  # now they wait in the queue
            goes_on.set()
            return await asyncio.gather(first, *rest)

    assert asyncio.run(work()) == list(range(100))
    assert woken["ledger"] == 2


def test_a_batch_that_cannot_be_made_durable_is_told_to_all_its_callers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    async def work() -> list[object]:
        async with LedgerThread(path) as ledger:
            await ledger.do(lambda opened: opened.add(JobKey("k"), now=1.0))
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("DROP TABLE entries")
            other.close()
            return await asyncio.gather(
                *(ledger.do(lambda opened: opened.add(JobKey("x"), now=1.0)) for _ in range(3)),
                return_exceptions=True,
            )

    assert [type(answer) for answer in asyncio.run(work())] == [LedgerError] * 3


@pytest.mark.parametrize("read_only", [False, True])
def test_whoever_opens_a_ledger_waits_a_minute_for_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, read_only: bool
) -> None:
    path, waits = tmp_path / "ledger.sqlite", list[object]()
    SqliteLedger(path).close()
    connect = sqlite3.connect

    def counted(*where: Any, **how: Any) -> sqlite3.Connection:
        waits.append(how.get("timeout"))
        opened: sqlite3.Connection = connect(*where, **how)
        return opened

    monkeypatch.setattr(sqlite3, "connect", counted)
    SqliteLedger(path, read_only=read_only).close()

    assert waits == [60.0]


def test_a_ledger_that_another_program_reads_on_and_on_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_ledger, "PATIENCE_S", 0.01)
    path = tmp_path / "ledger.sqlite"

    async def work() -> set[JobKey]:
        async with LedgerThread(path) as ledger:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM entries").fetchall()
                with pytest.raises(LedgerError, match="held by another program") as told:
                    await ledger.do(lambda opened: opened.add(JobKey("k"), now=1.0))
                assert "disk" not in str(told.value)
            await ledger.do(lambda opened: opened.add(JobKey("l"), now=1.0))
            return set(await ledger.do(lambda opened: opened.entries()))

    assert asyncio.run(work()) == {"l"}


def test_nothing_waits_for_a_ledger_that_is_closed(tmp_path: Path) -> None:
    async def work() -> None:
        ledger = LedgerThread(tmp_path / "ledger.sqlite")
        async with ledger:
            pass
        with pytest.raises(LedgerError, match="no longer open"):
            await ledger.do(lambda opened: opened.entries())

    asyncio.run(work())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_ends_the_thread_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    def defect(_: Ledger) -> None:
        raise TypeError("a defect")

    async def work() -> list[object]:
        async with LedgerThread(tmp_path / "ledger.sqlite") as ledger:
            return await asyncio.gather(
                *(ledger.do(defect) for _ in range(3)), return_exceptions=True
            )

    assert [type(answer) for answer in asyncio.run(work())] == [LedgerError] * 3


def test_what_opening_raises_is_raised_in_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object, **__: object) -> SqliteLedger:
        raise TypeError("a defect")

    async def work() -> None:
        async with LedgerThread(tmp_path / "ledger.sqlite"):
            """It is not opened."""

    monkeypatch.setattr(ledger_thread, "SqliteLedger", defect)

    with pytest.raises(TypeError, match="a defect"):
        asyncio.run(asyncio.wait_for(work(), 60))


def test_whoever_is_cancelled_waits_until_the_ledger_is_opened_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be migrating, and the locks are let go after this."""
    opening, goes_on, steps = threading.Event(), threading.Event(), list[str]()

    class Slow(SqliteLedger):
        def __init__(self, path: Path, *, run_id: str) -> None:
            opening.set()
            assert goes_on.wait(60)
            super().__init__(path, run_id=run_id)
            steps.append("opened")

        def close(self) -> None:
            super().close()
            steps.append("closed")

    async def use() -> None:
        async with LedgerThread(tmp_path / "ledger.sqlite"):
            steps.append("used")

    async def work() -> None:
        using = asyncio.create_task(use())
        await asyncio.to_thread(opening.wait, 60)
        using.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await using
        steps.append("cancelled")

    monkeypatch.setattr(ledger_thread, "SqliteLedger", Slow)
    asyncio.run(work())

    assert steps == ["opened", "closed", "cancelled"]


def test_an_earlier_ledger_that_cannot_be_copied_aside_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    earlier = sqlite3.connect(path)
    earlier.executescript(f"{''.join(migrations()[:4])} PRAGMA user_version = 4;")
    earlier.close()
    (tmp_path / "ledger.v4.sqlite").mkdir()
    before = path.read_bytes()

    with pytest.raises(LedgerError, match="can't be copied aside"):
        SqliteLedger(path)

    assert path.read_bytes() == before


def test_the_file_is_durable_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    SqliteLedger(path).close()

    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA application_id").fetchone()[0] == int.from_bytes(b"bbl1")
        assert db.execute("PRAGMA journal_mode").fetchone()[0] != "wal"
    db.close()


def test_a_ledger_of_version_4_knows_of_no_payer_and_keeps_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("".join(migrations()[:4]))
        db.execute("INSERT INTO beginning VALUES (1, 9.25, 7)")
        db.execute("PRAGMA user_version = 4")
    before, wanted = path.read_bytes(), Beginning(doubted_since=9.25, record=7)

    for read_only in (True, False):
        with contextlib.closing(SqliteLedger(path, read_only=read_only)) as ledger:
            assert ledger.beginning() == wanted
        assert (path.read_bytes() == before) is read_only

    with contextlib.closing(sqlite3.connect(path.with_name("ledger.v4.sqlite"))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("SELECT * FROM beginning").fetchall() == [(1, 9.25, 7)]


def test_a_ledger_of_version_5_keeps_its_block_and_does_not_know_how_long_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("".join(migrations()[:5]))
        db.execute("INSERT INTO block VALUES (1, 9.25, 'slow')")
        db.execute("PRAGMA user_version = 5")

    for read_only in (True, False):
        with contextlib.closing(SqliteLedger(path, read_only=read_only)) as ledger:
            assert ledger.block() == Block(until=9.25, why="slow", seconds=None)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path, *, read_only: bool) -> None:
    path = tmp_path / "ledger.sqlite"
    SqliteLedger(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(LedgerError, match=r"version 99.*upgrade batchembed"):
        SqliteLedger(path, read_only=read_only)


def test_a_damaged_ledger_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database" * 1000)

    async def work() -> None:
        async with LedgerThread(path):
            pass

    with pytest.raises(LedgerError, match=r"ledger\.sqlite can't be used"):
        asyncio.run(work())


def test_a_row_that_cannot_be_read_is_an_error_that_names_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    ledger.add(JobKey("k"), now=1.0)
    ledger.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET state = 'asleep'")
    db.commit()
    db.close()

    opened = SqliteLedger(path)
    with pytest.raises(LedgerError, match="ledger"):
        opened.entries()
    opened.close()


def test_a_second_run_finds_the_lock_held_and_a_third_finds_it_free(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"

    with run_lock(path), pytest.raises(LockedError, match="another run holds"), run_lock(path):
        pass
    with run_lock(path):
        assert path.read_text().strip().isdigit()

"""One behaviour for every ledger: the SQLite file, and the fake that unit tests use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchembed.core.model import Facts, FileIdentity, JobKey, ObjectIdentity, TaskId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import Entry, Intent, Staged, State
from batchembed.store.ledger import Beginning, Block, KnownFile, Ledger
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.support.fakes import MemoryLedger

KEY = JobKey("k" * 64)
RUN = "run-1"


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger(run_id=RUN)
        return
    opened = SqliteLedger(tmp_path / "ledger.sqlite", run_id=RUN)
    yield opened
    opened.close()


def entry(state: State, **parts: object) -> Entry:
    return Entry(job_key=KEY, state=state, attempt=1, **parts)  # type: ignore[arg-type]


def test_a_new_job_is_planned_and_stays_what_it_is(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)
    ledger.move(entry(State.SUBMITTING), old=State.PLANNED)
    ledger.add(KEY, now=2.0)

    assert ledger.entries() == {KEY: entry(State.SUBMITTING)}


def test_a_job_keeps_everything_on_its_way(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)
    staged = Staged(file="f", rows=(("audio", 1), ("visual-text", 2)), sha256="s")
    reason = Reason(code="c", message="m", field="f", value=1.5, limit=True, hint=None)
    way = [
        entry(State.SUBMITTING, reason=reason),
        entry(State.PROCESSING, task_id=TaskId("t"), submitted_at=3.25),
        entry(State.READY, task_id=TaskId("t")),
        entry(State.STAGED, task_id=TaskId("t"), staged=staged),
        entry(State.COMMITTED, task_id=TaskId("t"), staged=staged, commit=7, updated_at=9.5),
    ]

    for old, new in zip([State.PLANNED, *(step.state for step in way)], way, strict=False):
        assert ledger.move(new, old=old)
        assert ledger.entries()[KEY] == new


_ROWS = Staged(file="f", rows=(("audio", 1),), sha256="s")


def test_from_where_on_every_create_is_known_is_kept_and_replaced(ledger: Ledger) -> None:
    assert ledger.beginning() is None
    for beginning in (
        Beginning(doubted_since=None, record=None),
        Beginning(doubted_since=9.25, record=7, payer="run-1"),
        Beginning(doubted_since=9.5, record=None),
    ):
        ledger.begin(beginning)
        assert ledger.beginning() == beginning


def test_the_run_that_submits_is_the_last_that_paid_and_the_rest_of_the_beginning_stays(
    ledger: Ledger,
) -> None:
    ledger.begin(Beginning(doubted_since=9.25, record=7, payer="run-0"))
    ledger.add(KEY, now=1.0)
    ledger.move(entry(State.SUBMITTING), old=State.PLANNED)
    assert ledger.beginning() == Beginning(doubted_since=9.25, record=7, payer=RUN)

    ledger.begin(Beginning(doubted_since=9.25, record=7, payer="run-0"))
    assert not ledger.move(entry(State.SUBMITTING), old=State.PLANNED)
    ledger.move(entry(State.PROCESSING, task_id=TaskId("t")), old=State.SUBMITTING)
    assert ledger.beginning() == Beginning(doubted_since=9.25, record=7, payer="run-0")


def test_a_ledger_that_never_said_from_where_on_it_knows_all_keeps_who_paid(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)
    ledger.move(entry(State.SUBMITTING), old=State.PLANNED)

    assert ledger.beginning() == Beginning(doubted_since=None, record=None, payer=RUN)


def test_what_is_not_under_way_is_no_longer_believed_where_creates_may_be_unknown(
    ledger: Ledger,
) -> None:
    intent = Intent(model_name="m", video_clip_length=6.0, video_embedding_scope=("clip",))
    ledger.add(KEY, now=1.0)
    ledger.move(entry(State.SUBMITTING, intent=intent), old=State.PLANNED)
    ledger.begin(Beginning(doubted_since=9.25, record=None))
    assert ledger.entries()[KEY].intent == intent

    ledger.move(entry(State.FAILED, intent=intent), old=State.SUBMITTING)
    ledger.begin(Beginning(doubted_since=9.25, record=None))
    assert ledger.entries()[KEY].intent is None


def test_a_job_is_put_in_as_a_record_knows_it(ledger: Ledger) -> None:
    known = entry(State.COMMITTED, task_id=TaskId("t"), staged=_ROWS, commit=3, updated_at=2.0)

    ledger.recall(known)

    assert ledger.entries() == {KEY: known}
    assert ledger.task_ids() == {"t"}
    assert [move.state for move in ledger.history(KEY)] == [State.COMMITTED]


def test_a_record_counts_where_the_ledger_has_no_rows_and_no_attempt_is_counted_back(
    ledger: Ledger,
) -> None:
    ledger.add(KEY, now=1.0)
    ledger.move(replace(entry(State.SUBMITTING), attempt=4), old=State.PLANNED)
    known = entry(State.COMMITTED, staged=_ROWS, commit=3)

    ledger.recall(known)
    assert ledger.entries() == {KEY: replace(known, attempt=4)}

    ledger.recall(replace(known, commit=9))
    assert ledger.entries() == {KEY: replace(known, attempt=4)}


def test_a_move_from_another_state_changes_nothing(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)
    before = ledger.entries()

    assert not ledger.move(entry(State.READY, task_id=TaskId("t")), old=State.PROCESSING)
    assert ledger.entries() == before


def test_a_move_that_the_table_lacks_is_refused(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)

    with pytest.raises(ValueError, match="can't go from planned to committed"):
        ledger.move(
            entry(State.COMMITTED, staged=Staged(file="f", rows=(), sha256="s"), commit=1),
            old=State.PLANNED,
        )


def test_an_older_attempt_does_not_move_a_newer_one(ledger: Ledger) -> None:
    ledger.add(KEY, now=1.0)
    ledger.move(replace(entry(State.SUBMITTING), attempt=2), old=State.PLANNED)

    assert not ledger.move(entry(State.UNKNOWN), old=State.SUBMITTING)


def test_charges_from_the_future_are_of_now_and_none_is_lost(ledger: Ledger) -> None:
    for at in (10.0, 200.0, 300.0):
        ledger.charge(KEY, 1, Charge(at=at, video_sec=at))
    ledger.charge(KEY, 2, Charge(at=400.0, video_sec=None))

    for _ in range(2):
        ledger.set_back(100.0)

    assert sorted((charge.at, charge.video_sec or 0.0) for charge in ledger.charges()) == [
        (10.0, 10.0),
        (99.999, 200.0),
        (100.0, 0.0),
        (100.0, 300.0),
    ]
    ledger.settle(KEY, 1, 7.0)
    assert Charge(at=100.0, video_sec=7.0) in ledger.charges()


def test_a_charge_of_this_very_moment_loses_none_from_the_future(ledger: Ledger) -> None:
    for at in (100.0, 200.0):
        ledger.charge(KEY, 1, Charge(at=at, video_sec=at))

    ledger.set_back(100.0)

    assert sum(charge.video_sec or 0.0 for charge in ledger.charges()) == 300.0


@pytest.mark.parametrize(
    ("until", "seconds", "held"),
    [
        (90.0, 60.0, 90.0),  # it is over
        (130.0, 60.0, 130.0),
        (9_999.0, 60.0, 160.0),
        (9_999.0, None, 9_999.0),
    ],
)
def test_a_block_holds_no_longer_than_was_asked(
    ledger: Ledger, until: float, seconds: float | None, held: float
) -> None:
    ledger.set_back(100.0)
    assert ledger.block() is None

    ledger.set_block(Block(until=until, why="w", seconds=seconds))
    ledger.set_back(100.0)

    assert ledger.block() == Block(until=held, why="w", seconds=seconds)


@pytest.mark.parametrize("sha256", [None, "ab" * 32])
def test_what_a_file_told_is_kept(ledger: Ledger, sha256: str | None) -> None:
    identity = FileIdentity(
        path="/v/é.mp4", dev=1, inode=2**40, size_bytes=3, mtime_ns=2**62, ctime_ns=5
    )
    facts = Facts(
        width=640,
        height=360,
        aspect_ratio=1.7778,
        rotation=90,
        duration_sec=5.312,
        size_bytes=3,
        frame_rate=None,
        format_name="mov",
        video_codec="h264",
        audio_codec=None,
    )
    broken = Reason(code="video_file_broken", message="m")

    for told in (facts, broken):
        known = KnownFile(identity=identity, facts=told, sha256=sha256)
        ledger.remember(known)
        assert ledger.files() == {"/v/é.mp4": known}


@pytest.mark.parametrize("inode", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_file_may_have_any_number_its_file_system_gives(ledger: Ledger, inode: int) -> None:
    known = KnownFile(
        identity=FileIdentity(
            path="/v/a", dev=inode, inode=inode, size_bytes=3, mtime_ns=-4, ctime_ns=5
        ),
        facts=Reason(code="video_file_broken", message="m"),
    )
    ledger.remember(known)
    assert ledger.files() == {"/v/a": known}


def test_an_object_is_remembered_beside_files_under_its_last_identity(ledger: Ledger) -> None:
    gone = Reason(code="video_file_broken", message="m")
    file = KnownFile(
        identity=FileIdentity(path="/v/a", dev=1, inode=2, size_bytes=3, mtime_ns=4, ctime_ns=5),
        facts=gone,
    )
    ledger.remember(file)

    for tag in ('"one"', '"two"'):
        identity = ObjectIdentity(path="s3://b/é.mp4", tag=tag, size_bytes=2**40)
        known = KnownFile(identity=identity, facts=gone)
        ledger.remember(known)
        assert ledger.files() == {"/v/a": file, "s3://b/é.mp4": known}

"""The engine's table: what it keeps, for how long, and what it makes of an older one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batchembed.core.model import Parameters
from batchembed.core.problems import Reason
from batchembed.engine.refusal import Refusal
from batchembed.engine.tasks.listing import ListingQuery
from batchembed.engine.tasks.table import TaskTable
from batchembed.engine.tasks.task import Task
from batchembed.engine.video.embed import Embedded, EmbeddedSegment
from batchembed.errors import LedgerError, StorageError

EVERYTHING = ListingQuery(status=None, started_at=None, ended_at=None, page=1, page_limit=50)
TORN = Reason(code="video_file_broken", message="the film is torn")


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def a_task(number: int, *, key: str | None = None, request: str = "r") -> Task:
    return Task(
        task_id=f"{number:024x}",
        status="processing",
        created_at=float(number),
        parameters=Parameters(
            model_name="local-v1", video_clip_length=6.0, video_embedding_scope=("clip",)
        ),
        input_filename="a.mp4",
        duration_sec=15.0,
        request_digest=request,
        idempotency_key=key,
    )


def embedded() -> Embedded:
    vectors = np.random.default_rng(7).standard_normal((3, 1024)).astype(np.float32)
    segments = tuple(
        EmbeddedSegment(
            start_ms=6000 * number,
            end_ms=6000 * (number + 1),
            embedding_option="visual-text",
            embedding_scope="clip",
        )
        for number in range(3)
    )
    return Embedded(duration_sec=18.0, segments=segments, vectors=vectors, warnings=())


def listed(table: TaskTable) -> list[str]:
    return [task.task_id for task in table.page(EVERYTHING).tasks]


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    table = TaskTable(tmp_path)
    task, _ = table.add(a_task(1))
    table.finish(task, embedded())

    found = table.result(table.get(task.task_id))

    assert found.segments == embedded().segments
    assert np.array_equal(found.vectors, embedded().vectors)
    table.close()


@pytest.mark.parametrize("ended", ["ready", "failed"])
def test_a_task_is_gone_so_long_after_its_end(tmp_path: Path, ended: str) -> None:
    clock = Clock()
    table = TaskTable(tmp_path, clock=clock, retention_s=100)
    task, _ = table.add(a_task(1, key="k"))
    if ended == "ready":
        table.finish(task, embedded())
    else:
        table.fail(task, TORN)
    clock.now += 99
    assert table.get(task.task_id).status == ended
    assert listed(table) == [task.task_id]

    clock.now += 1

    with pytest.raises(Refusal, match="does not exist"):
        table.get(task.task_id)
    assert listed(table) == []
    assert table.page(EVERYTHING).total == 0
    again, new = table.add(a_task(2, key="k", request="other"))
    assert new  # its key is free again
    assert table.sweep() == 0
    assert listed(table) == [again.task_id]
    assert list((tmp_path / "results").iterdir()) == []
    table.close()


def test_a_sweep_removes_rows_results_and_leavings(tmp_path: Path) -> None:
    clock = Clock()
    table = TaskTable(tmp_path, clock=clock, retention_s=100)
    old, _ = table.add(a_task(1))
    table.finish(old, embedded())
    clock.now += 60
    young, _ = table.add(a_task(2))
    table.finish(young, embedded())
    processing, _ = table.add(a_task(3))
    (tmp_path / "results" / f"{99:024x}.inprogress").write_bytes(b"half")
    clock.now += 60

    assert table.sweep() == 1

    assert [path.stem for path in (tmp_path / "results").iterdir()] == [young.task_id]
    assert listed(table) == [processing.task_id, young.task_id]
    table.close()


def test_without_a_retention_a_task_is_kept_for_good(tmp_path: Path) -> None:
    clock = Clock()
    table = TaskTable(tmp_path, clock=clock)
    task, _ = table.add(a_task(1))
    table.finish(task, embedded())
    clock.now += 1e9

    assert table.sweep() == 0
    assert table.get(task.task_id).status == "ready"
    table.close()


def test_a_processing_task_does_not_expire(tmp_path: Path) -> None:
    clock = Clock()
    table = TaskTable(tmp_path, clock=clock, retention_s=1)
    task, _ = table.add(a_task(1))
    clock.now += 1e9

    assert table.sweep() == 0
    assert table.get(task.task_id) == task
    table.close()


def test_what_was_told_is_there_after_the_table_is_opened_again(tmp_path: Path) -> None:
    table = TaskTable(tmp_path)
    for number in (1, 2, 3):
        table.add(a_task(number))
    table.finish(a_task(1), embedded())
    table.fail(a_task(2), TORN)
    told = [table.get(f"{number:024x}") for number in (1, 2, 3)]
    table.close()

    again = TaskTable(tmp_path)

    assert [again.get(f"{number:024x}") for number in (1, 2, 3)] == told
    assert again.peek(f"{1:024x}") == told[0]
    assert [task.task_id for task in again.processing()] == [f"{3:024x}"]
    again.close()


def test_a_table_of_the_first_version_is_taken_on(tmp_path: Path) -> None:
    ended = msgspec.structs.replace(a_task(1), status="failed", error=TORN)
    with sqlite3.connect(tmp_path / "tasks.sqlite") as db:
        db.executescript(
            "CREATE TABLE tasks (task_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE,"
            " status TEXT NOT NULL, created_at REAL NOT NULL, idempotency_key TEXT UNIQUE,"
            " task BLOB NOT NULL) STRICT; PRAGMA user_version = 1;"
        )
        db.execute(
            "INSERT INTO tasks VALUES (?, 1, 'failed', 1.0, NULL, ?)",
            (ended.task_id, msgspec.msgpack.encode(ended)),
        )
    db.close()

    table = TaskTable(tmp_path, clock=lambda: 2.0, retention_s=100)

    assert table.get(ended.task_id).error == TORN
    assert listed(table) == [ended.task_id]
    table.close()


def test_a_file_that_is_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite").write_text("not a database, but long enough to be read as one" * 20)

    with pytest.raises(LedgerError, match="can't be used"):
        TaskTable(tmp_path)


def test_a_table_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    TaskTable(tmp_path).close()
    with sqlite3.connect(tmp_path / "tasks.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(LedgerError, match="a newer batchembed made it"):
        TaskTable(tmp_path)


def test_a_damaged_result_is_no_longer_there(tmp_path: Path) -> None:
    table = TaskTable(tmp_path)
    task, _ = table.add(a_task(1))
    table.finish(task, embedded())
    path = tmp_path / "results" / f"{task.task_id}.msgpack"
    for content in (b"", b"\x91", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(Refusal, match="does not exist"):
            table.result(task)
    table.close()


def test_no_flipped_bit_of_a_result_goes_unseen(tmp_path: Path) -> None:
    table = TaskTable(tmp_path)
    task, _ = table.add(a_task(1))
    table.finish(task, embedded())
    path = tmp_path / "results" / f"{task.task_id}.msgpack"
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 300)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(Refusal, match="does not exist"):
            table.result(task)
    table.close()


def test_a_result_that_cannot_be_read_now_is_not_called_gone(tmp_path: Path) -> None:
    table = TaskTable(tmp_path)
    task, _ = table.add(a_task(1))
    (tmp_path / "results" / f"{task.task_id}.msgpack").mkdir()
    with pytest.raises(StorageError, match="can't be read"):
        table.result(task)
    table.close()

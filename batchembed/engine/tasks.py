"""The engine's tasks, durable in SQLite: what create answered is still there after a kill."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from batchembed.core.model import FileIdentity, Parameters, TaskId
from batchembed.core.problems import Reason
from batchembed.engine.embed import Embedded, EmbeddedSegment
from batchembed.engine.refusal import Refusal, unknown_task
from batchembed.errors import LedgerError

_SCHEMA = """
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('processing', 'ready', 'failed')),
    created_at REAL NOT NULL,
    idempotency_key TEXT UNIQUE,
    task BLOB NOT NULL
) STRICT;
"""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file that a task embeds, as it was when the task was created.

    `owned` files were uploaded: the engine removes them when the task has ended.
    """

    identity: FileIdentity
    sha256: str
    owned: bool


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what was asked, and how it ended."""

    task_id: str
    status: str
    created_at: float
    parameters: Parameters
    input_filename: str
    duration_sec: float
    source: SourceFile
    request_digest: str
    idempotency_key: str | None = None
    error: Reason | None = None
    warnings: tuple[Reason, ...] = ()


class _StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    duration_sec: float
    dimension: int
    segments: list[tuple[int, int, str, str]]
    vectors: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing, newest first."""

    tasks: tuple[Task, ...]
    total: int


class TaskTable:
    """The tasks and their results, in one folder. Calls may come from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open the table, making it where there is none.

        Raises:
            LedgerError: the folder or the file can't be used.
        """
        self._results = folder / "results"
        self._lock = threading.Lock()
        path = folder / "tasks.sqlite"
        try:
            self._results.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # An answered create must survive a power cut: WAL with NORMAL would lose it.
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = EXTRA")
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = 1; COMMIT;"
                )
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"the engine's task table {path} can't be used: {error}") from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise LedgerError(f"the engine's task table: {error}") from error

    def add(self, task: Task) -> tuple[Task, bool]:
        """Put a task in, durably; under a known Idempotency-Key, give the task it has.

        Returns:
            The task, and whether it is new.

        Raises:
            Refusal: 422, the key came before with another request.
        """
        with self._transaction() as db:
            if task.idempotency_key is not None:
                row = db.execute(
                    "SELECT task FROM tasks WHERE idempotency_key = ?", (task.idempotency_key,)
                ).fetchone()
                if row is not None:
                    before = _task(row)
                    if before.request_digest != task.request_digest:
                        raise Refusal(
                            422,
                            "idempotency_key_reused",
                            "This Idempotency-Key came before with other parameters or content",
                        )
                    return before, False
            db.execute(
                "INSERT INTO tasks (task_id, sequence, status, created_at, idempotency_key, task)"
                " VALUES (?, (SELECT coalesce(max(sequence), 0) + 1 FROM tasks), ?, ?, ?, ?)",
                (task.task_id, task.status, task.created_at, task.idempotency_key, _blob(task)),
            )
        return task, True

    def get(self, task_id: str) -> Task:
        """The task of this id.

        Raises:
            Refusal: 404, there is none.
        """
        with self._transaction() as db:
            row = db.execute("SELECT task FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        if row is None:
            raise unknown_task(task_id)
        return _task(row)

    def processing(self) -> tuple[Task, ...]:
        """Every task that has not ended, oldest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT task FROM tasks WHERE status = 'processing' ORDER BY sequence"
            ).fetchall()
        return tuple(_task(row) for row in rows)

    def page(
        self,
        *,
        status: str | None,
        started_at: float | None,
        ended_at: float | None,
        page: int,
        page_limit: int,
    ) -> Page:
        """The tasks created between the two times, newest first."""
        where = (
            "(:status IS NULL OR status = :status)"
            " AND (:started_at IS NULL OR created_at >= :started_at)"
            " AND (:ended_at IS NULL OR created_at <= :ended_at)"
        )
        values = {
            "status": status,
            "started_at": started_at,
            "ended_at": ended_at,
            "limit": page_limit,
            "offset": (page - 1) * page_limit,
        }
        with self._transaction() as db:
            total = db.execute(f"SELECT count(*) FROM tasks WHERE {where}", values).fetchone()[0]  # noqa: S608  constant text
            rows = db.execute(
                f"SELECT task FROM tasks WHERE {where} ORDER BY sequence DESC"  # noqa: S608  constant text
                " LIMIT :limit OFFSET :offset",
                values,
            ).fetchall()
        return Page(tasks=tuple(_task(row) for row in rows), total=total)

    def finish(self, task: Task, embedded: Embedded) -> None:
        """Write a task's result, then call it ready."""
        stored = _StoredResult(
            duration_sec=embedded.duration_sec,
            dimension=int(embedded.vectors.shape[1]),
            segments=[
                (seg.start_ms, seg.end_ms, seg.embedding_option, seg.embedding_scope)
                for seg in embedded.segments
            ],
            vectors=np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes(),
        )
        path = self._results / f"{task.task_id}.msgpack"
        temporary = path.with_suffix(".inprogress")
        with temporary.open("wb") as sink:
            sink.write(msgspec.msgpack.encode(stored))
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
        _sync_folder(self._results)
        self._end(
            msgspec.structs.replace(
                task,
                status="ready",
                duration_sec=embedded.duration_sec,
                warnings=embedded.warnings,
            )
        )

    def fail(self, task: Task, reason: Reason) -> None:
        """Call a task failed, for this reason."""
        self._end(msgspec.structs.replace(task, status="failed", error=reason))

    def _end(self, task: Task) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET status = ?, task = ? WHERE task_id = ?",
                (task.status, _blob(task), task.task_id),
            )

    def result(self, task: Task) -> Embedded:
        """The result of a ready task.

        Raises:
            Refusal: 404, it is no longer there.
        """
        try:
            content = (self._results / f"{task.task_id}.msgpack").read_bytes()
            stored = msgspec.msgpack.decode(content, type=_StoredResult)
        except (OSError, msgspec.DecodeError) as error:
            raise unknown_task(TaskId(task.task_id)) from error
        vectors = np.frombuffer(stored.vectors, dtype="<f4").reshape(-1, stored.dimension)
        return Embedded(
            duration_sec=stored.duration_sec,
            segments=tuple(
                EmbeddedSegment(
                    start_ms=start, end_ms=end, embedding_option=option, embedding_scope=scope
                )
                for start, end, option, scope in stored.segments
            ),
            vectors=vectors,
            warnings=(),
        )


def _blob(task: Task) -> bytes:
    return msgspec.msgpack.encode(task)


def _task(row: Sequence[bytes]) -> Task:
    return msgspec.msgpack.decode(row[0], type=Task)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

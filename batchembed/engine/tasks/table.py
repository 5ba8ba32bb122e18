"""The engine's tasks, durable in SQLite: what create answered is still there after a kill."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from batchembed.core.problems import Reason
from batchembed.engine.refusal import Refusal, unknown_task
from batchembed.engine.tasks.listing import ListingQuery
from batchembed.engine.tasks.results import ResultFolder
from batchembed.engine.tasks.task import Page, Task
from batchembed.engine.tasks.task_file import open_table
from batchembed.engine.video.embed import Embedded
from batchembed.errors import LedgerError, StorageError

#: Tasks kept in memory: a status is asked for far more often than a task changes.
_KEPT = 10_000
#: The folder, beside the table, of what was uploaded.
UPLOADS = "uploads"


class TaskTable:
    """The tasks and their results, in one folder. Calls may come from any thread.

    A task is gone `retention_s` after it ended, whether or not it has been swept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        retention_s: float | None = None,
    ) -> None:
        """Open the table, making it where there is none.

        Raises:
            LedgerError: the folder or the file can't be used.
        """
        self._folder = folder
        self._clock = clock
        self._retention_s = retention_s
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Task] = OrderedDict()
        try:
            self._results = ResultFolder(folder / "results")
        except OSError as error:
            raise LedgerError(f"the engine's folder {folder} can't be used: {error}") from error
        self._db = open_table(folder / "tasks.sqlite")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _as_ledger_error():
            yield self._db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _as_ledger_error():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def add(self, task: Task) -> tuple[Task, bool]:
        """Put a task in, durably; under a known Idempotency-Key, give the task it has.

        Returns:
            The task, and whether it is new.

        Raises:
            Refusal: 422, the key came before with another request.
        """
        with self._writing() as db:
            before = self._of_key(db, task.idempotency_key)
            if before is not None:
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
        self._keep(task)
        return task, True

    def _of_key(self, db: sqlite3.Connection, key: str | None) -> Task | None:
        """The task that came under this key; one that has expired makes way."""
        if key is None:
            return None
        row = db.execute("SELECT task FROM tasks WHERE idempotency_key = ?", (key,)).fetchone()
        if row is None:
            return None
        task = _task(row)
        if not self._expired(task):
            return task
        db.execute("DELETE FROM tasks WHERE task_id = ?", (task.task_id,))
        return None

    def peek(self, task_id: str) -> Task | None:
        """The task, if it is in memory: this call waits for nothing."""
        task = self._kept.get(task_id)
        return None if task is None or self._expired(task) else task

    def get(self, task_id: str) -> Task:
        """The task of this id.

        Raises:
            Refusal: 404, there is none, or none any more.
        """
        task = self.peek(task_id)
        if task is not None:
            return task
        with self._reading() as db:
            row = db.execute("SELECT task FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
            if row is None or self._expired(_task(row)):
                raise unknown_task(task_id)
            task = _task(row)
            self._keep(task)  # before another thread can end it
        return task

    def _keep(self, task: Task) -> None:
        self._kept[task.task_id] = task
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def processing(self) -> tuple[Task, ...]:
        """Every task that has not ended, oldest first; its upload is where this folder is now."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT task FROM tasks WHERE status = 'processing' ORDER BY sequence"
            ).fetchall()
        return tuple(self._here(_task(row)) for row in rows)

    def _here(self, task: Task) -> Task:
        source = task.source
        if source is None or not source.owned:
            return task
        path = self._folder / UPLOADS / Path(source.identity.path).name
        identity = replace(source.identity, path=str(path))
        moved = msgspec.structs.replace(source, identity=identity)
        return msgspec.structs.replace(task, source=moved)

    def page(self, asked: ListingQuery) -> Page:
        """The tasks created between the two times, newest first."""
        where = (
            "(:status IS NULL OR status = :status)"
            " AND (:started_at IS NULL OR created_at >= :started_at)"
            " AND (:ended_at IS NULL OR created_at <= :ended_at)"
            " AND (:expired IS NULL OR ended_at IS NULL OR ended_at > :expired)"
        )
        values = {
            "status": asked.status,
            "started_at": asked.started_at,
            "ended_at": asked.ended_at,
            "expired": self._expired_until(),
            "limit": asked.page_limit,
            "offset": (asked.page - 1) * asked.page_limit,
        }
        with self._reading() as db:
            total = db.execute(f"SELECT count(*) FROM tasks WHERE {where}", values).fetchone()[0]  # noqa: S608  constant text
            rows = db.execute(
                f"SELECT task FROM tasks WHERE {where} ORDER BY sequence DESC"  # noqa: S608  constant text
                " LIMIT :limit OFFSET :offset",
                values,
            ).fetchall()
        return Page(tasks=tuple(_task(row) for row in rows), total=total)

    def finish(self, task: Task, embedded: Embedded) -> None:
        """Write a task's result, then call it ready.

        Raises:
            StorageError: it can't be written.
        """
        try:
            self._results.write(task.task_id, embedded)
        except OSError as error:
            raise StorageError(f"a result can't be kept: {error}") from error
        self._end(
            msgspec.structs.replace(
                task,
                status="ready",
                duration_sec=embedded.duration_sec,
                warnings=embedded.warnings,
                ended_at=self._clock(),
            )
        )

    def fail(self, task: Task, reason: Reason) -> None:
        """Call a task failed, for this reason."""
        self._end(
            msgspec.structs.replace(task, status="failed", error=reason, ended_at=self._clock())
        )

    def _end(self, task: Task) -> None:
        with self._writing() as db:
            db.execute(
                "UPDATE tasks SET status = ?, ended_at = ?, task = ? WHERE task_id = ?",
                (task.status, task.ended_at, _blob(task), task.task_id),
            )
        self._keep(task)

    def result(self, task: Task) -> Embedded:
        """The result of a ready task; its vectors are read from the disk as they are used.

        Raises:
            Refusal: 404, it is no longer there.
            StorageError: it is there, and can't be read now.
        """
        try:
            embedded = self._results.read(task.task_id)
        except OSError as error:
            raise StorageError(f"a result can't be read: {error}") from error
        if embedded is None:
            raise unknown_task(task.task_id)
        return embedded

    def sweep(self) -> int:
        """Remove what has expired, and results that no task has. Returns how many tasks went."""
        until = self._expired_until()
        with self._writing() as db:
            gone = [
                task_id
                for (task_id,) in db.execute(
                    "DELETE FROM tasks WHERE ended_at <= ? RETURNING task_id", (until,)
                )
            ]
        for task_id in gone:
            self._kept.pop(task_id, None)
        with self._reading() as db:
            named = {row[0] for row in db.execute("SELECT task_id FROM tasks")}
            self._results.keep_only(named)
        return len(gone)

    def _expired_until(self) -> float | None:
        return None if self._retention_s is None else self._clock() - self._retention_s

    def _expired(self, task: Task) -> bool:
        until = self._expired_until()
        return until is not None and task.ended_at is not None and task.ended_at <= until


@contextlib.contextmanager
def _as_ledger_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the engine's task table: {error}") from error


def _blob(task: Task) -> bytes:
    return msgspec.msgpack.encode(task)


def _task(row: Sequence[bytes]) -> Task:
    return msgspec.msgpack.decode(row[0], type=Task)

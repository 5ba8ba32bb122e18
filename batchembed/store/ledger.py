"""The ledger: the durable state of every job, and what is known of every file.

SQLite with a rollback journal and `synchronous = EXTRA`: an acknowledged move survives a power
cut, which WAL with `synchronous = NORMAL` does not.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from batchembed.core.model import Facts, FileIdentity, JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, Staged, State, require_allowed
from batchembed.errors import LedgerError
from batchembed.store.queries import migrations, queries

APPLICATION_ID = 0x62_62_6C_31  # "bbl1"


class KnownFile(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a file told: its facts, or why it has none, and its sha256 once hashed."""

    identity: FileIdentity
    facts: Facts | Reason
    sha256: str | None = None


class Ledger(Protocol):
    """What the runner asks of a ledger."""

    def entries(self) -> dict[JobKey, Entry]:
        """Every entry."""
        ...

    def add(self, key: JobKey, *, now: float) -> None:
        """Put a job in as planned; an entry that exists stays as it is."""
        ...

    def move(self, entry: Entry, *, old: State) -> bool:
        """Take a job from `old` to what `entry` says; False if it was no longer in `old`.

        Raises:
            ValueError: the table of moves has no such move.
        """
        ...

    def files(self) -> dict[str, KnownFile]:
        """Every remembered file, by path."""
        ...

    def remember(self, known: KnownFile) -> None:
        """Keep what reading a file told."""
        ...


class SqliteLedger:
    """A ledger in one SQLite file. To be used by one thread; a batch is one transaction."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger, making it where there is none.

        Raises:
            LedgerError: it can't be used: damaged, not writable, or of a newer version.
        """
        self._path = path
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
                self._require_version(self._version())
            else:
                self._db = sqlite3.connect(path, isolation_level=None)
                self._db.execute("PRAGMA journal_mode = TRUNCATE")
                self._db.execute("PRAGMA synchronous = EXTRA")
                self._migrate()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _require_version(self, version: int) -> None:
        newest = len(migrations())
        if version > newest:
            raise LedgerError(
                f"the ledger {self._path} is of version {version}, and this batchembed knows up to "
                f"{newest}: upgrade batchembed"
            )

    def _migrate(self) -> None:
        version = self._version()
        self._require_version(version)
        for number, script in enumerate(migrations()[version:], start=version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {number}; COMMIT;"
            )

    def _unusable(self, error: sqlite3.Error) -> LedgerError:
        return LedgerError(
            f"the ledger {self._path} can't be used: {error}. It knows which tasks were paid for: "
            "mend the disk, or restore the file, rather than delete it"
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except ValueError as error:
            raise LedgerError(f"a row of the ledger {self._path} is damaged: {error}") from error

    def entries(self) -> dict[JobKey, Entry]:
        """Every entry."""
        with self._reading():
            rows = self._db.execute(queries()["all_entries"])
            return {entry.job_key: entry for entry in map(_entry, rows)}

    def add(self, key: JobKey, *, now: float) -> None:
        """Put a job in as planned; an entry that exists stays as it is."""
        self._db.execute(queries()["add_entry"], {"job_key": key, "updated_at": now})

    def move(self, entry: Entry, *, old: State) -> bool:
        """Take a job from `old` to what `entry` says; False if it was no longer in `old`."""
        require_allowed(old, entry.state)
        values = {
            "job_key": entry.job_key,
            "state": entry.state,
            "attempt": entry.attempt,
            "task_id": entry.task_id,
            "staged": _json(entry.staged),
            "commit_number": entry.commit,
            "reason": _json(entry.reason),
            "warnings": _json(entry.warnings),
            "submitted_at": entry.submitted_at,
            "updated_at": entry.updated_at,
            "old_state": old,
        }
        return self._db.execute(queries()["move_entry"], values).rowcount == 1

    def files(self) -> dict[str, KnownFile]:
        """Every remembered file, by path."""
        with self._reading():
            rows = self._db.execute(queries()["all_files"])
            return {row[0]: _known_file(row) for row in rows}

    def remember(self, known: KnownFile) -> None:
        """Keep what reading a file told."""
        identity = known.identity
        self._db.execute(
            queries()["remember_file"],
            {
                "path": identity.path,
                "dev": identity.dev,
                "inode": identity.inode,
                "size_bytes": identity.size_bytes,
                "mtime_ns": identity.mtime_ns,
                "ctime_ns": identity.ctime_ns,
                "sha256": known.sha256,
                "facts": _json({_kind(known.facts): known.facts}),
            },
        )

    def batch(self, calls: list[Callable[[], None]]) -> None:
        """Make all the calls in one transaction, durable when this returns.

        Raises:
            LedgerError: nothing of the batch is durable.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for call in calls:
                    call()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _entry(row: tuple[Any, ...]) -> Entry:
    key, state, attempt, task_id, staged, commit, reason, warnings, submitted_at, updated_at = row
    return Entry(
        job_key=JobKey(key),
        state=State(state),
        attempt=attempt,
        task_id=None if task_id is None else TaskId(task_id),
        staged=None if staged is None else msgspec.json.decode(staged, type=Staged),
        commit=commit,
        reason=None if reason is None else msgspec.json.decode(reason, type=Reason),
        warnings=msgspec.json.decode(warnings, type=tuple[Reason, ...]),
        submitted_at=submitted_at,
        updated_at=updated_at,
    )


class _StoredFacts(msgspec.Struct):
    facts: Facts | None = None
    reason: Reason | None = None


def _kind(facts: Facts | Reason) -> str:
    return "reason" if isinstance(facts, Reason) else "facts"


def _known_file(row: tuple[Any, ...]) -> KnownFile:
    path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, told = row
    stored = msgspec.json.decode(told, type=_StoredFacts)
    facts = stored.facts or stored.reason
    if facts is None:
        msg = f"nothing is told of {path}"
        raise ValueError(msg)
    return KnownFile(
        identity=FileIdentity(
            path=path,
            dev=dev,
            inode=inode,
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            ctime_ns=ctime_ns,
        ),
        facts=facts,
        sha256=sha256,
    )

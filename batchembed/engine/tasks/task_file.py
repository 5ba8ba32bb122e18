"""The SQLite file of the engine's tasks: opened durably, and brought to this version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

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
PRAGMA user_version = 1;
"""
_ENDED_AT = """
ALTER TABLE tasks ADD COLUMN ended_at REAL;
UPDATE tasks SET ended_at = created_at WHERE status <> 'processing';
CREATE INDEX tasks_by_end ON tasks (ended_at, status, created_at);
PRAGMA user_version = 2;
"""
_MIGRATIONS = (_SCHEMA, _ENDED_AT)


def open_table(path: Path) -> sqlite3.Connection:
    """Open the file, making it where there is none; threads may share the connection in turn.

    Raises:
        LedgerError: it can't be used, or a newer version made it.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        # An answered create must survive a power cut: WAL with NORMAL would lose it.
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = EXTRA")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for migration in _MIGRATIONS[version:]:
            db.executescript(f"BEGIN IMMEDIATE; {migration} COMMIT;")
    except sqlite3.Error as error:
        db.close()
        raise _unusable(path, error) from error
    if version > len(_MIGRATIONS):
        db.close()
        raise _unusable(path, "a newer batchembed made it: use that one")
    return db


def _unusable(path: Path, why: object) -> LedgerError:
    return LedgerError(f"the engine's task table {path} can't be used: {why}")

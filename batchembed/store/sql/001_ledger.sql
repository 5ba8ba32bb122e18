-- The ledger, version 1: one row a job, one row a file that was read.

CREATE TABLE entries (
    job_key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    task_id TEXT UNIQUE,
    staged TEXT,
    commit_number INTEGER,
    reason TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    submitted_at REAL,
    updated_at REAL NOT NULL,
    CHECK (state NOT IN ('processing', 'ready') OR task_id IS NOT NULL),
    CHECK (state NOT IN ('staged', 'committed') OR staged IS NOT NULL),
    CHECK (state <> 'committed' OR commit_number IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
    path TEXT PRIMARY KEY,
    dev INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    sha256 TEXT,
    facts TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Version 2: what a create asked and since when it is in doubt; every move; what was spent.

ALTER TABLE entries ADD COLUMN intent TEXT;
ALTER TABLE entries ADD COLUMN intended_at REAL;
ALTER TABLE entries ADD COLUMN unknown_since REAL;
UPDATE entries SET unknown_since = updated_at WHERE state = 'unknown';
ALTER TABLE entries ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN absences INTEGER NOT NULL DEFAULT 0;

CREATE TABLE moves (
    number INTEGER PRIMARY KEY,
    job_key TEXT NOT NULL,
    at REAL NOT NULL,
    run_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    task_id TEXT,
    reason TEXT
) STRICT;

CREATE INDEX moves_of_a_job ON moves (job_key, number);

-- One row a create that made a task, or may have; `video_sec` is null where it is not known.
CREATE TABLE charges (
    job_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at REAL NOT NULL,
    video_sec REAL,
    PRIMARY KEY (job_key, attempt, at)
) STRICT, WITHOUT ROWID;

-- Which jobs a video has been, over all edits of the manifest.
CREATE TABLE videos (
    video_id TEXT NOT NULL,
    job_key TEXT NOT NULL,
    source TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (video_id, job_key)
) STRICT, WITHOUT ROWID;

-- Until when the service takes no creates, as it said; one row at most.
CREATE TABLE block (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    until REAL NOT NULL,
    why TEXT NOT NULL
) STRICT;

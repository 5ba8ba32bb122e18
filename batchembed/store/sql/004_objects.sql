-- Version 4: one row an object that was read from a store, under its ETag.

CREATE TABLE objects (
    uri TEXT PRIMARY KEY,
    tag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    facts TEXT NOT NULL
) STRICT, WITHOUT ROWID;

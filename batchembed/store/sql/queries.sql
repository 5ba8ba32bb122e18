-- name: all_entries
SELECT job_key, state, attempt, task_id, staged, commit_number, reason, warnings,
    submitted_at, updated_at
FROM entries;

-- name: add_entry
INSERT INTO entries (job_key, state, attempt, updated_at) VALUES (:job_key, 'planned', 1, :updated_at)
ON CONFLICT (job_key) DO NOTHING;

-- name: move_entry
UPDATE entries
SET state = :state, attempt = :attempt, task_id = :task_id, staged = :staged,
    commit_number = :commit_number, reason = :reason, warnings = :warnings, submitted_at = :submitted_at,
    updated_at = :updated_at
WHERE job_key = :job_key AND state = :old_state AND attempt <= :attempt;

-- name: all_files
SELECT path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, facts FROM files;

-- name: remember_file
INSERT INTO files (path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, facts)
VALUES (:path, :dev, :inode, :size_bytes, :mtime_ns, :ctime_ns, :sha256, :facts)
ON CONFLICT (path) DO UPDATE
SET dev = excluded.dev, inode = excluded.inode, size_bytes = excluded.size_bytes,
    mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, sha256 = excluded.sha256,
    facts = excluded.facts;

-- name: all_entries
SELECT job_key, state, attempt, task_id, staged, commit_number, reason, warnings,
    intent, intended_at, unknown_since, submitted_at, adopted, losses,
    absences, updated_at
FROM entries;

-- name: add_entry
INSERT INTO entries (job_key, state, attempt, updated_at) VALUES (:job_key, 'planned', 1, :updated_at)
ON CONFLICT (job_key) DO NOTHING;

-- name: recall_entry
INSERT INTO entries (job_key, state, attempt, task_id, staged, commit_number, reason, warnings,
    intent, intended_at, unknown_since, submitted_at, adopted, losses, absences, updated_at)
VALUES (:job_key, :state, :attempt, :task_id, :staged, :commit_number, :reason, :warnings,
    :intent, :intended_at, :unknown_since, :submitted_at, :adopted, :losses, :absences, :updated_at)
ON CONFLICT (job_key) DO UPDATE
SET state = excluded.state, attempt = max(excluded.attempt, attempt), task_id = excluded.task_id,
    staged = excluded.staged, commit_number = excluded.commit_number, reason = excluded.reason,
    warnings = excluded.warnings, intent = excluded.intent, intended_at = excluded.intended_at,
    unknown_since = excluded.unknown_since, submitted_at = excluded.submitted_at,
    losses = excluded.losses, updated_at = excluded.updated_at
WHERE state NOT IN ('staged', 'committed');

-- name: move_entry
UPDATE entries
SET state = :state, attempt = :attempt, task_id = :task_id, staged = :staged,
    commit_number = :commit_number, reason = :reason, warnings = :warnings, intent = :intent,
    intended_at = :intended_at, unknown_since = :unknown_since, submitted_at = :submitted_at,
    adopted = :adopted, losses = :losses, absences = :absences, updated_at = :updated_at
WHERE job_key = :job_key AND state = :old_state AND attempt <= :attempt;

-- name: keep_move
INSERT INTO moves (job_key, at, run_id, state, attempt, task_id, reason)
VALUES (:job_key, :updated_at, :run_id, :state, :attempt, :task_id, :reason);

-- name: moves_of
SELECT at, run_id, state, attempt, task_id, reason FROM moves WHERE job_key = :job_key ORDER BY number;

-- name: all_task_ids
SELECT task_id FROM moves WHERE task_id IS NOT NULL UNION SELECT task_id FROM entries WHERE task_id IS NOT NULL;

-- name: charge
INSERT INTO charges (job_key, attempt, at, video_sec) VALUES (:job_key, :attempt, :at, :video_sec)
ON CONFLICT (job_key, attempt, at) DO UPDATE SET video_sec = excluded.video_sec;

-- name: withdraw
DELETE FROM charges WHERE job_key = :job_key AND attempt = :attempt
    AND at = (SELECT max(at) FROM charges WHERE job_key = :job_key AND attempt = :attempt);

-- name: settle
UPDATE charges SET video_sec = :video_sec WHERE job_key = :job_key AND attempt = :attempt
    AND at = (SELECT max(at) FROM charges WHERE job_key = :job_key AND attempt = :attempt);

-- name: set_back_charges
UPDATE OR IGNORE charges SET at = :now - ahead.rank / 1000.0
FROM (
    SELECT job_key, attempt, at,
        row_number() OVER (PARTITION BY job_key, attempt ORDER BY at DESC) - 1 AS rank
    FROM charges WHERE at > :now
) AS ahead
WHERE charges.job_key = ahead.job_key AND charges.attempt = ahead.attempt
    AND charges.at = ahead.at;

-- name: all_charges
SELECT at, video_sec FROM charges ORDER BY at;

-- name: open_charges
SELECT entries.job_key, max(charges.at), charges.video_sec
FROM entries JOIN charges ON charges.job_key = entries.job_key AND charges.attempt = entries.attempt
WHERE entries.state IN ('submitting', 'unknown', 'processing', 'ready')
GROUP BY entries.job_key;

-- name: name_video
INSERT INTO videos (video_id, job_key, source, at) VALUES (:video_id, :job_key, :source, :at)
ON CONFLICT (video_id, job_key) DO NOTHING;

-- name: jobs_of_video
SELECT job_key FROM videos WHERE video_id = :video_id ORDER BY at, job_key;

-- name: video_of_job
SELECT job_key, min(video_id) FROM videos GROUP BY job_key;

-- name: set_block
INSERT INTO block (one, until, why, seconds) VALUES (1, :until, :why, :seconds)
ON CONFLICT (one) DO UPDATE
SET until = excluded.until, why = excluded.why, seconds = excluded.seconds;

-- name: set_back_block
UPDATE block SET until = :now + seconds WHERE until > :now + seconds;

-- name: clear_block
DELETE FROM block;

-- name: get_block
SELECT until, why, seconds FROM block;

-- name: all_files
SELECT path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, facts FROM files;

-- name: remember_file
INSERT INTO files (path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, facts)
VALUES (:path, :dev, :inode, :size_bytes, :mtime_ns, :ctime_ns, :sha256, :facts)
ON CONFLICT (path) DO UPDATE
SET dev = excluded.dev, inode = excluded.inode, size_bytes = excluded.size_bytes,
    mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, sha256 = excluded.sha256,
    facts = excluded.facts;

-- name: all_objects
SELECT uri, tag, size_bytes, facts FROM objects;

-- name: remember_object
INSERT INTO objects (uri, tag, size_bytes, facts) VALUES (:uri, :tag, :size_bytes, :facts)
ON CONFLICT (uri) DO UPDATE
SET tag = excluded.tag, size_bytes = excluded.size_bytes, facts = excluded.facts;

-- name: begin
INSERT INTO beginning (one, doubted_since, record, payer)
VALUES (1, :doubted_since, :record, :payer)
ON CONFLICT (one) DO UPDATE
SET doubted_since = excluded.doubted_since, record = excluded.record, payer = excluded.payer;

-- name: set_payer
INSERT INTO beginning (one, payer) VALUES (1, :payer)
ON CONFLICT (one) DO UPDATE SET payer = excluded.payer WHERE payer IS NOT excluded.payer;

-- name: doubt_attempts
UPDATE entries SET intent = NULL WHERE state IN ('planned', 'failed', 'lost');

-- name: get_beginning
SELECT doubted_since, record, payer FROM beginning;

SELECT
    t.job_id,
    t.created_at,
    t.started_at,
    t.finished_at,
    CAST(strftime('%s', substr(t.started_at, 1, 19)) AS INTEGER)
        - CAST(strftime('%s', substr(t.created_at, 1, 19)) AS INTEGER) AS queue_seconds,
    CAST(strftime('%s', substr(t.finished_at, 1, 19)) AS INTEGER)
        - CAST(strftime('%s', substr(t.started_at, 1, 19)) AS INTEGER) AS run_seconds,
    CAST(strftime('%s', substr(t.finished_at, 1, 19)) AS INTEGER)
        - CAST(strftime('%s', substr(t.created_at, 1, 19)) AS INTEGER) AS total_seconds
FROM (
    SELECT
        j.id AS job_id,
        j.created_at,
        -- The API has no field for it. One of a job's oldest events says so, so that few are read.
        (
            SELECT e.created_at
            FROM job_events e
            WHERE
                e.job_id = j.id
                AND e.message IN ('Fine-tuning job started', 'Fine-tune started', 'Job started.')
            ORDER BY e.position
            LIMIT 1
        ) AS started_at,
        j.finished_at
    FROM jobs j
) t

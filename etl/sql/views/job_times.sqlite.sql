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
        - CAST(strftime('%s', substr(t.created_at, 1, 19)) AS INTEGER) AS total_seconds,
    substr(t.created_at, 1, 10) AS created_on,
    substr(t.created_at, 1, 7) AS created_in,
    t.ended_at,
    CAST(strftime('%s', substr(t.ended_at, 1, 19)) AS INTEGER)
        - CAST(strftime('%s', substr(t.started_at, 1, 19)) AS INTEGER) AS training_seconds
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
        j.finished_at,
        -- Failed and cancelled jobs have no end at the API; their last event is the next best.
        CASE
            WHEN j.finished_at IS NOT NULL THEN j.finished_at
            WHEN j.status IN ('succeeded', 'failed', 'cancelled') THEN (
                SELECT e.created_at
                FROM job_events e
                WHERE e.job_id = j.id
                ORDER BY e.position DESC
                LIMIT 1
            )
        END AS ended_at
    FROM jobs j
) t

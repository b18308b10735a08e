SELECT
    t.job_id,
    t.created_at,
    t.started_at,
    t.finished_at,
    CAST(floor(EXTRACT(EPOCH FROM t.started_at)) AS BIGINT)
        - CAST(floor(EXTRACT(EPOCH FROM t.created_at)) AS BIGINT) AS queue_seconds,
    CAST(floor(EXTRACT(EPOCH FROM t.finished_at)) AS BIGINT)
        - CAST(floor(EXTRACT(EPOCH FROM t.started_at)) AS BIGINT) AS run_seconds,
    CAST(floor(EXTRACT(EPOCH FROM t.finished_at)) AS BIGINT)
        - CAST(floor(EXTRACT(EPOCH FROM t.created_at)) AS BIGINT) AS total_seconds,
    to_char(t.created_at, 'YYYY-MM-DD') AS created_on,
    to_char(t.created_at, 'YYYY-MM') AS created_in,
    t.ended_at,
    CAST(floor(EXTRACT(EPOCH FROM t.ended_at)) AS BIGINT)
        - CAST(floor(EXTRACT(EPOCH FROM t.started_at)) AS BIGINT) AS training_seconds
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

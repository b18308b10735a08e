SELECT
    t.job_id,
    t.created_at,
    t.started_at,
    t.finished_at,
    TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.started_at)
        - TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.created_at) AS queue_seconds,
    TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.finished_at)
        - TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.started_at) AS run_seconds,
    TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.finished_at)
        - TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.created_at) AS total_seconds,
    date_format(t.created_at, '%Y-%m-%d') AS created_on,
    date_format(t.created_at, '%Y-%m') AS created_in,
    t.ended_at,
    TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.ended_at)
        - TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', t.started_at) AS training_seconds
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

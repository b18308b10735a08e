SELECT
    t.job_id,
    t.unit,
    CASE
        WHEN t.unit = 'trained_token' THEN coalesce(t.billed_tokens, t.known)
        ELSE coalesce(t.known, t.timed_seconds)
    END AS quantity,
    CASE
        WHEN t.unit = 'trained_token' AND t.billed_tokens IS NOT NULL THEN 'event'
        WHEN t.known IS NOT NULL THEN t.known_origin
        WHEN t.unit = 'training_second' AND t.timed_seconds IS NOT NULL THEN 'event'
    END AS origin,
    t.spent_at,
    to_char(t.spent_at, 'YYYY-MM-DD') AS spent_on,
    to_char(t.spent_at, 'YYYY-MM') AS spent_in
FROM (
    SELECT
        j.id AS job_id,
        CASE WHEN j.method_type = 'reinforcement' THEN 'training_second' ELSE 'trained_token' END
            AS unit,
        u.quantity AS known,
        u.origin AS known_origin,
        -- Azure writes into an event what it billed, which is less than `trained_tokens`.
        CASE WHEN j.provider = 'azure' THEN (
            SELECT CAST(trunc(max(m.value)) AS BIGINT)
            FROM training_metrics m
            WHERE m.job_id = j.id AND m.origin = 'event' AND m.name = 'training_tokens_billed'
        ) END AS billed_tokens,
        -- Whole milliseconds, so that each database adds them up alike.
        CASE WHEN j.method_type = 'reinforcement' THEN (
            SELECT CAST(trunc((sum(CAST(floor(m.value * 1000 + 0.5) AS BIGINT)) + 500) / 1000) AS BIGINT)
            FROM training_metrics m
            WHERE
                m.job_id = j.id
                AND m.origin = 'event'
                AND m.name = 'timing.step.full_iteration'
                AND m.value >= 0
                AND m.value < 1000000000
        ) END AS timed_seconds,
        coalesce(j.finished_at, j.created_at) AS spent_at
    FROM jobs j
    LEFT JOIN job_usage u
        ON
            u.job_id = j.id
            AND u.unit = CASE
                WHEN j.method_type = 'reinforcement' THEN 'training_second'
                ELSE 'trained_token'
            END
) t

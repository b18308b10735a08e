SELECT
    j.id AS job_id,
    j.source,
    j.project_id,
    j.status,
    j.model,
    j.error_code,
    j.error_message,
    j.error_param,
    j.trained_tokens,
    -- What it may have cost all the same.
    (SELECT c.cost_usd FROM job_costs c WHERE c.job_id = j.id) AS cost_usd,
    j.created_at,
    j.finished_at,
    -- Read from the newest event backwards: it is nearly always the first one met.
    (
        SELECT e.message
        FROM job_events e
        WHERE
            e.job_id = j.id
            AND e.level IN ('warn', 'warning', 'error')
        ORDER BY e.position DESC
        LIMIT 1
    ) AS last_event_message
FROM jobs j
WHERE j.status IN ('failed', 'cancelled')

SELECT
    h.source,
    h.resource,
    h.last_success_at,
    CAST(strftime('%s', 'now') AS INTEGER)
        - CAST(strftime('%s', substr(h.last_success_at, 1, 19)) AS INTEGER) AS age_seconds,
    h.last_run_id,
    r.started_at AS last_run_at,
    r.status AS last_status,
    r.error AS last_error,
    (
        SELECT count(*)
        FROM quarantine q
        WHERE q.source = h.source AND q.resource = h.resource AND q.resolved_at IS NULL
    ) AS open_quarantine
FROM (
    SELECT
        one.source,
        one.resource,
        max(one.run_id) AS last_run_id,
        -- Not of some of the records only, and not cut short.
        max(CASE
            WHEN one.is_whole AND one.error IS NULL AND one.status IN ('success', 'partial')
                THEN one.started_at
        END) AS last_success_at
    FROM sync_resource_runs one
    JOIN sync_runs s ON s.id = one.run_id
    -- What is read from files, from the ledger or from quarantine keeps nothing in step.
    WHERE s.mode NOT IN ('import', 'replay', 'retry')
    GROUP BY one.source, one.resource
) h
JOIN sync_resource_runs r
    ON r.run_id = h.last_run_id AND r.source = h.source AND r.resource = h.resource

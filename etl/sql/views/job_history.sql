SELECT
    h.job_id,
    h.version,
    -- 1 is the oldest state; an import may bring an old state under a new version.
    row_number() OVER (
        PARTITION BY h.job_id
        ORDER BY coalesce(h.observed_at, h.recorded_at), h.version
    ) AS sequence,
    h.status,
    h.changed_fields,
    h.observed_at,
    h.recorded_at,
    h.run_id,
    h.is_current
FROM (
    SELECT
        r.id AS job_id,
        r.version,
        r.status,
        r.changed_fields,
        r.observed_at,
        r.changed_at AS recorded_at,
        r.run_id,
        TRUE AS is_current
    FROM records r
    WHERE r.resource = 'jobs'
    UNION ALL
    SELECT
        v.id,
        v.version,
        v.status,
        v.changed_fields,
        v.observed_at,
        v.changed_at,
        v.run_id,
        FALSE
    FROM record_versions v
    WHERE v.resource = 'jobs'
) h

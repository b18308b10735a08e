SELECT
    'missing' AS finding,
    r.source,
    r.resource,
    r.id AS subject,
    r.status AS detail,
    r.missing_since AS since
FROM records r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT
    'quarantine',
    q.source,
    q.resource,
    q.record_id,
    q.reason,
    q.first_seen_at
FROM quarantine q
WHERE q.resolved_at IS NULL
UNION ALL
SELECT
    'drift',
    NULL,
    d.resource,
    d.path,
    d.kind,
    d.first_seen_at
FROM drift d

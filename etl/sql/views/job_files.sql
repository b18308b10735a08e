SELECT
    n.job_id,
    n.role,
    n.file_id,
    f.filename,
    f.bytes,
    f.status,
    f.created_at,
    f.expires_at,
    coalesce(p.absent_since, r.missing_since) AS absent_since
FROM (
    SELECT j.id AS job_id, 'training' AS role, j.training_file AS file_id
    FROM jobs j
    WHERE j.training_file IS NOT NULL
    UNION ALL
    SELECT j.id, 'validation', j.validation_file
    FROM jobs j
    WHERE j.validation_file IS NOT NULL
    UNION ALL
    SELECT o.job_id, 'result', o.file_id
    FROM job_result_files o
) n
LEFT JOIN files f ON f.id = n.file_id
LEFT JOIN records r ON r.resource = 'files' AND r.id = n.file_id
LEFT JOIN child_progress p ON p.resource = 'files' AND p.parent_id = n.file_id

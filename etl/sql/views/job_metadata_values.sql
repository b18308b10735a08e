SELECT
    j.id AS job_id,
    k.name,
    m.value
FROM jobs j
CROSS JOIN (SELECT DISTINCT a.name FROM job_metadata a) k
LEFT JOIN job_metadata m ON m.job_id = j.id AND m.name = k.name

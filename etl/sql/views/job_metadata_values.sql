-- A job and a metadata key that any job has: the job's value, NULL where it lacks the key.
SELECT
    j.id AS job_id,
    k.name,
    m.value
FROM jobs j
CROSS JOIN (SELECT DISTINCT a.name FROM job_metadata a) k
LEFT JOIN job_metadata m ON m.job_id = j.id AND m.name = k.name

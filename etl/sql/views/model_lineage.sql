WITH RECURSIVE
made AS (
    SELECT j.id AS job_id, j.id_space, j.fine_tuned_model AS model, j.created_at
    FROM jobs j
    WHERE j.fine_tuned_model IS NOT NULL
    UNION
    SELECT j.id, j.id_space, c.fine_tuned_model_checkpoint, j.created_at
    FROM job_checkpoints c
    JOIN jobs j ON j.id = c.job_id
    WHERE c.fine_tuned_model_checkpoint IS NOT NULL
),
candidates AS (
    SELECT
        child.id AS job_id,
        made.job_id AS parent_job_id,
        -- Compatible servers may give a name twice: the last job before the child is meant.
        row_number() OVER (
            PARTITION BY child.id
            ORDER BY
                CASE WHEN made.created_at <= child.created_at THEN 0 ELSE 1 END,
                made.created_at DESC,
                made.job_id
        ) AS place
    FROM jobs child
    JOIN made ON made.model = child.model AND made.id_space = child.id_space
    WHERE made.job_id <> child.id
),
parents AS (
    SELECT candidates.job_id, candidates.parent_job_id
    FROM candidates
    WHERE candidates.place = 1
),
-- From the jobs that trained no model of ours down, so that a circle is never entered.
descent AS (
    SELECT parents.job_id, parents.parent_job_id, root.base_model, 2 AS depth
    FROM parents
    JOIN jobs root ON root.id = parents.parent_job_id
    LEFT JOIN parents above ON above.job_id = root.id
    WHERE above.job_id IS NULL
    UNION ALL
    SELECT parents.job_id, parents.parent_job_id, descent.base_model, descent.depth + 1
    FROM descent
    JOIN parents ON parents.parent_job_id = descent.job_id
    WHERE descent.depth < 50
)
SELECT
    j.fine_tuned_model,
    j.id AS job_id,
    j.model AS parent_model,
    parents.parent_job_id,
    coalesce(descent.base_model, j.base_model) AS base_model,
    -- 1: trained on a model that no job here made. NULL below the 50th, and in a circle.
    CASE WHEN parents.job_id IS NULL THEN 1 ELSE descent.depth END AS depth,
    j.created_at,
    j.source,
    j.project_id
FROM jobs j
LEFT JOIN parents ON parents.job_id = j.id
LEFT JOIN descent ON descent.job_id = j.id
WHERE j.fine_tuned_model IS NOT NULL

SELECT
    p.id AS permission_id,
    p.fine_tuned_model_checkpoint,
    m.job_id,
    m.step_number,
    p.project_id,
    o.name AS project_name,
    p.created_at
FROM checkpoint_permissions p
LEFT JOIN (
    SELECT u.model, min(u.job_id) AS job_id, max(u.step_number) AS step_number
    FROM (
        SELECT c.fine_tuned_model_checkpoint AS model, c.job_id, c.step_number
        FROM job_checkpoints c
        WHERE c.fine_tuned_model_checkpoint IS NOT NULL
        UNION ALL
        SELECT j.fine_tuned_model, j.id, NULL
        FROM jobs j
        WHERE j.fine_tuned_model IS NOT NULL
    ) u
    GROUP BY u.model
) m ON m.model = p.fine_tuned_model_checkpoint
LEFT JOIN projects o ON o.id = p.project_id

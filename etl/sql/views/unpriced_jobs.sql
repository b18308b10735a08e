SELECT
    c.job_id,
    c.source,
    c.provider,
    c.project_id,
    c.status,
    c.model,
    c.base_model,
    c.method_type,
    c.created_at,
    c.spent_in,
    c.trained_tokens,
    c.unit,
    c.quantity,
    c.reason
FROM job_costs c
WHERE c.certainty = 'unpriced'

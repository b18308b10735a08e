SELECT
    h.job_id,
    h.name,
    h.value_text,
    h.value_number,
    h.is_auto,
    h.scope
FROM job_hyperparameters h
JOIN jobs j ON j.id = h.job_id
WHERE
    h.scope = j.method_type
    -- One at the top level counts where none stands under the method.
    OR (
        h.scope = 'job'
        AND NOT EXISTS (
            SELECT 1
            FROM job_hyperparameters m
            WHERE m.job_id = h.job_id AND m.scope = j.method_type AND m.name = h.name
        )
    )

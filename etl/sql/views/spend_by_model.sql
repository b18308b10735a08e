SELECT
    c.base_model,
    count(*) AS jobs,
    -- Without absurd counts, which no sum has room for: they stand in unpriced_jobs.
    coalesce(
        sum(CASE WHEN c.trained_tokens BETWEEN 0 AND 1000000000000 THEN c.trained_tokens END), 0
    ) AS trained_tokens,
    coalesce(sum(c.cost_microusd), 0) AS cost_microusd,
    round(coalesce(sum(c.cost_microusd), 0) * 0.000001, 6) AS cost_usd,
    round(
        coalesce(sum(CASE WHEN c.certainty = 'uncertain' THEN c.cost_microusd END), 0) * 0.000001,
        6
    ) AS uncertain_usd,
    sum(CASE WHEN c.certainty = 'unpriced' THEN 1 ELSE 0 END) AS unpriced_jobs,
    sum(CASE WHEN c.certainty = 'open' THEN 1 ELSE 0 END) AS open_jobs
FROM job_costs c
GROUP BY c.base_model

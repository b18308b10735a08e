SELECT
    m.name,
    m.value,
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
FROM job_metadata m
JOIN job_costs c ON c.job_id = m.job_id
GROUP BY m.name, m.value
UNION ALL
SELECT
    k.name,
    NULL AS value,
    t.jobs - k.jobs AS jobs,
    t.trained_tokens - k.trained_tokens AS trained_tokens,
    t.cost_microusd - k.cost_microusd AS cost_microusd,
    round((t.cost_microusd - k.cost_microusd) * 0.000001, 6) AS cost_usd,
    round((t.uncertain_microusd - k.uncertain_microusd) * 0.000001, 6) AS uncertain_usd,
    t.unpriced_jobs - k.unpriced_jobs AS unpriced_jobs,
    t.open_jobs - k.open_jobs AS open_jobs
FROM (
    SELECT
        m.name,
        count(*) AS jobs,
        coalesce(
            sum(CASE WHEN c.trained_tokens BETWEEN 0 AND 1000000000000 THEN c.trained_tokens END), 0
        ) AS trained_tokens,
        coalesce(sum(c.cost_microusd), 0) AS cost_microusd,
        coalesce(sum(CASE WHEN c.certainty = 'uncertain' THEN c.cost_microusd END), 0)
            AS uncertain_microusd,
        sum(CASE WHEN c.certainty = 'unpriced' THEN 1 ELSE 0 END) AS unpriced_jobs,
        sum(CASE WHEN c.certainty = 'open' THEN 1 ELSE 0 END) AS open_jobs
    FROM job_metadata m
    JOIN job_costs c ON c.job_id = m.job_id
    GROUP BY m.name
) k
CROSS JOIN (
    SELECT
        count(*) AS jobs,
        coalesce(
            sum(CASE WHEN c.trained_tokens BETWEEN 0 AND 1000000000000 THEN c.trained_tokens END), 0
        ) AS trained_tokens,
        coalesce(sum(c.cost_microusd), 0) AS cost_microusd,
        coalesce(sum(CASE WHEN c.certainty = 'uncertain' THEN c.cost_microusd END), 0)
            AS uncertain_microusd,
        sum(CASE WHEN c.certainty = 'unpriced' THEN 1 ELSE 0 END) AS unpriced_jobs,
        sum(CASE WHEN c.certainty = 'open' THEN 1 ELSE 0 END) AS open_jobs
    FROM job_costs c
) t
WHERE t.jobs > k.jobs

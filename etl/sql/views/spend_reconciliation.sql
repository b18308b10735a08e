SELECT
    r.month,
    r.project_id,
    max(p.name) AS project_name,
    r.currency,
    -- Billionths of the currency: whole numbers, which add up.
    sum(r.estimated_nano) AS estimated_nano,
    -- NULL where no day of the month was read from the bill: that is not known, and never 0.
    CASE WHEN max(d.month) IS NOT NULL THEN sum(r.training_nano) END AS billed_training_nano,
    CASE WHEN max(d.month) IS NOT NULL THEN sum(r.other_nano) END AS billed_other_nano,
    CASE WHEN max(d.month) IS NOT NULL THEN sum(r.training_nano) + sum(r.other_nano) END
        AS billed_nano,
    round(sum(r.estimated_nano) * 0.000000001, 6) AS estimated,
    sum(r.unpriced) AS unpriced_jobs,
    CASE WHEN max(d.month) IS NOT NULL THEN round(sum(r.training_nano) * 0.000000001, 6) END
        AS billed_training,
    CASE WHEN max(d.month) IS NOT NULL THEN round(sum(r.other_nano) * 0.000000001, 6) END
        AS billed_other,
    CASE
        WHEN max(d.month) IS NOT NULL
            THEN round((sum(r.training_nano) - sum(r.estimated_nano)) * 0.000000001, 6)
    END AS difference
FROM (
    SELECT
        c.spent_in AS month,
        coalesce(c.project_id, '') AS project_id,
        'usd' AS currency,
        coalesce(c.cost_microusd, 0) * 1000 AS estimated_nano,
        0 AS training_nano,
        0 AS other_nano,
        CASE WHEN c.certainty = 'unpriced' THEN 1 ELSE 0 END AS unpriced
    FROM job_costs c
    -- Jobs that were seen through a proxy stand in the same bill.
    WHERE c.provider = 'openai' OR c.id_space = 'openai'
    UNION ALL
    SELECT
        b.month,
        b.project_id,
        b.currency,
        0 AS estimated_nano,
        CASE WHEN b.kind = 'training' THEN b.amount_nano ELSE 0 END AS training_nano,
        CASE WHEN b.kind = 'training' THEN 0 ELSE b.amount_nano END AS other_nano,
        0 AS unpriced
    FROM billed_line_items b
) r
LEFT JOIN projects p ON p.id = r.project_id
-- An id ends with its day; days without spend have one too, and no row in billed_costs.
LEFT JOIN (
    SELECT DISTINCT substr(b.id, length(b.id) - 9, 7) AS month
    FROM records b
    WHERE b.resource = 'costs' AND b.missing_since IS NULL
) d ON d.month = r.month
GROUP BY r.month, r.project_id, r.currency

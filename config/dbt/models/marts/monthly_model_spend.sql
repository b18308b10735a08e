-- Whole micro-dollars are added up, and divided once: so every way to sum them agrees.
select
    c.spent_in as month,
    coalesce(c.base_model, 'not said') as base_model,
    coalesce(c.method_type, 'not said') as method_type,
    count(*) as jobs,
    sum(case when c.status = 'succeeded' then 1 else 0 end) as succeeded_jobs,
    sum(case when c.certainty = 'unpriced' then 1 else 0 end) as unpriced_jobs,
    sum(case when c.certainty = 'open' then 1 else 0 end) as open_jobs,
    coalesce(sum(c.cost_microusd), 0) as cost_microusd,
    round(coalesce(sum(c.cost_microusd), 0) * 0.000001, 6) as cost_usd,
    round(
        coalesce(sum(case when c.certainty = 'uncertain' then c.cost_microusd end), 0) * 0.000001,
        6
    ) as uncertain_usd
from {{ source('ftmirror', 'job_costs') }} c
group by c.spent_in, coalesce(c.base_model, 'not said'), coalesce(c.method_type, 'not said')

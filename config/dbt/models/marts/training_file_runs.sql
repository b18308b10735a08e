select
    coalesce(o.training_file, 'not said') as training_file,
    count(*) as jobs,
    sum(case when o.status = 'succeeded' then 1 else 0 end) as succeeded_jobs,
    min(o.created_at) as first_created_at,
    max(o.created_at) as last_created_at,
    coalesce(sum(c.cost_microusd), 0) as cost_microusd,
    round(coalesce(sum(c.cost_microusd), 0) * 0.000001, 6) as cost_usd,
    min(case when b.loss_name = 'full_valid_loss' then b.loss end) as best_full_valid_loss
from {{ source('ftmirror', 'job_overview') }} o
join {{ source('ftmirror', 'job_costs') }} c on c.job_id = o.job_id
left join {{ source('ftmirror', 'best_checkpoints') }} b on b.job_id = o.job_id
group by coalesce(o.training_file, 'not said')

select
    f.job_id,
    c.spent_in as month,
    f.status,
    c.base_model,
    coalesce(f.error_code, 'no code') as error_code,
    t.queue_seconds,
    t.run_seconds,
    f.trained_tokens,
    c.cost_microusd,
    c.cost_usd,
    c.certainty,
    c.reason
from {{ source('ftmirror', 'job_failures') }} f
join {{ source('ftmirror', 'job_costs') }} c on c.job_id = f.job_id
join {{ source('ftmirror', 'job_times') }} t on t.job_id = f.job_id

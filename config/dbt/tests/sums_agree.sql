-- Each way to sum what training cost comes to the same, to the micro-dollar and the job.
with
whole as (
    select count(*) as jobs, coalesce(sum(cost_microusd), 0) as cost_microusd
    from {{ source('ftmirror', 'job_costs') }}
),
sums as (
    {%- for view in ['spend_by_day', 'spend_by_month', 'spend_by_model', 'spend_by_project'] %}
    select
        '{{ view }}' as said_by,
        coalesce(sum(jobs), 0) as jobs,
        coalesce(sum(cost_microusd), 0) as cost_microusd
    from {{ source('ftmirror', view) }}
    union all
    {%- endfor %}
    select 'monthly_model_spend', coalesce(sum(jobs), 0), coalesce(sum(cost_microusd), 0)
    from {{ ref('monthly_model_spend') }}
    union all
    select 'training_file_runs', coalesce(sum(jobs), 0), coalesce(sum(cost_microusd), 0)
    from {{ ref('training_file_runs') }}
    union all
    -- Of metadata, each key by itself.
    select 'spend_by_metadata, ' || name, sum(jobs), sum(cost_microusd)
    from {{ source('ftmirror', 'spend_by_metadata') }}
    group by name
)
select sums.said_by, sums.jobs, sums.cost_microusd, whole.jobs as jobs_in_all,
    whole.cost_microusd as cost_microusd_in_all
from sums
cross join whole
where sums.jobs <> whole.jobs or sums.cost_microusd <> whole.cost_microusd

-- A cost that is not known is NULL, and one that is known is not.
select job_id, certainty, cost_microusd
from {{ source('ftmirror', 'job_costs') }}
where (certainty in ('unpriced', 'open')) <> (cost_microusd is null)

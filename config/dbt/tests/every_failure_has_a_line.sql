-- A failed or cancelled job stands in the view, in the mart and in the costs, and nowhere twice.
select c.job_id
from {{ source('ftmirror', 'job_costs') }} c
left join {{ ref('failed_job_costs') }} f on f.job_id = c.job_id
where c.status in ('failed', 'cancelled') and f.job_id is null

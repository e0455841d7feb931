select
    study,
    entity,
    unit as username,
    max(first_at) as looked_at
from {{ ref('stg_tiktok__coverage') }}
-- A look that was cut short cannot show that something is gone.
where unit_kind = 'account' and state = 'complete'
group by study, entity, unit

{{ config(rebuild_days_of='rejected') }}
select
    study,
    day,
    entity,
    coalesce(unit, '') as unit,
    min(partition_day) as partition_day,
    coalesce(field, '') as field,
    reason,
    count(*) as n_rejected,
    min(observed_at) as first_seen_at,
    max(observed_at) as last_seen_at
from {{ ref('stg_research__rejected') }}
group by study, day, entity, coalesce(unit, ''), coalesce(field, ''), reason

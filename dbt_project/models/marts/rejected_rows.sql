select
    study,
    day,
    capture,
    row_number() over (
        partition by study, day, capture order by entity, unit, position, field, reason, observed_at, value_json
    ) as rejection_number,
    entity,
    unit,
    partition_day,
    position,
    field,
    reason,
    value_json,
    observed_at
from {{ ref('stg_research__rejected') }}

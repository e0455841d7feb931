select
    study,
    entity,
    unit as username,
    max(last_complete_started_at) as last_complete_started_at,
    -- More can be delivered than the profile counted: it was counted at another moment.
    least(max_by(cast(kept as double) / nullif(expected, 0), last_complete_started_at), 1.0) as completeness
from {{ ref('coverage') }}
-- A look that was cut short cannot show that something is gone.
where unit_kind = 'account' and last_complete_started_at is not null
group by study, entity, unit

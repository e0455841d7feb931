select
    study,
    entity,
    unit as username,
    max(last_complete_started_at) as last_complete_started_at,
    -- The list can be longer than the profile's count, which was observed at another time.
    least(max_by(cast(kept as double) / nullif(expected, 0), last_complete_started_at), 1.0) as completeness
from {{ ref('coverage') }}
-- An incomplete attempt is no evidence that an entry was removed.
where unit_kind = 'account' and last_complete_started_at is not null
group by study, entity, unit

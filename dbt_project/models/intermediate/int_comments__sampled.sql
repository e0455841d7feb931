select
    study,
    partition_day as day,
    cast(unit as bigint) as video_id,
    -- Samples of one study are nested: whoever drew a video with the greater chance drew it for the smaller one too.
    max(inclusion_probability) as inclusion_probability
from {{ ref('stg_research__coverage') }}
where entity = 'comments' and unit_kind = 'video' and state = 'complete'
group by study, partition_day, unit

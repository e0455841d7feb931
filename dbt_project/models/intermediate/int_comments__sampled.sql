select
    study,
    partition_day as day,
    cast(unit as bigint) as video_id,
    -- Samples of one study are nested: a sample with a higher inclusion probability contains the smaller samples.
    max(inclusion_probability) as inclusion_probability
from {{ ref('stg_research__coverage') }}
where entity = 'comments' and unit_kind = 'video' and state = 'complete'
group by study, partition_day, unit

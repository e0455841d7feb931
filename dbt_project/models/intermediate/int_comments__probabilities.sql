with attempts as (
    select
        study,
        partition_day as day,
        cast(unit as bigint) as video_id,
        inclusion_probability,
        -- A selection of all videos names no observation.
        coalesce(selected_at, first_at, last_at) as chosen_at
    from {{ ref('stg_research__coverage') }}
    where
        entity = 'comments'
        and unit_kind = 'video'
        and selection in ('all', 'sample')
        and inclusion_probability is not null
),

-- Samples of one study are nested: a sample with a higher inclusion probability contains the smaller samples. If an edit
-- of the study draws a larger one, the videos that it contains already are not requested again, but have its probability.
from_then_on as (
    select
        study,
        day,
        video_id,
        max(inclusion_probability) over (
            partition by study, day
            order by chosen_at
            range between current row and unbounded following
        ) as inclusion_probability
    from attempts
)

select
    study,
    day,
    video_id,
    max(inclusion_probability) as inclusion_probability
from from_then_on
group by study, day, video_id

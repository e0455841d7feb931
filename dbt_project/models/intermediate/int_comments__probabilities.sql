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

designs as (
    select
        study,
        day,
        inclusion_probability,
        max(chosen_at) as last_chosen_at
    from attempts
    group by study, day, inclusion_probability
),

known as (
    select
        study,
        day,
        video_id,
        min(chosen_at) as known_at
    from attempts
    group by study, day, video_id
)

-- Samples of one study are nested: a sample with a higher inclusion probability contains the smaller samples. If an edit
-- of the study draws a larger one, the videos that it contains already are not requested again, but have its probability.
select
    known.study,
    known.day,
    known.video_id,
    max(designs.inclusion_probability) as inclusion_probability
from known
inner join designs
    on known.study = designs.study
    and known.day = designs.day
    and known.known_at <= designs.last_chosen_at
group by known.study, known.day, known.video_id

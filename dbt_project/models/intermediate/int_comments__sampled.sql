with ranked as (
    select
        study,
        partition_day as day,
        cast(unit as bigint) as video_id,
        inclusion_probability,
        selection,
        selection_rank,
        selected_at,
        -- The selection with the highest inclusion probability counts.
        row_number() over (
            partition by study, partition_day, unit
            order by
                inclusion_probability desc nulls last,
                selected_at asc nulls first,
                selection_rank asc nulls first,
                selection asc
        ) as preference
    from {{ ref('stg_research__coverage') }}
    where entity = 'comments' and unit_kind = 'video' and state = 'complete'
)

select
    ranked.study,
    ranked.day,
    ranked.video_id,
    -- Days are the first stage of the sample, the videos of a day the second.
    -- A top selection has none.
    case
        when ranked.inclusion_probability is not null
            then greatest(ranked.inclusion_probability, designs.inclusion_probability)
    end * {{ day_probability('days') }} as inclusion_probability,
    ranked.selection,
    ranked.selection_rank,
    ranked.selected_at
from ranked
left join {{ ref('int_days__sampled') }} as days
    on ranked.study = days.study
    and ranked.day = days.day
left join {{ ref('int_comments__probabilities') }} as designs
    on ranked.study = designs.study
    and ranked.day = designs.day
    and ranked.video_id = designs.video_id
where ranked.preference = 1

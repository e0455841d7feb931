with facts as (
    select
        study,
        partition_day as day,
        cast(unit as bigint) as video_id,
        state as comments_state,
        completed_at as comments_observed_at,
        cast(null as double) as comments_probability,
        0 as n_comments
    from {{ ref('coverage') }}
    where entity = 'comments' and unit_kind = 'video'
    union all
    select
        study,
        day,
        video_id,
        cast(null as string) as comments_state,
        {{ to_timestamp_utc('null') }} as comments_observed_at,
        inclusion_probability as comments_probability,
        0 as n_comments
    from {{ ref('int_comments__sampled') }}
    union all
    select
        study,
        day,
        video_id,
        cast(null as string) as comments_state,
        {{ to_timestamp_utc('null') }} as comments_observed_at,
        cast(null as double) as comments_probability,
        count(*) as n_comments
    from {{ ref('comments') }}
    group by study, day, video_id
)

select
    study,
    day,
    video_id,
    max(comments_state) as comments_state,
    max(comments_observed_at) as comments_observed_at,
    max(comments_probability) as comments_probability,
    {{ sum_integer('n_comments') }} as n_comments_held
from facts
group by study, day, video_id

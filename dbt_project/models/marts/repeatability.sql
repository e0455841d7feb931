with attempts as (
    select
        study,
        partition_day as day,
        capture,
        min(first_at) as first_at,
        max(last_at) as last_at
    from {{ ref('stg_research__coverage') }}
    where entity = 'videos' and unit_kind = 'day' and state = 'complete' and last_at is not null
    group by study, partition_day, capture
),

neighbours as (
    select
        study,
        day,
        first_at,
        last_at,
        lag(first_at) over (partition by study, day order by last_at, capture) as previous_first_at,
        lag(last_at) over (partition by study, day order by last_at, capture) as previous_last_at
    from attempts
),

repeats as (
    select
        *,
        row_number() over (partition by study, day order by last_at) as number
    from neighbours
    where {{ days_between('previous_last_at', 'last_at') }} <= 1 and previous_last_at < last_at
),

pairs as (
    select *
    from repeats
    where number = 1
),

found as (
    select
        videos.study,
        videos.day,
        videos.video_id,
        max(case when videos.observed_at <= pairs.previous_last_at then 1 else 0 end) as is_in_first,
        -- An observation between the two collections, such as a canary check, is part of neither.
        max(
            case
                when videos.observed_at > pairs.previous_last_at and videos.observed_at >= pairs.first_at then 1
                else 0
            end
        ) as is_in_second
    from {{ ref('stg_tiktok__videos') }} as videos
    inner join pairs
        on videos.study = pairs.study
        and videos.day = pairs.day
    where videos.observed_at between pairs.previous_first_at and pairs.last_at
    group by videos.study, videos.day, videos.video_id
),

counted as (
    select
        pairs.study,
        pairs.day,
        pairs.previous_last_at as first_ended_at,
        pairs.last_at as second_ended_at,
        {{ sum_integer('coalesce(found.is_in_first, 0)') }} as n_first,
        {{ sum_integer('coalesce(found.is_in_second, 0)') }} as n_second,
        {{ sum_integer('coalesce(found.is_in_first * found.is_in_second, 0)') }} as n_both
    from pairs
    left join found
        on pairs.study = found.study
        and pairs.day = found.day
    group by pairs.study, pairs.day, pairs.previous_last_at, pairs.last_at
)

select
    study,
    day,
    first_ended_at,
    second_ended_at,
    n_first,
    n_second,
    n_both,
    case when n_first + n_second > 0 then cast(n_both as double) / (n_first + n_second - n_both) end as jaccard,
    cast(n_first + 1 as double) * (n_second + 1) / (n_both + 1) - 1 as chapman_estimate,
    sqrt(
        cast(n_first + 1 as double) * (n_second + 1) * (n_first - n_both) * (n_second - n_both)
        / (cast(n_both + 1 as double) * (n_both + 1) * (n_both + 2))
    ) as chapman_standard_error
from counted

{%- set counts = ['view_count', 'like_count', 'comment_count', 'share_count'] -%}
with searches as (
    select
        study,
        partition_day as day,
        state,
        offered,
        kept,
        first_offered,
        first_kept,
        last_complete_started_at,
        requests
    from {{ ref('coverage') }}
    where entity = 'videos' and unit_kind = 'day'
),

videos as (
    select
        videos.study,
        videos.day,
        count(*) as n_videos,
        count(distinct owners.owner) as n_creators,
        {%- for count in counts %}
        {{ sum_integer('videos.' ~ count) }} as {{ count }}_sum,
        cast(median(videos.{{ count }}) as double) as {{ count }}_median,
        {%- endfor %}
        max(videos.last_seen_at) as last_seen_at,
        count(*) filter (where videos.last_seen_at < searches.last_complete_started_at) as n_not_returned
    from {{ ref('videos') }} as videos
    left join {{ ref('int_videos__owners') }} as owners
        on videos.study = owners.study and videos.video_id = owners.video_id
    left join searches on videos.study = searches.study and videos.day = searches.day
    group by videos.study, videos.day
),

all_days as (
    select study, day from searches
    union
    select study, day from videos
),

comments as (
    select study, day, count(*) as n_comments
    from {{ ref('comments') }}
    group by study, day
),

-- An API change affects a day by its date, or by the date of the last observation of its videos.
dates as (
    select study, day, 'published' as date_basis, day as basis_day from all_days
    union all
    select study, day, 'observed' as date_basis, cast(last_seen_at as date) as basis_day from videos
),

affected as (
    select dates.study, dates.day, api_changes.change_id
    from dates
    inner join {{ ref('api_changes') }} as api_changes
        on dates.date_basis = api_changes.date_basis
        and dates.basis_day >= coalesce(api_changes.first_day, date '0001-01-01')
        and dates.basis_day <= coalesce(api_changes.last_day, date '9999-12-31')
),

started as (
    select all_days.study, all_days.day, api_changes.change_id
    from all_days
    inner join {{ ref('api_changes') }} as api_changes on all_days.day = api_changes.first_day
),

changes_by_day as (
    select
        study,
        day,
        {{ collect_sorted('case when is_affected then change_id end') }} as api_changes,
        {{ collect_sorted('case when has_started then change_id end') }} as api_changes_started
    from (
        select study, day, change_id, max(is_affected) as is_affected, max(has_started) as has_started
        from (
            select study, day, change_id, true as is_affected, false as has_started from affected
            union all
            select study, day, change_id, false as is_affected, true as has_started from started
        ) as found
        group by study, day, change_id
    ) as found
    group by study, day
)

select
    all_days.study,
    all_days.day,
    -- Videos without an attempt come from a collection that has not ended.
    coalesce(searches.state, 'partial') as state,
    days.stratum,
    days.stratum_days,
    days.stratum_sampled,
    {{ day_probability('days') }} as inclusion_probability,
    searches.offered,
    searches.kept,
    searches.first_offered,
    searches.first_kept,
    searches.requests,
    coalesce(videos.n_videos, 0) as n_videos,
    -- Only a complete attempt shows what the API does not return.
    case
        when searches.last_complete_started_at is not null then coalesce(videos.n_not_returned, 0)
    end as n_not_returned,
    coalesce(videos.n_creators, 0) as n_creators,
    coalesce(comments.n_comments, 0) as n_comments,
    {%- for count in counts %}
    videos.{{ count }}_sum,
    videos.{{ count }}_median,
    {%- endfor %}
    videos.last_seen_at,
    changes_by_day.api_changes,
    changes_by_day.api_changes_started
from all_days
left join searches on all_days.study = searches.study and all_days.day = searches.day
left join {{ ref('int_days__sampled') }} as days on all_days.study = days.study and all_days.day = days.day
left join videos on all_days.study = videos.study and all_days.day = videos.day
left join comments on all_days.study = comments.study and all_days.day = comments.day
left join changes_by_day on all_days.study = changes_by_day.study and all_days.day = changes_by_day.day

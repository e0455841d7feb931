{%- set counts = ['view_count', 'like_count', 'comment_count', 'share_count'] -%}
with searches as (
    select study, partition_day as day, state, offered, kept, requests
    from {{ ref('coverage') }}
    where entity = 'videos' and unit_kind = 'day'
),

videos as (
    select
        study,
        day,
        count(*) as n_videos,
        count(distinct username) as n_creators,
        max(last_seen_at) as last_seen_at,
        {%- for count in counts %}
        {{ sum_integer(count) }} as {{ count }}_sum,
        cast(median({{ count }}) as double) as {{ count }}_median{{ ',' if not loop.last }}
        {%- endfor %}
    from ({{ rows_to_rebuild(ref('videos'), 'videos') }}) as videos
    group by study, day
    {%- if is_increment() %}
    union all
    select
        study,
        day,
        n_videos,
        n_creators,
        last_seen_at,
        {%- for count in counts %}
        {{ count }}_sum,
        {{ count }}_median{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ this }}
    where n_videos > 0 and not {{ in_changed_days('videos') }}
    {%- endif %}
),

all_days as (
    select study, day from searches
    union
    select study, day from videos
),

comments as (
    select study, day, count(*) as n_comments
    from {{ ref('comments') }}
    {%- if is_increment() %}
    where (study, day) in (
        select study, day from {{ changed_days() }} where raw_table = 'comments'
        union
        -- A day of which only comments were held is new as soon as its videos are asked.
        (select study, day from all_days except select study, day from {{ this }})
    )
    {%- endif %}
    group by study, day
    {%- if is_increment() %}
    union all
    select study, day, n_comments
    from {{ this }}
    where n_comments > 0 and not {{ in_changed_days('comments') }}
    {%- endif %}
),

-- A break in the API touches a day by its date, or by the date on which its videos were observed last.
dates as (
    select study, day, 'published' as date_basis, day as at_day from all_days
    union all
    select study, day, 'observed' as date_basis, cast(last_seen_at as date) as at_day from videos
),

touched as (
    select dates.study, dates.day, api_changes.change_id
    from dates
    inner join {{ ref('api_changes') }} as api_changes
        on dates.date_basis = api_changes.date_basis
        and dates.at_day >= coalesce(api_changes.first_day, date '0001-01-01')
        and dates.at_day <= coalesce(api_changes.last_day, date '9999-12-31')
),

begun as (
    select all_days.study, all_days.day, api_changes.change_id
    from all_days
    inner join {{ ref('api_changes') }} as api_changes on all_days.day = api_changes.first_day
),

breaks as (
    select
        study,
        day,
        {{ collect_sorted('change_id') }} as api_changes,
        {{ collect_sorted('case when has_begun then change_id end') }} as api_changes_started
    from (
        select study, day, change_id, max(has_begun) as has_begun
        from (
            select study, day, change_id, false as has_begun from touched
            union all
            select study, day, change_id, true as has_begun from begun
        ) as found
        group by study, day, change_id
    ) as found
    group by study, day
)

select
    all_days.study,
    all_days.day,
    -- Videos that are held without a verdict come from a collection that has not ended.
    coalesce(searches.state, 'partial') as state,
    searches.offered,
    searches.kept,
    searches.requests,
    coalesce(videos.n_videos, 0) as n_videos,
    coalesce(videos.n_creators, 0) as n_creators,
    coalesce(comments.n_comments, 0) as n_comments,
    {%- for count in counts %}
    videos.{{ count }}_sum,
    videos.{{ count }}_median,
    {%- endfor %}
    videos.last_seen_at,
    breaks.api_changes,
    breaks.api_changes_started
from all_days
left join searches on all_days.study = searches.study and all_days.day = searches.day
left join videos on all_days.study = videos.study and all_days.day = videos.day
left join comments on all_days.study = comments.study and all_days.day = comments.day
left join breaks on all_days.study = breaks.study and all_days.day = breaks.day

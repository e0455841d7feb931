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
    from ({{ to_take_in(ref('videos'), 'videos') }}) as videos
    group by study, day
    {%- if increment() %}
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
    {%- if increment() %}
    where (study, day) in (
        select study, day from scratch.raw.changed_days where raw_table = 'comments'
        union
        -- A day of which only comments were held is new as soon as its videos are asked.
        (select study, day from all_days except select study, day from {{ this }})
    )
    {%- endif %}
    group by study, day
    {%- if increment() %}
    union all
    select study, day, n_comments
    from {{ this }}
    where n_comments > 0 and not {{ in_changed_days('comments') }}
    {%- endif %}
),

-- A break in the API touches a day by its date, or by the date on which its videos were observed last.
breaks as (
    select
        all_days.study,
        all_days.day,
        {{ collect('epochs.epoch') }} as epochs,
        {{ collect('case when epochs.first_day = all_days.day then epochs.epoch end') }} as epochs_begun
    from all_days
    left join videos on all_days.study = videos.study and all_days.day = videos.day
    inner join {{ ref('epochs') }} as epochs
        on case when epochs.clock = 'published' then all_days.day else cast(videos.last_seen_at as date) end
            between coalesce(epochs.first_day, date '0001-01-01') and coalesce(epochs.last_day, date '9999-12-31')
        or epochs.first_day = all_days.day
    group by all_days.study, all_days.day
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
    breaks.epochs,
    breaks.epochs_begun
from all_days
left join searches on all_days.study = searches.study and all_days.day = searches.day
left join videos on all_days.study = videos.study and all_days.day = videos.day
left join comments on all_days.study = comments.study and all_days.day = comments.day
left join breaks on all_days.study = breaks.study and all_days.day = breaks.day

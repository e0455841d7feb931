{{ config(unique_key=['study', 'username'], delete_where='n_videos = 0') }}
-- depends_on: {{ ref('stg_tiktok__users') }}
with creators as (
    {%- if is_increment() %}
    select study, username from {{ ref('videos') }} where username is not null and {{ in_changed_days('videos') }}
    union
    select study, username from {{ ref('stg_tiktok__users') }}
    union
    -- If a video was observed again under another name, its earlier name has one video fewer.
    select stored.study, stored.username
    from {{ this }} as stored
    left join (
        select study, username, count(*) as n_videos from {{ ref('videos') }} group by study, username
    ) as counted
        on stored.study = counted.study
        and stored.username = counted.username
    where stored.n_videos <> coalesce(counted.n_videos, 0)
    {%- else %}
    select distinct study, username from {{ ref('videos') }} where username is not null
    {%- endif %}
),

videos as (
    select
        study,
        username,
        count(*) as n_videos,
        count(distinct day) as n_days,
        min(created_at) as first_video_at,
        max(created_at) as last_video_at,
        {{ sum_integer('view_count') }} as view_count_sum,
        cast(median(view_count) as double) as view_count_median,
        {{ sum_integer('like_count') }} as like_count_sum,
        {{ sum_integer('comment_count') }} as comment_count_sum,
        {{ sum_integer('share_count') }} as share_count_sum
    from {{ ref('videos') }}
    where username is not null
    {%- if is_increment() %}
    and (study, username) in (select study, username from creators)
    {%- endif %}
    group by study, username
)

select
    creators.study,
    creators.username,
    coalesce(videos.n_videos, 0) as n_videos,
    videos.n_days,
    videos.first_video_at,
    videos.last_video_at,
    videos.view_count_sum,
    videos.view_count_median,
    videos.like_count_sum,
    videos.comment_count_sum,
    videos.share_count_sum,
    users.study is not null as has_profile,
    users.is_verified,
    users.follower_count,
    users.last_seen_at as profile_seen_at
from creators
left join videos
    on creators.study = videos.study
    and creators.username = videos.username
left join {{ ref('users') }} as users
    on creators.study = users.study
    and creators.username = users.username

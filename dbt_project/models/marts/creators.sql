with videos as (
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
    group by study, username
)

select
    videos.study,
    videos.username,
    videos.n_videos,
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
from videos
left join {{ ref('users') }} as users
    on videos.study = users.study
    and videos.username = users.username

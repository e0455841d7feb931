with owned as (
    select
        videos.*,
        owners.owner
    from {{ ref('videos') }} as videos
    inner join {{ ref('int_videos__owners') }} as owners
        on videos.study = owners.study
        and videos.video_id = owners.video_id
),

former as (
    select
        study,
        owner,
        {{ collect_sorted('username') }} as former_usernames
    from (
        select distinct study, owner, username
        from owned
        where username <> owner
        union
        select distinct owned.study, owned.owner, renames.former_username as username
        from owned
        inner join {{ ref('video_renames') }} as renames
            on owned.study = renames.study
            and owned.video_id = renames.video_id
        where renames.former_username <> owned.owner
    ) as names
    group by study, owner
),

videos as (
    select
        study,
        owner as username,
        count(*) as n_videos,
        count(distinct day) as n_days,
        min(created_at) as first_video_at,
        max(created_at) as last_video_at,
        {{ sum_integer('view_count') }} as view_count_sum,
        cast(median(view_count) as double) as view_count_median,
        {{ sum_integer('like_count') }} as like_count_sum,
        {{ sum_integer('comment_count') }} as comment_count_sum,
        {{ sum_integer('share_count') }} as share_count_sum
    from owned
    group by study, owner
)

select
    videos.study,
    videos.username,
    former.former_usernames,
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
left join former
    on videos.study = former.study
    and videos.username = former.owner

{#- A chain of renamed handles is followed over three of them. -#}
{%- set hops = 3 -%}
with handles_0 as (
    select
        study,
        video_id,
        username,
        last_seen_at as named_at
    from {{ ref('videos') }}
    where username is not null
),

renames as (
    select
        study,
        former_username,
        username,
        min(renamed_at) as renamed_at
    from {{ ref('videos') }}
    where former_username is not null and username is not null
    group by study, former_username, username
),

{% for hop in range(1, hops + 1) -%}
-- The next handle of an account that was last observed under an earlier one. A handle can have a new owner later.
next_{{ hop }} as (
    select
        handles.study,
        handles.video_id,
        renames.username,
        renames.renamed_at,
        row_number() over (
            partition by handles.study, handles.video_id order by renames.renamed_at, renames.username
        ) as distance
    from handles_{{ hop - 1 }} as handles
    inner join renames
        on handles.study = renames.study
        and handles.username = renames.former_username
        and handles.named_at < renames.renamed_at
),

handles_{{ hop }} as (
    select
        handles.study,
        handles.video_id,
        coalesce(renamed.username, handles.username) as username,
        coalesce(renamed.renamed_at, handles.named_at) as named_at
    from handles_{{ hop - 1 }} as handles
    left join next_{{ hop }} as renamed
        on handles.study = renamed.study
        and handles.video_id = renamed.video_id
        and renamed.distance = 1
),

{% endfor -%}
owned as (
    select
        videos.*,
        handles.username as owner
    from {{ ref('videos') }} as videos
    inner join handles_{{ hops }} as handles
        on videos.study = handles.study
        and videos.video_id = handles.video_id
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
        select distinct study, owner, former_username as username
        from owned
        where former_username is not null and former_username <> owner
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

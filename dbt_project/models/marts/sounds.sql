select
    videos.study,
    videos.music_id,
    count(*) as n_videos,
    count(distinct owners.owner) as n_creators,
    count(distinct videos.day) as n_days,
    min(videos.created_at) as first_video_at,
    max(videos.created_at) as last_video_at,
    {{ sum_integer('videos.view_count') }} as view_count_sum,
    cast(median(videos.view_count) as double) as view_count_median,
    {{ sum_integer('videos.like_count') }} as like_count_sum,
    min(videos.first_seen_at) as first_seen_at,
    max(videos.last_seen_at) as last_seen_at
from {{ ref('videos') }} as videos
left join {{ ref('int_videos__owners') }} as owners
    on videos.study = owners.study
    and videos.video_id = owners.video_id
where videos.music_id is not null
group by videos.study, videos.music_id

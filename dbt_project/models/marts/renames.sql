select
    study,
    former_username,
    username,
    max(former_seen_at) as former_seen_at,
    min(renamed_at) as renamed_at,
    count(distinct video_id) as n_videos
from {{ ref('video_renames') }}
group by study, former_username, username

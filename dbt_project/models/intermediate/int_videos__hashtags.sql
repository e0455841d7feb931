select
    study,
    video_id,
    day,
    username,
    view_count,
    like_count,
    {{ explode('hashtags') }} as hashtag
from {{ ref('videos') }}

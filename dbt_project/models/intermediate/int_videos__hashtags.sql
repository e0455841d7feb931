select
    study,
    video_id,
    day,
    username,
    view_count,
    like_count,
    {{ explode('hashtags') }} as hashtag
from ({{ to_take_in(ref('videos'), 'videos') }}) as videos

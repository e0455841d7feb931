{%- set entries = {
    'followers': 'username',
    'following': 'username',
    'liked_videos': 'cast(video_id as string)',
    'reposted_videos': 'cast(video_id as string)',
    'pinned_videos': 'cast(video_id as string)'
} -%}
{%- for entity, entry in entries.items() %}
select
    study,
    '{{ entity }}' as entity,
    asked_username as username,
    {{ entry }} as entry,
    capture,
    min(position) as position,
    min(observed_at) as observed_at
from {{ ref('stg_tiktok__' ~ entity) }}
where asked_username is not null and {{ 'username' if entry == 'username' else 'video_id' }} is not null
group by study, asked_username, {{ 'username' if entry == 'username' else 'video_id' }}, capture
{{ 'union all' if not loop.last }}
{%- endfor %}

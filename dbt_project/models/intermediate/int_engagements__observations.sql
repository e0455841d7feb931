{%- for kind, entity in engagement_lists().items() %}
select
    study,
    asked_username as username,
    video_id,
    '{{ kind }}' as kind,
    '{{ entity }}' as entity,
    position,
    username as video_username,
    region_code as video_region_code,
    created_at as video_created_at,
    description as video_description,
    hashtags as video_hashtags,
    view_count as video_view_count,
    capture,
    observed_at
from {{ ref('stg_tiktok__' ~ entity) }}
{{ 'union all' if not loop.last }}
{%- endfor %}

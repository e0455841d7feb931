{%- set counts = ['follower_count', 'following_count', 'like_count', 'video_count'] -%}
select
    study,
    username,
    observed_at,
    capture,
    day,
    row_number() over series as observation_number,
    display_name,
    bio_description,
    is_verified,
    {%- for count in counts %}
    {{ count }},
    {{ count }} - lag({{ count }}) over series as {{ count }}_change{{ ',' if not loop.last }}
    {%- endfor %}
from {{ ref('stg_tiktok__users') }}
window series as (partition by study, username order by observed_at, capture)

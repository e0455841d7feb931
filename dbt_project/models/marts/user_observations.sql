{{ config(unique_key=['study', 'username']) }}
{%- set counts = ['follower_count', 'following_count', 'like_count', 'video_count'] -%}
{%- set columns = [
    'study', 'username', 'observed_at', 'capture', 'day', 'display_name', 'bio_description', 'bio_url', 'avatar_url',
    'is_verified', 'follower_count', 'following_count', 'like_count', 'video_count', 'unknown_fields_json'
] -%}
with new_observations as (
    select {{ columns | join(', ') }} from {{ ref('stg_tiktok__users') }}
),

observations as (
    select * from new_observations
    {%- if is_increment() %}
    union all
    -- Stored observations of the accounts that were observed again.
    select {{ columns | join(', ') }} from {{ this }}
    where (study, username) in (select study, username from new_observations)
    {%- endif %}
)

select
    study,
    username,
    observed_at,
    capture,
    day,
    cast(row_number() over series as bigint) as observation_number,
    display_name,
    bio_description,
    bio_url,
    avatar_url,
    is_verified,
    {%- for count in counts %}
    {{ count }},
    {{ count }} - lag({{ count }}) over series as {{ count }}_change,
    {%- endfor %}
    unknown_fields_json
from observations
window series as (partition by study, username order by observed_at, capture)

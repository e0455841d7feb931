{{ config(
    materialized='table' if target.type == 'spark' else 'incremental',
    incremental_strategy='delete+insert',
    unique_key=['study', 'username']
) }}
{%- set counts = ['follower_count', 'following_count', 'like_count', 'video_count'] -%}
{%- set changed_users = changed_rows(ref('stg_tiktok__users'), 'users') -%}
with observations as (
    select * from {{ ref('stg_tiktok__users') }}
    {%- if is_incremental() %}
    -- The whole series of the accounts that were observed again.
    where (study, username) in (select study, username from ({{ changed_users }}) as changed_users)
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
    {{ difference(count, 'lag(' ~ count ~ ') over series') }} as {{ count }}_change,
    {%- endfor %}
    unknown_fields_json
from observations
window series as (partition by study, username order by observed_at, capture)

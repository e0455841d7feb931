{{ config(
    materialized='table' if target.type == 'spark' else 'incremental',
    incremental_strategy='delete+insert',
    unique_key=['study', 'username']
) }}
{%- set changed_users = changed_rows(ref('stg_tiktok__users'), 'users') -%}
with observations as (
    select * from {{ ref('user_observations') }}
    {%- if is_incremental() %}
    where (study, username) in (select study, username from ({{ changed_users }}) as changed_users)
    {%- endif %}
),

series as (
    select
        study,
        username,
        min(observed_at) as first_seen_at,
        max(observed_at) as last_seen_at,
        max(observation_number) as n_observations
    from observations
    group by study, username
)

select
    observations.study,
    observations.username,
    observations.display_name,
    observations.bio_description,
    observations.bio_url,
    observations.avatar_url,
    observations.is_verified,
    observations.follower_count,
    observations.following_count,
    observations.like_count,
    observations.video_count,
    observations.unknown_fields_json,
    series.first_seen_at,
    series.last_seen_at,
    series.n_observations,
    observations.capture
from observations
inner join series
    on observations.study = series.study
    and observations.username = series.username
    and observations.observation_number = series.n_observations

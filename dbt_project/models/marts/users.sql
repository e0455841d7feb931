{{ config(unique_key=['study', 'username']) }}
with news as (
    select study, username from {{ ref('stg_tiktok__users') }}
),

observations as (
    select * from {{ ref('user_observations') }}
    {%- if is_increment() %}
    where (study, username) in (select study, username from news)
    {%- endif %}
),

seen as (
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
    seen.first_seen_at,
    seen.last_seen_at,
    seen.n_observations,
    observations.capture
from observations
inner join seen
    on observations.study = seen.study
    and observations.username = seen.username
    and observations.observation_number = seen.n_observations

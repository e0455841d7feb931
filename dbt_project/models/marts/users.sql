with observations as (
    select * from {{ ref('stg_tiktok__users') }}
),

latest as (
    select * from {{ ref('int_users__latest') }}
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
    {{ days_between('latest.last_seen_at', now()) }} as counts_age_days,
    latest.first_seen_at,
    latest.last_seen_at,
    latest.n_observations,
    observations.capture
from observations
inner join latest
    on observations.study = latest.study
    and observations.username = latest.username
    and observations.capture = latest.capture

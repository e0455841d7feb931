with observations as (
    select
        study,
        username as source_username,
        asked_username as target_username,
        observed_at,
        true as is_in_followers,
        false as is_in_following
    from {{ ref('stg_tiktok__followers') }}
    union all
    select
        study,
        asked_username as source_username,
        username as target_username,
        observed_at,
        false as is_in_followers,
        true as is_in_following
    from {{ ref('stg_tiktok__following') }}
)

select
    study,
    source_username,
    target_username,
    min(observed_at) as first_seen_at,
    max(observed_at) as last_seen_at,
    count(*) as n_observations,
    bool_or(is_in_followers) as is_in_followers,
    bool_or(is_in_following) as is_in_following
from observations
where source_username is not null and target_username is not null
group by study, source_username, target_username

with relations as (
    select * from {{ ref('int_follows__observations') }}
),

complete_attempts as (
    select * from {{ ref('int_lists__complete_attempts') }}
),

checked as (
    select
        relations.*,
        followers.completeness as followers_completeness,
        following.completeness as following_completeness,
        -- Start of the newest complete attempt that began after the last observation, at a list that should contain
        -- the relation.
        greatest(
            case
                when followers.last_complete_started_at > relations.last_seen_at then followers.last_complete_started_at
            end,
            case
                when following.last_complete_started_at > relations.last_seen_at then following.last_complete_started_at
            end
        ) as missed_at
    from relations
    left join complete_attempts as followers
        on relations.study = followers.study
        and relations.target_username = followers.username
        and followers.entity = 'followers'
    left join complete_attempts as following
        on relations.study = following.study
        and relations.source_username = following.username
        and following.entity = 'following'
)

select
    checked.study,
    checked.source_username,
    checked.target_username,
    checked.first_seen_at,
    checked.last_seen_at,
    checked.missed_at,
    checked.n_observations,
    checked.is_in_followers,
    checked.is_in_following,
    checked.missed_at is null as is_current,
    checked.missed_at is null
    and reverse.source_username is not null
    and reverse.missed_at is null as is_mutual,
    checked.followers_completeness,
    checked.following_completeness
from checked
left join checked as reverse
    on checked.study = reverse.study
    and checked.source_username = reverse.target_username
    and checked.target_username = reverse.source_username

with sightings as (
    select * from {{ ref('int_follows__sightings') }}
),

looks as (
    select * from {{ ref('int_lists__looks') }}
),

judged as (
    select
        sightings.*,
        -- The newest complete look, begun after the last sighting, at a list that should have shown the relation.
        greatest(
            case when followers.looked_at > sightings.last_seen_at then followers.looked_at end,
            case when following.looked_at > sightings.last_seen_at then following.looked_at end
        ) as missed_at
    from sightings
    left join looks as followers
        on sightings.study = followers.study
        and sightings.target_username = followers.username
        and followers.entity = 'followers'
    left join looks as following
        on sightings.study = following.study
        and sightings.source_username = following.username
        and following.entity = 'following'
)

select
    judged.study,
    judged.source_username,
    judged.target_username,
    judged.first_seen_at,
    judged.last_seen_at,
    judged.missed_at,
    judged.n_observations,
    judged.is_in_followers,
    judged.is_in_following,
    judged.missed_at is null as is_current,
    judged.missed_at is null
    and reverse.source_username is not null
    and reverse.missed_at is null as is_mutual
from judged
left join judged as reverse
    on judged.study = reverse.study
    and judged.source_username = reverse.target_username
    and judged.target_username = reverse.source_username

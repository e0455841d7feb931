with sightings as (
    select * from {{ ref('int_follows__observations') }}
),

held as (
    {%- if is_increment() %}
    -- What is held and what came since, put together.
    select
        study,
        source_username,
        target_username,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        {{ sum_integer('n_observations') }} as n_observations,
        bool_or(is_in_followers) as is_in_followers,
        bool_or(is_in_following) as is_in_following
    from (
        select * from sightings
        union all
        select
            study,
            source_username,
            target_username,
            first_seen_at,
            last_seen_at,
            n_observations,
            is_in_followers,
            is_in_following
        from {{ this }}
    ) as together
    group by study, source_username, target_username
    {%- else %}
    select * from sightings
    {%- endif %}
),

looks as (
    select * from {{ ref('int_lists__complete_attempts') }}
),

judged as (
    select
        held.*,
        followers.completeness as followers_completeness,
        following.completeness as following_completeness,
        -- The newest complete look, begun after the last sighting, at a list that should have shown the relation.
        greatest(
            case when followers.last_complete_started_at > held.last_seen_at then followers.last_complete_started_at end,
            case when following.last_complete_started_at > held.last_seen_at then following.last_complete_started_at end
        ) as missed_at
    from held
    left join looks as followers
        on held.study = followers.study
        and held.target_username = followers.username
        and followers.entity = 'followers'
    left join looks as following
        on held.study = following.study
        and held.source_username = following.username
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
    and reverse.missed_at is null as is_mutual,
    judged.followers_completeness,
    judged.following_completeness
from judged
left join judged as reverse
    on judged.study = reverse.study
    and judged.source_username = reverse.target_username
    and judged.target_username = reverse.source_username

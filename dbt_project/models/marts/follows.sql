with complete_attempts as (
    select * from {{ ref('int_lists__complete_attempts') }}
    where is_newest
),

relations as (
    select
        study,
        case when entity = 'followers' then entry else username end as source_username,
        case when entity = 'followers' then username else entry end as target_username,
        max(absent_at) as absent_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(missed_at) as missed_at,
        cast(sum(n_observations) as bigint) as n_observations,
        bool_or(entity = 'followers') as is_in_followers,
        bool_or(entity = 'following') as is_in_following,
        max(case when is_listed then 1 else 0 end) as n_listed
    from {{ ref('int_lists__entries') }}
    where entity in ('followers', 'following')
    group by
        study,
        case when entity = 'followers' then entry else username end,
        case when entity = 'followers' then username else entry end
),

checked as (
    select
        study,
        source_username,
        target_username,
        first_seen_at,
        last_seen_at,
        case when missed_at > last_seen_at then missed_at end as missed_at,
        n_observations,
        is_in_followers,
        is_in_following,
        case
            when missed_at > last_seen_at then false
            when n_listed = 1 then true
        end as is_current,
        -- The other list can have contained the relation before.
        not coalesce(absent_at < first_seen_at, false) as is_left_censored
    from relations
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
    checked.is_left_censored,
    checked.is_current,
    case
        when reverse.source_username is null then false
        else checked.is_current and reverse.is_current
    end as is_mutual,
    followers.completeness as followers_completeness,
    following.completeness as following_completeness
from checked
left join checked as reverse
    on checked.study = reverse.study
    and checked.source_username = reverse.target_username
    and checked.target_username = reverse.source_username
left join complete_attempts as followers
    on checked.study = followers.study
    and checked.target_username = followers.username
    and followers.entity = 'followers'
left join complete_attempts as following
    on checked.study = following.study
    and checked.source_username = following.username
    and following.entity = 'following'

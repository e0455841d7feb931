with complete_attempts as (
    select * from {{ ref('int_lists__complete_attempts') }}
),

listed as (
    select
        *,
        case when entity = 'followers' then entry else username end as source_username,
        case when entity = 'followers' then username else entry end as target_username
    from {{ ref('int_lists__entries') }}
    where entity in ('followers', 'following')
),

relations as (
    select
        study,
        source_username,
        target_username,
        min(absent_at) as absent_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        cast(sum(n_observations) as bigint) as n_observations,
        bool_or(entity = 'followers') as is_in_followers,
        bool_or(entity = 'following') as is_in_following,
        max(case when is_listed then 1 else 0 end) as n_listed
    from listed
    group by study, source_username, target_username
),

-- A list can have missed the relation before the other list contained it. Then its next attempts count.
misses as (
    select
        listed.study,
        listed.source_username,
        listed.target_username,
        min(
            case when listed.missed_at > relations.last_seen_at then listed.missed_at else attempts.started_at end
        ) as missed_at
    from listed
    inner join relations
        on listed.study = relations.study
        and listed.source_username = relations.source_username
        and listed.target_username = relations.target_username
    left join complete_attempts as attempts
        on listed.study = attempts.study
        and listed.entity = attempts.entity
        and listed.username = attempts.username
        and listed.missed_at <= relations.last_seen_at
        and relations.last_seen_at < attempts.started_at
        and attempts.is_whole
    where listed.missed_at is not null
    group by listed.study, listed.source_username, listed.target_username
),

checked as (
    select
        relations.study,
        relations.source_username,
        relations.target_username,
        relations.first_seen_at,
        relations.last_seen_at,
        misses.missed_at,
        relations.n_observations,
        relations.is_in_followers,
        relations.is_in_following,
        case
            when misses.missed_at is not null then false
            when relations.n_listed = 1 then true
        end as is_current,
        -- The other list can have contained the relation before.
        not coalesce(relations.absent_at < relations.first_seen_at, false) as is_left_censored
    from relations
    left join misses
        on relations.study = misses.study
        and relations.source_username = misses.source_username
        and relations.target_username = misses.target_username
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
    and followers.is_newest
left join complete_attempts as following
    on checked.study = following.study
    and checked.source_username = following.username
    and following.entity = 'following'
    and following.is_newest

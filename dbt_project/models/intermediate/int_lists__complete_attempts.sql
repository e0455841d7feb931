with complete as (
    select
        study,
        entity,
        unit as username,
        capture,
        min(first_at) as started_at,
        max(last_at) as ended_at,
        max(kept) as n_entries,
        max(expected) as expected
    from {{ ref('stg_research__coverage') }}
    -- An incomplete attempt is no evidence that an entry was not listed.
    where
        unit_kind = 'account'
        and state = 'complete'
        and first_at is not null
        and entity in ('followers', 'following', 'liked_videos', 'reposted_videos', 'pinned_videos')
    group by study, entity, unit, capture
)

select
    study,
    entity,
    username,
    capture,
    started_at,
    ended_at,
    -- The list can be longer than the profile's count, which was observed at another time.
    case
        when expected > 0 and n_entries > expected then cast(1 as double)
        when expected > 0 then cast(n_entries as double) / expected
    end as completeness,
    -- The API lists the newest 4,000 to 5,000 followers (reference 3.7). That lists of likes and reposts have no such
    -- end is not known.
    case
        when entity = 'pinned_videos' then true
        when entity in ('followers', 'following') then coalesce(n_entries < 4000, false)
        else false
    end as is_whole,
    row_number() over (
        partition by study, entity, username order by started_at desc, capture desc
    ) = 1 as is_newest
from complete

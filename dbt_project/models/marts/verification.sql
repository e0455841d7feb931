with items as (
    select study, 'video' as kind, day, last_seen_at, last_verified_at from {{ ref('videos') }}
    union all
    select study, 'comment' as kind, day, last_seen_at, last_verified_at from {{ ref('comments') }}
),

dated as (
    select
        items.*,
        build.built_at,
        {{ add_days('items.last_verified_at', 'build.verify_days') }} as due_at
    from items
    cross join {{ source('raw', 'build') }} as build
)

select
    study,
    kind,
    day,
    count(*) as n_items,
    count(*) filter (where last_verified_at > last_seen_at) as n_verified,
    count(*) filter (where due_at <= built_at) as n_overdue,
    min(last_verified_at) as oldest_verified_at,
    max(last_verified_at) as newest_verified_at,
    min(due_at) as first_due_at
from dated
group by study, kind, day

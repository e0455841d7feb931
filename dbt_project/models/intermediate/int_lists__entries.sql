{%- set list = ['study', 'entity', 'username'] -%}
with observations as (
    select * from {{ ref('int_lists__observations') }}
),

attempts as (
    select * from {{ ref('int_lists__complete_attempts') }}
),

ranked as (
    select
        *,
        row_number() over (partition by {{ list | join(', ') }}, entry order by observed_at, capture) as oldest,
        row_number() over (
            partition by {{ list | join(', ') }}, entry order by observed_at desc, capture desc
        ) as newest
    from observations
),

entries as (
    select
        {{ list | join(', ') }},
        entry,
        min(observed_at) as first_seen_at,
        max(observed_at) as last_seen_at,
        count(*) as n_observations,
        max(case when oldest = 1 then capture end) as first_capture,
        max(case when oldest = 1 then position end) as first_position,
        max(case when newest = 1 then capture end) as last_capture,
        max(case when newest = 1 then position end) as last_position
    from ranked
    group by {{ list | join(', ') }}, entry
),

captures as (
    select
        {{ list | join(', ') }},
        capture,
        min(observed_at) as began_at,
        max(observed_at) as ended_at
    from observations
    group by {{ list | join(', ') }}, capture
),

-- The next complete attempt after a capture, and the one before it.
neighbours as (
    select
        captures.study,
        captures.entity,
        captures.username,
        captures.capture,
        attempts.capture as other_capture,
        attempts.started_at,
        attempts.is_whole,
        attempts.started_at > captures.ended_at as is_later,
        row_number() over (
            partition by
                captures.study,
                captures.entity,
                captures.username,
                captures.capture,
                attempts.started_at > captures.ended_at
            order by
                case when attempts.started_at > captures.ended_at then attempts.started_at end,
                case when attempts.started_at <= captures.ended_at then attempts.started_at end desc,
                attempts.capture
        ) as distance
    from captures
    inner join attempts
        on captures.study = attempts.study
        and captures.entity = attempts.entity
        and captures.username = attempts.username
        and captures.capture <> attempts.capture
        and (captures.ended_at < attempts.started_at or captures.began_at > attempts.ended_at)
),

nearest as (
    select *
    from neighbours
    where distance = 1
),

-- A list begins with its newest entry. The position in the capture of the oldest entry that the other attempt contains
-- too: the list of that attempt reaches back at least to this position.
reach as (
    select
        nearest.study,
        nearest.entity,
        nearest.username,
        nearest.capture,
        nearest.is_later,
        case
            when nearest.is_later then max_by(here.position, there.position)
            else max(here.position)
        end as reached_position
    from nearest
    inner join observations as here
        on nearest.study = here.study
        and nearest.entity = here.entity
        and nearest.username = here.username
        and nearest.capture = here.capture
    inner join observations as there
        on nearest.study = there.study
        and nearest.entity = there.entity
        and nearest.username = there.username
        and nearest.other_capture = there.capture
        and here.entry = there.entry
    where not nearest.is_whole
    group by nearest.study, nearest.entity, nearest.username, nearest.capture, nearest.is_later
),

bounds as (
    select
        nearest.study,
        nearest.entity,
        nearest.username,
        nearest.capture,
        nearest.is_later,
        nearest.started_at,
        nearest.is_whole,
        reach.reached_position
    from nearest
    left join reach
        on nearest.study = reach.study
        and nearest.entity = reach.entity
        and nearest.username = reach.username
        and nearest.capture = reach.capture
        and nearest.is_later = reach.is_later
)

select
    entries.study,
    entries.entity,
    entries.username,
    entries.entry,
    case
        when earlier.is_whole or entries.first_position < earlier.reached_position then earlier.started_at
    end as absent_at,
    entries.first_seen_at,
    entries.last_seen_at,
    case
        when later.is_whole or entries.last_position < later.reached_position then later.started_at
    end as missed_at,
    entries.n_observations,
    case
        when later.capture is null then true
        when later.is_whole or entries.last_position < later.reached_position then false
    end as is_listed
from entries
left join bounds as earlier
    on entries.study = earlier.study
    and entries.entity = earlier.entity
    and entries.username = earlier.username
    and entries.first_capture = earlier.capture
    and not earlier.is_later
left join bounds as later
    on entries.study = later.study
    and entries.entity = later.entity
    and entries.username = later.username
    and entries.last_capture = later.capture
    and later.is_later

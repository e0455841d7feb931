with complete as (
    select
        study,
        partition_day as day,
        capture,
        min(first_at) as started_at,
        max(last_at) as ended_at,
        max(offered) as offered,
        max(kept) as kept
    from {{ ref('stg_research__coverage') }}
    -- An incomplete attempt is no evidence that a video was not returned.
    where entity = 'videos' and unit_kind = 'day' and state = 'complete' and first_at is not null
    group by study, partition_day, capture
)

select
    study,
    day,
    capture,
    started_at,
    ended_at,
    offered,
    kept,
    cast(row_number() over rounds as bigint) as round_number,
    cast(count(*) over (partition by study, day) as bigint) as n_rounds,
    lag(started_at) over rounds as previous_started_at,
    lag(ended_at) over rounds as previous_ended_at,
    lead(started_at) over rounds as next_started_at
from complete
window rounds as (partition by study, day order by ended_at, capture)

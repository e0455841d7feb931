{{ config(rebuild_days_of='coverage', day='partition_day', always_rebuild_where='n_attempts = 0') }}
{%- set unit = ['study', 'entity', 'partition_day', 'unit_kind', 'unit'] -%}
with attempts as (
    select
        *,
        -- A complete unit stays complete, because a later attempt that failed removed no data. A canary is searched for
        -- every week, so its newest attempt counts.
        row_number() over (
            partition by {{ unit | join(', ') }}
            order by
                case when state = 'complete' and unit_kind <> 'canary' then 0 else 1 end,
                last_at desc nulls last,
                case when state = 'partial' then 1 else 0 end,
                capture desc
        ) as preference,
        row_number() over (
            partition by {{ unit | join(', ') }}
            order by last_at desc nulls last, case when state = 'partial' then 1 else 0 end, capture desc
        ) as recency
    from {{ ref('stg_research__coverage') }}
    {%- if is_increment() %}
    where {{ in_changed_days('coverage', 'partition_day') }}
    {%- endif %}
),

attempted as (
    select
        {{ unit | join(', ') }},
        max(case when preference = 1 then state end) as state,
        max(case when preference = 1 then asked end) as asked,
        max(case when preference = 1 then offered end) as offered,
        max(case when preference = 1 then kept end) as kept,
        max(case when preference = 1 then expected end) as expected,
        max(case when preference = 1 then inclusion_probability end) as inclusion_probability,
        max(case when preference = 1 then capture end) as capture,
        -- One attempt may have several rows of an open journal; they name the same capture.
        count(distinct coalesce(capture, '')) as n_attempts,
        cast(sum(requests) as double) as requests,
        min(first_at) as first_at,
        max(last_at) as last_at,
        max(case when state = 'complete' then last_at end) as completed_at,
        max(case when state = 'complete' then first_at end) as last_complete_started_at,
        max(case when recency = 1 then state end) as last_attempt_state,
        max(case when recency = 1 then reason end) as reason,
        max(case when recency = 1 then next_try_at end) as next_try_at
    from attempts
    group by {{ unit | join(', ') }}
),

unattempted as (
    select
        expected_units.study,
        expected_units.entity,
        expected_units.partition_day,
        expected_units.unit_kind,
        expected_units.unit,
        expected_units.due_at
    from {{ ref('stg_research__expected_units') }} as expected_units
    left join attempted
        on expected_units.study = attempted.study
        and expected_units.entity = attempted.entity
        and expected_units.partition_day = attempted.partition_day
        and expected_units.unit_kind = attempted.unit_kind
        and expected_units.unit = attempted.unit
    where attempted.study is null
    {%- if is_increment() %}
    union all
    -- In the other partitions only the time changed, so a unit may have become due.
    select {{ unit | join(', ') }}, next_try_at as due_at
    from {{ this }}
    where n_attempts = 0 and not {{ in_changed_days('coverage', 'partition_day') }}
    {%- endif %}
)

select
    {{ unit | join(', ') }},
    state,
    asked,
    offered,
    kept,
    expected,
    inclusion_probability,
    n_attempts,
    requests,
    first_at,
    last_at,
    last_complete_started_at,
    completed_at,
    last_attempt_state,
    reason,
    next_try_at,
    capture
from attempted
union all
select
    {{ unit | join(', ') }},
    case when due_at > {{ now() }} then 'too_fresh' else 'not_asked' end as state,
    0 as asked,
    0 as offered,
    0 as kept,
    cast(null as bigint) as expected,
    cast(null as double) as inclusion_probability,
    0 as n_attempts,
    cast(0 as double) as requests,
    {{ to_timestamp_utc('null') }} as first_at,
    {{ to_timestamp_utc('null') }} as last_at,
    {{ to_timestamp_utc('null') }} as last_complete_started_at,
    {{ to_timestamp_utc('null') }} as completed_at,
    cast(null as string) as last_attempt_state,
    case
        when due_at > {{ now() }} then 'Too recent to be collected'
        else 'Expected by the study, not requested yet'
    end as reason,
    due_at as next_try_at,
    cast(null as string) as capture
from unattempted

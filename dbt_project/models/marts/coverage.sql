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
        ) as recency,
        row_number() over (
            partition by {{ unit | join(', ') }}
            order by case when state = 'complete' then 0 else 1 end, last_at asc nulls last, capture asc
        ) as earliness
    from {{ ref('stg_research__coverage') }}
),

attempted as (
    select
        {{ unit | join(', ') }},
        max(case when preference = 1 then state end) as state,
        max(case when preference = 1 then asked end) as asked,
        max(case when preference = 1 then offered end) as offered,
        max(case when preference = 1 then kept end) as kept,
        max(case when preference = 1 then expected end) as expected,
        max(case when earliness = 1 and state = 'complete' then offered end) as first_offered,
        max(case when earliness = 1 and state = 'complete' then kept end) as first_kept,
        max(case when earliness = 1 and state = 'complete' then last_at end) as first_completed_at,
        max(case when preference = 1 then inclusion_probability end) as inclusion_probability,
        max(case when preference = 1 then selection end) as selection,
        max(case when preference = 1 then selection_rank end) as selection_rank,
        max(case when preference = 1 then selected_at end) as selected_at,
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

-- A rejected value is part of a row that was kept.
rejected as (
    select study, entity, partition_day, unit, capture, count(*) as n_rejected
    from {{ ref('stg_research__rejected') }}
    where field is null
    group by study, entity, partition_day, unit, capture
),

unattempted as (
    select
        expected_units.study,
        expected_units.entity,
        expected_units.partition_day,
        expected_units.unit_kind,
        expected_units.unit,
        expected_units.due_at,
        -- The probability of a day is in the mart study_days: each of its units was selected on it.
        case when expected_units.unit_kind = 'video' then expected_units.inclusion_probability end
            as inclusion_probability,
        expected_units.due_at > build.built_at as is_too_fresh
    from {{ ref('stg_research__expected_units') }} as expected_units
    cross join {{ source('raw', 'build') }} as build
    left join attempted
        on expected_units.study = attempted.study
        and expected_units.entity = attempted.entity
        and expected_units.partition_day = attempted.partition_day
        and expected_units.unit_kind = attempted.unit_kind
        and expected_units.unit = attempted.unit
    where attempted.study is null
)

select
    {%- for column in unit %}
    attempted.{{ column }},
    {%- endfor %}
    attempted.state,
    attempted.asked,
    attempted.offered,
    attempted.kept,
    attempted.expected,
    attempted.first_offered,
    attempted.first_kept,
    coalesce(rejected.n_rejected, 0) as n_rejected,
    attempted.selection,
    attempted.selection_rank,
    attempted.selected_at,
    case
        when attempted.selection in ('all', 'sample')
            then coalesce(designs.inclusion_probability, attempted.inclusion_probability)
        else attempted.inclusion_probability
    end as inclusion_probability,
    attempted.n_attempts,
    attempted.requests,
    attempted.first_at,
    attempted.last_at,
    attempted.first_completed_at,
    attempted.last_complete_started_at,
    attempted.completed_at,
    attempted.last_attempt_state,
    attempted.reason,
    attempted.next_try_at,
    attempted.capture
from attempted
left join rejected
    on attempted.study = rejected.study
    and attempted.entity = rejected.entity
    and attempted.partition_day = rejected.partition_day
    and attempted.unit = rejected.unit
    and attempted.capture = rejected.capture
left join {{ ref('int_comments__probabilities') }} as designs
    on attempted.entity = 'comments'
    and attempted.unit_kind = 'video'
    and attempted.study = designs.study
    and attempted.partition_day = designs.day
    and attempted.unit = cast(designs.video_id as string)
union all
select
    {{ unit | join(', ') }},
    case when is_too_fresh then 'too_fresh' else 'not_asked' end as state,
    0 as asked,
    cast(null as bigint) as offered,
    cast(null as bigint) as kept,
    cast(null as bigint) as expected,
    cast(null as bigint) as first_offered,
    cast(null as bigint) as first_kept,
    0 as n_rejected,
    cast(null as string) as selection,
    cast(null as bigint) as selection_rank,
    {{ to_timestamp_utc('null') }} as selected_at,
    inclusion_probability,
    0 as n_attempts,
    cast(0 as double) as requests,
    {{ to_timestamp_utc('null') }} as first_at,
    {{ to_timestamp_utc('null') }} as last_at,
    {{ to_timestamp_utc('null') }} as first_completed_at,
    {{ to_timestamp_utc('null') }} as last_complete_started_at,
    {{ to_timestamp_utc('null') }} as completed_at,
    cast(null as string) as last_attempt_state,
    case
        when is_too_fresh then 'Too recent to be collected'
        else 'Expected by the study, not requested yet'
    end as reason,
    due_at as next_try_at,
    cast(null as string) as capture
from unattempted

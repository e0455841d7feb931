{#- Every column of the order can be null, and the engines differ in where nulls come by default. -#}
{%- set order = [
    'entity', 'unit', 'partition_day', 'position', 'field', 'reason', 'observed_at', 'value_json'
] -%}
select
    study,
    day,
    capture,
    cast(
        row_number() over (
            partition by study, day, capture order by {{ order | join(' nulls last, ') }} nulls last
        ) as bigint
    ) as rejection_number,
    entity,
    unit,
    partition_day,
    position,
    field,
    reason,
    value_json,
    observed_at
from {{ ref('stg_research__rejected') }}

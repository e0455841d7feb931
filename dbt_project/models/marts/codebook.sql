{%- set names = marts_in_codebook() -%}
with by_month as (
    select
        mart,
        column_name,
        {{ month_of('day') }} as month,
        {{ sum_integer('n_rows') }} as n_rows,
        {{ sum_integer('n_filled') }} as n_filled
    from {{ ref('int_marts__filled') }}
    group by mart, column_name, {{ month_of('day') }}
),

rates as (
    select
        mart,
        column_name,
        {{ sum_integer('n_rows') }} as n_rows,
        {{ sum_integer('n_filled') }} as n_filled,
        {{ collect_months('month', 'n_rows', 'n_filled') }} as fill_by_month
    from by_month
    group by mart, column_name
),

last_days as (
    select mart, max(day) as last_day
    from {{ ref('int_marts__filled') }}
    group by mart
),

newest as (
    select distinct filled.mart, filled.day
    from {{ ref('int_marts__filled') }} as filled
    inner join last_days on filled.mart = last_days.mart
    where filled.day > last_days.last_day - interval '7' day
),

chosen as (
    {%- for name in names if not is_idle(name) %}
    {{ examples_of(ref(name), mart_node(name)) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

shown as (
    -- Fewer than ten values may point at somebody.
    select
        mart,
        column_name,
        case when n >= 10 then coalesce({{ five_of('texts') }}, {{ numbers_in_words('numbers') }}) end as examples
    from chosen
    {%- if increment() %}
    union all
    select mart, column_name, examples from {{ this }} where mart in ('{{ var('idle', []) | join("', '") }}')
    {%- endif %}
),

described (mart, column_number, column_name, meaning, type, unit, source_field, available_since) as (
    {%- if increment() %}
    -- What the project says is what it said when everything was built.
    select mart, column_number, column_name, meaning, type, unit, source_field, available_since from {{ this }}
    {%- else %}
    {{ described_columns(names + ['codebook']) }}
    {%- endif %}
)

select
    described.mart,
    described.column_number,
    described.column_name,
    described.meaning,
    described.type,
    described.unit,
    described.source_field,
    described.available_since,
    rates.n_rows,
    rates.n_filled,
    cast(rates.n_filled as double) / nullif(rates.n_rows, 0) as fill_rate,
    rates.fill_by_month,
    shown.examples
from described
left join rates on described.mart = rates.mart and described.column_name = rates.column_name
left join shown on described.mart = shown.mart and described.column_name = shown.column_name

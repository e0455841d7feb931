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

shown as (
    {%- for name in names if not is_idle(name) %}
    select '{{ name }}' as mart, column_name, examples
    from ({{ examples_of(ref(name), mart_node(name)) }}) as {{ name }}_shown
    {{ 'union all' if not loop.last }}
    {%- endfor %}
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

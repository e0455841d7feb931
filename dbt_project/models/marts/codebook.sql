{%- set names = [
    'videos', 'video_observations', 'comments', 'users', 'user_observations', 'follows', 'engagements', 'hashtags',
    'hashtag_pairs', 'creators', 'days', 'coverage', 'quota', 'epochs'
] -%}
with
{%- for name in names %}
{%- set relation, mart = ref(name), mart_node(name) %}
{{ name }}_filled as (
    {{ filled_by_month(relation, mart) }}
),

{{ name }}_shown as (
    {{ examples_of(relation, mart) }}
),
{% endfor %}
filled as (
    {%- for name in names %}
    select '{{ name }}' as mart, column_name, month, n_rows, n_filled from {{ name }}_filled
    {{ 'union all' if not loop.last }}
    {%- endfor %}
    {%- if increment() %}
    union all
    -- The months of which nothing was made anew.
    select mart, column_name, held.month, held.n_rows, held.n_filled
    from (select mart, column_name, {{ explode('fill_by_month') }} as held from {{ this }}) as months
    where {% for name in names if is_made_by_day(mart_node(name)) -%}
        (mart = '{{ name }}' and not {{ in_changed_months(mart_node(name), 'held.month') }}){{ ' or ' if not loop.last }}
    {%- endfor %}
    {%- endif %}
),

rates as (
    select
        mart,
        column_name,
        {{ sum_integer('n_rows') }} as n_rows,
        {{ sum_integer('n_filled') }} as n_filled,
        {{ collect_months('month', 'n_rows', 'n_filled') }} as fill_by_month
    from filled
    group by mart, column_name
),

shown as (
    {%- for name in names %}
    select '{{ name }}' as mart, column_name, examples from {{ name }}_shown
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

described (mart, column_number, column_name, meaning, type, unit, source_field, available_since) as (
    {{ described_columns(names + ['codebook']) }}
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

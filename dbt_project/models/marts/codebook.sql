{%- set names = marts_in_codebook() -%}
with by_month as (
    select
        mart,
        column_name,
        {{ month_of('day') }} as month,
        {{ sum_integer('n_rows') }} as n_rows,
        {{ sum_integer('n_filled') }} as n_filled
    from {{ ref('int_codebook__column_fill') }}
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

newest as (
    select mart, max(day) - interval '7' day as cutoff_day
    from {{ ref('int_codebook__column_fill') }}
    group by mart
),

-- Fewer than ten values could identify a person.
by_recency as (
    select
        filled.mart,
        filled.column_name,
        filled.numbers,
        row_number() over (
            partition by filled.mart, filled.column_name order by filled.day desc, filled.n_filled desc, filled.study
        ) as recency
    from {{ ref('int_codebook__column_fill') }} as filled
    inner join newest on filled.mart = newest.mart
    where filled.numbers is not null
        and filled.n_filled >= 10
        and (filled.day > newest.cutoff_day or newest.cutoff_day is null)
),

text_values as (
    select mart, column_name, {{ explode('texts') }} as value
    from {{ ref('int_codebook__column_fill') }}
    where texts is not null
),

texts as (
    select
        mart,
        column_name,
        min(value) as first_value,
        max(value) as last_value,
        {{ distinct_texts('value') }} as texts
    from text_values
    group by mart, column_name
),

described (mart, column_number, column_name, description, type, unit, source_field, available_since) as (
    {%- if is_increment() %}
    -- The descriptions are those of the last full refresh: a changed project forces one.
    select mart, column_number, column_name, description, type, unit, source_field, available_since from {{ this }}
    {%- else %}
    {{ column_descriptions(names + ['codebook']) }}
    {%- endif %}
)

select
    described.mart,
    described.column_number,
    described.column_name,
    described.description,
    described.type,
    described.unit,
    described.source_field,
    described.available_since,
    rates.n_rows,
    rates.n_filled,
    cast(rates.n_filled as double) / nullif(rates.n_rows, 0) as fill_rate,
    rates.fill_by_month,
    case
        when rates.n_filled < 10 then null
        when described.type in ('date', 'timestamptz')
            then substring(texts.first_value, 1, 10) || ', ' || substring(texts.last_value, 1, 10)
        else coalesce({{ first_five('texts.texts') }}, {{ format_numbers('by_recency.numbers') }})
    end as examples
from described
left join rates on described.mart = rates.mart and described.column_name = rates.column_name
left join texts on described.mart = texts.mart and described.column_name = texts.column_name
left join by_recency
    on described.mart = by_recency.mart and described.column_name = by_recency.column_name and by_recency.recency = 1

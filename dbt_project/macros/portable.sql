{# What DuckDB and Spark spell differently. Models hold no other SQL that only one of them understands. #}

{# Unix seconds -> moment. #}
{% macro from_unix_seconds(seconds) %}{{ return(adapter.dispatch('from_unix_seconds')(seconds)) }}{% endmacro %}
{% macro default__from_unix_seconds(seconds) %}to_timestamp({{ seconds }}){% endmacro %}
{% macro spark__from_unix_seconds(seconds) %}timestamp_seconds({{ seconds }}){% endmacro %}

{# Id of a video or comment -> moment of upload: the upper 32 bits are Unix seconds. #}
{% macro uploaded_at(id) %}{{ return(adapter.dispatch('uploaded_at')(id)) }}{% endmacro %}
{% macro default__uploaded_at(id) %}to_timestamp({{ id }} >> 32){% endmacro %}
{% macro spark__uploaded_at(id) %}timestamp_seconds(shiftright({{ id }}, 32)){% endmacro %}

{# Text with offset -> moment. #}
{% macro to_timestamp_utc(text) %}{{ return(adapter.dispatch('to_timestamp_utc')(text)) }}{% endmacro %}
{% macro default__to_timestamp_utc(text) %}cast({{ text }} as timestamptz){% endmacro %}
{% macro spark__to_timestamp_utc(text) %}cast({{ text }} as timestamp){% endmacro %}

{# Days from one moment to another, with fractions. #}
{% macro days_between(earlier, later) %}{{ return(adapter.dispatch('days_between')(earlier, later)) }}{% endmacro %}
{% macro default__days_between(earlier, later) -%}
    ((epoch({{ later }}) - epoch({{ earlier }})) / 86400.0)
{%- endmacro %}
{% macro spark__days_between(earlier, later) -%}
    ((unix_micros({{ later }}) - unix_micros({{ earlier }})) / 86400000000.0)
{%- endmacro %}

{# List of texts -> the same in lower case, each once, sorted. #}
{% macro lower_list(list) %}{{ return(adapter.dispatch('lower_list')(list)) }}{% endmacro %}
{% macro default__lower_list(list) -%}
    list_sort(list_distinct(list_transform({{ list }}, lambda item: lower(trim(item)))))
{%- endmacro %}
{% macro spark__lower_list(list) %}array_sort(array_distinct(transform({{ list }}, item -> lower(trim(item))))){% endmacro %}

{# List of structs -> list of one of their members. #}
{% macro pluck(list, member) %}{{ return(adapter.dispatch('pluck')(list, member)) }}{% endmacro %}
{% macro default__pluck(list, member) %}list_transform({{ list }}, lambda item: item.{{ member }}){% endmacro %}
{% macro spark__pluck(list, member) %}transform({{ list }}, item -> item.{{ member }}){% endmacro %}

{# One row per element of a list, in the select list. #}
{% macro explode(list) %}{{ return(adapter.dispatch('explode')(list)) }}{% endmacro %}
{% macro default__explode(list) %}unnest({{ list }}){% endmacro %}
{% macro spark__explode(list) %}explode({{ list }}){% endmacro %}

{# Sum of integers, as a 64-bit integer: DuckDB would make it 128 bits wide, which Parquet turns into a float. #}
{% macro sum_integer(expression, window=none) -%}
    cast(sum({{ expression }}){% if window %} over {{ window }}{% endif %} as bigint)
{%- endmacro %}

{# The values of a group that are not null, as a sorted list; null without any. #}
{% macro collect_sorted(expression) %}{{ return(adapter.dispatch('collect_sorted')(expression)) }}{% endmacro %}
{% macro default__collect_sorted(expression) -%}
    list({{ expression }} order by {{ expression }}) filter (where {{ expression }} is not null)
{%- endmacro %}
{% macro spark__collect_sorted(expression) %}nullif(sort_array(collect_list({{ expression }})), array()){% endmacro %}

{# The first day of the month of a day or moment. #}
{% macro month_of(day) %}cast(date_trunc('month', {{ day }}) as date){% endmacro %}

{# Expressions -> a list of their values. #}
{% macro make_list(expressions) %}{{ return(adapter.dispatch('make_list')(expressions)) }}{% endmacro %}
{% macro default__make_list(expressions) %}[{{ expressions | join(', ') }}]{% endmacro %}
{% macro spark__make_list(expressions) %}array({{ expressions | join(', ') }}){% endmacro %}

{# No list, where one of that type is expected. #}
{% macro empty_list(type) %}{{ return(adapter.dispatch('empty_list')(type)) }}{% endmacro %}
{% macro default__empty_list(type) %}cast(null as {{ type }}[]){% endmacro %}
{% macro spark__empty_list(type) %}cast(null as array<{{ type }}>){% endmacro %}

{# One row per place in lists of one length, in the select list; `lists` gives the list by the name of the column. #}
{% macro explode_together(lists) %}{{ return(adapter.dispatch('explode_together')(lists)) }}{% endmacro %}
{% macro default__explode_together(lists) -%}
    {%- for name, list in lists.items() %}unnest({{ list }}) as {{ name }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro %}
{% macro spark__explode_together(lists) -%}
    inline(arrays_zip({{ lists.values() | join(', ') }})) as ({{ lists.keys() | join(', ') }})
{%- endmacro %}

{# Months with their rows and values, as a list of structures in the order of time. #}
{% macro collect_months(month, n_rows, n_filled) -%}
    {{ return(adapter.dispatch('collect_months')(month, n_rows, n_filled)) }}
{%- endmacro %}
{% macro default__collect_months(month, n_rows, n_filled) -%}
    list(
        {
            'month': {{ month }},
            'n_rows': {{ n_rows }},
            'n_filled': {{ n_filled }},
            'fill_rate': cast({{ n_filled }} as double) / {{ n_rows }}
        } order by {{ month }}
    ) filter (where {{ month }} is not null)
{%- endmacro %}
{% macro spark__collect_months(month, n_rows, n_filled) -%}
    sort_array(collect_list(named_struct(
        'month', {{ month }},
        'n_rows', {{ n_rows }},
        'n_filled', {{ n_filled }},
        'fill_rate', cast({{ n_filled }} as double) / {{ n_rows }}
    )) filter (where {{ month }} is not null))
{%- endmacro %}

{# The values of a group, each once, as a list of texts. #}
{% macro distinct_texts(column) %}{{ return(adapter.dispatch('distinct_texts')(column)) }}{% endmacro %}
{% macro default__distinct_texts(column) %}cast(list(distinct {{ column }}) as string[]){% endmacro %}
{% macro spark__distinct_texts(column) %}collect_set(cast({{ column }} as string)){% endmacro %}

{# The 10th, 50th and 90th percentile of a group, or of some of its rows, as a list. #}
{% macro percentiles(column, only='true') %}{{ return(adapter.dispatch('percentiles')(column, only)) }}{% endmacro %}
{% macro default__percentiles(column, only) -%}
    quantile_disc({{ column }}, [0.1, 0.5, 0.9]){{ ' filter (where ' ~ only ~ ')' if only != 'true' }}
{%- endmacro %}
{% macro spark__percentiles(column, only) -%}
    percentile_approx(cast({{ column }} as double), array(0.1, 0.5, 0.9)) filter (where {{ only }})
{%- endmacro %}

{# List of texts -> the first five of them in order, as one text. #}
{% macro first_five(list) %}{{ return(adapter.dispatch('first_five')(list)) }}{% endmacro %}
{% macro default__first_five(list) %}array_to_string(list_slice(list_sort({{ list }}), 1, 5), ', '){% endmacro %}
{% macro spark__first_five(list) %}array_join(slice(array_sort({{ list }}), 1, 5), ', '){% endmacro %}

{# List of numbers -> one text, each with three digits after the point at most. #}
{% macro format_numbers(list) %}{{ return(adapter.dispatch('format_numbers')(list)) }}{% endmacro %}
{% macro default__format_numbers(list) -%}
    array_to_string(list_transform({{ list }}, lambda q: {{ format_number('q') }}), ', ')
{%- endmacro %}
{% macro spark__format_numbers(list) -%}
    array_join(transform({{ list }}, q -> {{ format_number('q') }}), ', ')
{%- endmacro %}
{% macro format_number(q) -%}
    case
        when {{ q }} = round({{ q }}) and abs({{ q }}) < 1e15 then cast(cast({{ q }} as bigint) as string) else cast(round({{ q }}, 3) as string)
    end
{%- endmacro %}

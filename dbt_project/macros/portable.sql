{# SQL that differs between DuckDB and Spark. Models contain no other SQL that only one of the engines supports. #}

{# Convert Unix seconds to a timestamp. #}
{% macro from_unix_seconds(seconds) %}{{ return(adapter.dispatch('from_unix_seconds')(seconds)) }}{% endmacro %}
{% macro default__from_unix_seconds(seconds) %}to_timestamp({{ seconds }}){% endmacro %}
{% macro spark__from_unix_seconds(seconds) %}timestamp_seconds({{ seconds }}){% endmacro %}

{# Convert the id of a video or comment to its upload time: the upper 32 bits are Unix seconds. #}
{% macro uploaded_at(id) %}{{ return(adapter.dispatch('uploaded_at')(id)) }}{% endmacro %}
{% macro default__uploaded_at(id) %}to_timestamp({{ id }} >> 32){% endmacro %}
{% macro spark__uploaded_at(id) %}timestamp_seconds(shiftright({{ id }}, 32)){% endmacro %}

{# Convert text with an offset to a timestamp. #}
{% macro to_timestamp_utc(text) %}{{ return(adapter.dispatch('to_timestamp_utc')(text)) }}{% endmacro %}
{% macro default__to_timestamp_utc(text) %}cast({{ text }} as timestamptz){% endmacro %}
{% macro spark__to_timestamp_utc(text) %}cast({{ text }} as timestamp){% endmacro %}

{# Days between two timestamps, with fractions. #}
{% macro days_between(earlier, later) %}{{ return(adapter.dispatch('days_between')(earlier, later)) }}{% endmacro %}
{% macro default__days_between(earlier, later) -%}
    ((epoch({{ later }}) - epoch({{ earlier }})) / 86400.0)
{%- endmacro %}
{% macro spark__days_between(earlier, later) -%}
    ((unix_micros({{ later }}) - unix_micros({{ earlier }})) / cast(86400000000 as double))
{%- endmacro %}

{# Text in lower case, without spaces at its ends. Of the letters with more than one lower-case form, the simple form is
   used, as DuckDB does. #}
{% macro lower_trimmed(text) %}{{ return(adapter.dispatch('lower_trimmed')(text)) }}{% endmacro %}
{% macro default__lower_trimmed(text) %}lower(trim({{ text }})){% endmacro %}
{% macro spark__lower_trimmed(text) %}lower(translate({{ trimmed(text) }}, 'İΣ', 'iσ')){% endmacro %}

{# Text without spaces of any kind at its ends; Spark's own function removes only one kind. #}
{% macro trimmed(text) %}{{ return(adapter.dispatch('trimmed')(text)) }}{% endmacro %}
{% macro default__trimmed(text) %}trim({{ text }}){% endmacro %}
{% macro spark__trimmed(text) %}regexp_replace({{ text }}, '^\\p{Zs}+|\\p{Zs}+$', ''){% endmacro %}

{# A code of ASCII letters in upper case, without spaces at its ends. #}
{% macro upper_code(text) -%}
    translate({{ trimmed(text) }}, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')
{%- endmacro %}

{# Convert a list of texts to lower case, distinct and sorted. #}
{% macro lower_list(list) %}{{ return(adapter.dispatch('lower_list')(list)) }}{% endmacro %}
{% macro default__lower_list(list) -%}
    list_sort(list_distinct(list_transform({{ list }}, lambda item: {{ lower_trimmed('item') }})))
{%- endmacro %}
{% macro spark__lower_list(list) -%}
    array_sort(array_distinct(filter(transform({{ list }}, item -> {{ lower_trimmed('item') }}), item -> item is not null)))
{%- endmacro %}

{# Convert a list of structs to a list of one of their members. #}
{% macro pluck(list, member) %}{{ return(adapter.dispatch('pluck')(list, member)) }}{% endmacro %}
{% macro default__pluck(list, member) %}list_transform({{ list }}, lambda item: item.{{ member }}){% endmacro %}
{% macro spark__pluck(list, member) %}transform({{ list }}, item -> item.{{ member }}){% endmacro %}

{# One row per element of a list, for the select list. #}
{% macro explode(list) %}{{ return(adapter.dispatch('explode')(list)) }}{% endmacro %}
{% macro default__explode(list) %}unnest({{ list }}){% endmacro %}
{% macro spark__explode(list) %}explode({{ list }}){% endmacro %}

{# Sum of integers, as a 64-bit integer: DuckDB's sum is 128 bits wide, which Parquet stores as a float. #}
{% macro sum_integer(expression, window=none) -%}
    cast(sum({{ expression }}){% if window %} over {{ window }}{% endif %} as bigint)
{%- endmacro %}

{# The values of a group that are not null, as a sorted list; null if there are none. #}
{% macro collect_sorted(expression) %}{{ return(adapter.dispatch('collect_sorted')(expression)) }}{% endmacro %}
{% macro default__collect_sorted(expression) -%}
    list({{ expression }} order by {{ expression }}) filter (where {{ expression }} is not null)
{%- endmacro %}
{% macro spark__collect_sorted(expression) %}nullif(sort_array(collect_list({{ expression }})), array()){% endmacro %}

{# The first day of the month of a day or timestamp. #}
{% macro month_of(day) %}cast(date_trunc('month', {{ day }}) as date){% endmacro %}

{# Make a list of the values of expressions. #}
{% macro make_list(expressions) %}{{ return(adapter.dispatch('make_list')(expressions)) }}{% endmacro %}
{% macro default__make_list(expressions) %}[{{ expressions | join(', ') }}]{% endmacro %}
{% macro spark__make_list(expressions) %}array({{ expressions | join(', ') }}){% endmacro %}

{# A null list of a type. #}
{% macro empty_list(type) %}{{ return(adapter.dispatch('empty_list')(type)) }}{% endmacro %}
{% macro default__empty_list(type) %}cast(null as {{ type }}[]){% endmacro %}
{% macro spark__empty_list(type) %}cast(null as array<{{ type }}>){% endmacro %}

{# One row per position in lists of equal length, for the select list; `lists` maps column names to lists. #}
{% macro explode_together(lists) %}{{ return(adapter.dispatch('explode_together')(lists)) }}{% endmacro %}
{% macro default__explode_together(lists) -%}
    {%- for name, list in lists.items() %}unnest({{ list }}) as {{ name }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro %}
{% macro spark__explode_together(lists) -%}
    inline(arrays_zip({{ lists.values() | join(', ') }})) as ({{ lists.keys() | join(', ') }})
{%- endmacro %}

{# Months with their rows and values, as a list of structs in chronological order. #}
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

{# The distinct values of a group, as a list of texts. #}
{% macro distinct_texts(column) %}{{ return(adapter.dispatch('distinct_texts')(column)) }}{% endmacro %}
{% macro default__distinct_texts(column) %}cast(list(distinct {{ column }}) as string[]){% endmacro %}
{% macro spark__distinct_texts(column) %}collect_set(cast({{ column }} as string)){% endmacro %}

{# The 10th, 50th and 90th percentile of a group, or of the rows that meet `only`, as a list. #}
{% macro percentiles(column, only='true') %}{{ return(adapter.dispatch('percentiles')(column, only)) }}{% endmacro %}
{% macro default__percentiles(column, only) -%}
    quantile_disc({{ column }}, [0.1, 0.5, 0.9]){{ ' filter (where ' ~ only ~ ')' if only != 'true' }}
{%- endmacro %}
{% macro spark__percentiles(column, only) -%}
    percentile_approx(cast({{ column }} as double), array(0.1, 0.5, 0.9)) filter (where {{ only }})
{%- endmacro %}

{# Join the first five texts of a list, in order. #}
{% macro first_five(list) %}{{ return(adapter.dispatch('first_five')(list)) }}{% endmacro %}
{% macro default__first_five(list) %}array_to_string(list_slice(list_sort({{ list }}), 1, 5), ', '){% endmacro %}
{% macro spark__first_five(list) %}array_join(slice(array_sort({{ list }}), 1, 5), ', '){% endmacro %}

{# Join the numbers of a list as text, each with at most three decimal places. #}
{% macro format_numbers(list) %}{{ return(adapter.dispatch('format_numbers')(list)) }}{% endmacro %}
{% macro default__format_numbers(list) -%}
    array_to_string(list_transform({{ list }}, lambda q: {{ format_number('q') }}), ', ')
{%- endmacro %}
{% macro spark__format_numbers(list) -%}
    array_join(transform({{ list }}, q -> {{ format_number('q') }}), ', ')
{%- endmacro %}
{% macro format_number(q) -%}
    case
        when {{ q }} = round({{ q }}) and abs({{ q }}) < 1e15 then cast(cast({{ q }} as bigint) as string)
        else cast(round({{ q }}, 3) as string)
    end
{%- endmacro %}

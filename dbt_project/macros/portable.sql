{# SQL that differs between DuckDB and Spark. Models contain no other SQL that only one of the engines supports. #}

{# Convert Unix seconds to a timestamp. #}
{% macro from_unix_seconds(seconds) %}{{ return(adapter.dispatch('from_unix_seconds')(seconds)) }}{% endmacro %}
{% macro default__from_unix_seconds(seconds) %}to_timestamp({{ seconds }}){% endmacro %}
{% macro spark__from_unix_seconds(seconds) %}timestamp_seconds({{ seconds }}){% endmacro %}

{# Convert Unix seconds of the API to a timestamp; null for a number that is no time from 1970 to 9999, such as 0 or
   milliseconds. Programs that read the marts know no later year. #}
{% macro time_of_api(seconds) -%}
    {{ from_unix_seconds('case when ' ~ seconds ~ ' between 1 and 253402300799 then ' ~ seconds ~ ' end') }}
{%- endmacro %}

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

{# A timestamp some days of 24 hours later. #}
{% macro add_days(timestamp, days) %}{{ return(adapter.dispatch('add_days')(timestamp, days)) }}{% endmacro %}
{% macro default__add_days(timestamp, days) %}({{ timestamp }} + to_hours(24 * {{ days }})){% endmacro %}
{% macro spark__add_days(timestamp, days) %}timestampadd(hour, 24 * {{ days }}, {{ timestamp }}){% endmacro %}

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

{# Sum of integers, as a 64-bit integer: DuckDB's sum is 128 bits wide, which Parquet stores as a float. Null if the sum
   has more than 64 bits, so that one impossible count of the API prevents no build. #}
{% macro sum_integer(expression) %}{{ return(adapter.dispatch('sum_integer')(expression)) }}{% endmacro %}
{% macro default__sum_integer(expression) %}try_cast(sum({{ expression }}) as bigint){% endmacro %}
{# `try_sum` is null if a part of the sum has more than 64 bits, although the whole sum may have fewer. #}
{% macro spark__sum_integer(expression) -%}
    try_cast(sum(cast({{ expression }} as decimal(20, 0))) as bigint)
{%- endmacro %}

{# Difference of two integers; null if it has more than 64 bits. #}
{% macro difference(one, other) %}{{ return(adapter.dispatch('difference')(one, other)) }}{% endmacro %}
{% macro default__difference(one, other) %}try_cast(cast({{ one }} as hugeint) - {{ other }} as bigint){% endmacro %}
{% macro spark__difference(one, other) %}try_subtract({{ one }}, {{ other }}){% endmacro %}

{# The values of a group that are not null, as a sorted list; null if there are none. #}
{% macro collect_sorted(expression) %}{{ return(adapter.dispatch('collect_sorted')(expression)) }}{% endmacro %}
{% macro default__collect_sorted(expression) -%}
    list({{ expression }} order by {{ expression }}) filter (where {{ expression }} is not null)
{%- endmacro %}
{% macro spark__collect_sorted(expression) %}nullif(sort_array(collect_list({{ expression }})), array()){% endmacro %}

{# The capture of the newest observation of a group; the capture's name decides between equal times. #}
{% macro newest_capture() %}{{ return(adapter.dispatch('newest_capture')()) }}{% endmacro %}
{% macro default__newest_capture() -%}
    max(struct_pack(observed_at := observed_at, capture := capture)).capture
{%- endmacro %}
{% macro spark__newest_capture() %}max(struct(observed_at, capture)).capture{% endmacro %}

{# The words behind the signs `@` of a text, as a list. An address has a letter before the sign, so it is none. #}
{% macro mentioned_handles(text) %}{{ return(adapter.dispatch('mentioned_handles')(text)) }}{% endmacro %}
{% macro default__mentioned_handles(text) -%}
    regexp_extract_all({{ text }}, '(^|[^\p{L}\p{N}_.@+-])@([\p{L}\p{N}_.]+)', 2)
{%- endmacro %}
{% macro spark__mentioned_handles(text) -%}
    regexp_extract_all({{ text }}, '(^|[^\\p{L}\\p{N}_.@+-])@([\\p{L}\\p{N}_.]+)', 2)
{%- endmacro %}

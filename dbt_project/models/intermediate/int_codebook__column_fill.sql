{{ config(rebuild_where='recounted_rows') }}
{#- Counted by day, so that an increment does not read the other days of a month. #}
{%- for name in marts_in_codebook() if not is_unchanged(name) %}
{{ column_fill_by_day(ref(name), mart_node(name)) }}
{{ 'union all' if not loop.last }}
{%- endfor %}

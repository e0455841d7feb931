{#- Counted by day, so that an increment need not look at the other days of a month. #}
{%- for name in marts_in_codebook() if not is_idle(name) %}
{{ filled_by_day(ref(name), mart_node(name)) }}
{{ 'union all' if not loop.last }}
{%- endfor %}
{%- if increment() %}
union all
-- What was not made anew.
select mart, study, day, n_rows, column_name, n_filled
from {{ this }}
where
    {%- for name in marts_in_codebook() if is_idle(name) or mart_node(name).config.get('days_of') %}
    (mart = '{{ name }}'
    {%- if not is_idle(name) %} and not {{ in_changed_days(mart_node(name).config.days_of) }}{% endif %}){{ ' or ' if not loop.last }}
    {%- endfor %}
{%- endif %}

{# The columns together identify a row, and none of them is null. With `rebuild_days_of`, the raw table from whose days
   the model is built, an increment checks only the keys of the rebuilt days: earlier builds checked the others. If the
   day is part of the key, all rows of a key are of one day. #}
{% test grain(model, columns, rebuild_days_of=none, day='day') %}
{%- set key = columns | join(', ') %}
select {{ key }}, count(*) as n_rows
from {{ model }}
{% if is_increment() and rebuild_days_of and day in columns and 'study' in columns -%}
where {{ in_changed_days(rebuild_days_of, day) }}
{% elif is_increment() and rebuild_days_of -%}
where ({{ key }}) in (select {{ key }} from {{ model }} where {{ in_changed_days(rebuild_days_of, day) }})
{%- endif %}
group by {{ key }}
having count(*) > 1
{%- for column in columns %}
union all
select {{ key }}, 1 as n_rows
from {{ model }}
where {{ column }} is null
{%- endfor %}
{% endtest %}

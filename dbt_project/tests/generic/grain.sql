{# The columns together identify a row, and none of them is null. With `days_of`, the raw table from whose days the model
   is made, an increment looks at the keys of the days that were made anew: the others were looked at before. Where the
   day is a part of the key, two rows of one key are of one day. #}
{% test grain(model, columns, days_of=none, day='day') %}
select {{ columns | join(', ') }}, count(*) as n_rows
from {{ model }}
{% if increment() and days_of and day in columns and 'study' in columns -%}
where {{ in_changed_days(days_of, day) }} or {{ day }} is null or study is null
{% elif increment() and days_of -%}
where ({{ columns | join(', ') }}) in (
    select {{ columns | join(', ') }} from {{ model }} where {{ in_changed_days(days_of, day) }}
)
{% for column in columns %} or ({{ column }} is null and {{ in_changed_days(days_of, day) }}){% endfor %}
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1 {% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}

{# The columns together identify a row, and none of them is null, except for those in `nullable`. #}
{% test grain(model, columns, nullable=[]) %}
{%- set key = columns | join(', ') %}
select {{ key }}, count(*) as n_rows
from {{ model }}
group by {{ key }}
having count(*) > 1
{%- for column in columns if column not in nullable %} or {{ column }} is null{% endfor %}
{% endtest %}

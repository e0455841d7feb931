{# The columns together identify a row, and none of them is null. #}
{% test grain(model, columns) %}
{%- set key = columns | join(', ') %}
select {{ key }}, count(*) as n_rows
from {{ model }}
group by {{ key }}
having count(*) > 1
{%- for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}

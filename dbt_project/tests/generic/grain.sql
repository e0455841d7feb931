{# The columns together identify a row, and none of them is null. #}
{% test grain(model, columns) %}
select {{ columns | join(', ') }}, count(*) as n_rows
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1 {% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}

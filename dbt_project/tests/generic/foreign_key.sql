{# The columns of each row, taken together, exist in another model: a relationship over more than one column. #}
{% test foreign_key(model, columns, to, to_columns) %}
select {% for column in columns %}child.{{ column }}{{ ", " if not loop.last }}{% endfor %}
from {{ model }} as child
left join {{ to }} as parent
    on {% for column in columns %}child.{{ column }} = parent.{{ to_columns[loop.index0] }}{{ " and " if not loop.last }}{% endfor %}

where parent.{{ to_columns[0] }} is null
{% for column in columns %} and child.{{ column }} is not null{% endfor %}
{% endtest %}

{# The columns of each row, taken together, exist in another model: a relationship over more than one column. With
   `rebuild_days_of`, the raw table from whose days both models are built, an increment checks only the rebuilt days. #}
{% test foreign_key(model, columns, to, to_columns, rebuild_days_of=none) %}
select {% for column in columns %}child.{{ column }}{{ ", " if not loop.last }}{% endfor %}
from {% if rebuild_days_of %}({{ rows_to_rebuild(model, rebuild_days_of) }}){% else %}{{ model }}{% endif %} as child
left join {{ to }} as parent
    on {% for column in columns %}child.{{ column }} = parent.{{ to_columns[loop.index0] }}{{ " and " if not loop.last }}{% endfor %}

where parent.{{ to_columns[0] }} is null
{% for column in columns %} and child.{{ column }} is not null{% endfor %}
{% endtest %}

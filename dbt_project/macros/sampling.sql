{# The inclusion probability of a day from a left join with `int_days__sampled`; 1 for a study of which no day is known. #}
{% macro day_probability(days) -%}
    case when {{ days }}.study is null then cast(1 as double) else {{ days }}.inclusion_probability end
{%- endmacro %}

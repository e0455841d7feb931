{# The capture of the newest observation of each key, and the number of observations. The result is narrow, to be
   joined to the rows. Observations with equal times are ranked by the capture's name. #}
{% macro newest_observations(rows, keys) %}
    select
        {{ keys | join(', ') }},
        {{ newest_capture() }} as capture,
        min(observed_at) as first_seen_at,
        max(observed_at) as last_seen_at,
        count(*) as n_observations
    from ({{ rows }}) as observations
    group by {{ keys | join(', ') }}
{% endmacro %}

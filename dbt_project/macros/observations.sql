{# The capture of the newest observation of each key, and the number of observations. The result is narrow, to be
   joined to the rows. #}
{% macro newest_observation(relation, keys) %}
with ranked as (
    select
        {{ keys | join(', ') }},
        capture,
        observed_at,
        row_number() over (
            partition by {{ keys | join(', ') }} order by observed_at desc, capture desc
        ) as recency
    from {{ relation }}
)

select
    {{ keys | join(', ') }},
    max(case when recency = 1 then capture end) as capture,
    min(observed_at) as first_seen_at,
    max(observed_at) as last_seen_at,
    count(*) as n_observations
from ranked
group by {{ keys | join(', ') }}
{% endmacro %}

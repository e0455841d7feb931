{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
{%- set counts = ['view_count', 'like_count', 'comment_count', 'share_count', 'favorites_count'] -%}
with observations as (
    select
        study,
        video_id,
        day,
        created_at,
        observed_at,
        capture,
        {%- for count in counts %}
        {{ count }},
        {{ difference(count, 'lag(' ~ count ~ ') over series') }} as {{ count }}_change,
        {%- endfor %}
        -- The largest number of likes that the newest views must include: counts are up to 10 days old at delivery
        -- (reference 7 #14).
        max(like_count) over (
            partition by study, video_id
            order by {{ days_between(from_unix_seconds(0), 'observed_at') }}
            range between unbounded preceding and 10 preceding
        ) as settled_like_count,
        lag(observed_at) over series as previous_observed_at,
        cast(row_number() over series as bigint) as observation_number
    from ({{ changed_rows(ref('stg_tiktok__videos'), 'videos') }}) as rows_of_changed_days
    window series as (partition by study, video_id order by observed_at, capture)
)

select
    study,
    video_id,
    observed_at,
    capture,
    day,
    observation_number,
    previous_observed_at,
    {{ days_between('created_at', 'observed_at') }} as age_days,
    -- Counts are up to 10 days old at delivery (reference 7 #14).
    {{ days_between('created_at', 'observed_at') }} < 10 as is_within_count_lag,
    {%- for count in counts %}
    {{ count }},
    {{ count }}_change,
    {%- endfor %}
    {% for count in counts %}coalesce({{ count }}_change < 0, false){{ ' or ' if not loop.last }}{% endfor %} as has_decreased,
    -- A fall is possible: counts of different ages, and what users or the platform withdraw.
    coalesce(settled_like_count > view_count, false)
    or coalesce(observed_at < created_at, false)
    or {% for count in counts %}coalesce({{ count }} < 0, false){{ ' or ' if not loop.last }}{% endfor %} as is_implausible
from observations

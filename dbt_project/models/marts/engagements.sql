{%- set facts = [
    'video_username', 'video_region_code', 'video_created_at', 'video_description', 'video_hashtags', 'video_view_count'
] -%}
with sightings as (
    select
        study,
        username,
        video_id,
        kind,
        entity,
        max_by(position, observed_at) as position,
        {%- for fact in facts %}
        max_by({{ fact }}, observed_at) as {{ fact }},
        {%- endfor %}
        min(observed_at) as first_seen_at,
        max(observed_at) as last_seen_at,
        count(*) as n_observations
    from {{ ref('int_engagements__sightings') }}
    group by study, username, video_id, kind, entity
),

looks as (
    select * from {{ ref('int_lists__looks') }}
)

select
    sightings.study,
    sightings.username,
    sightings.video_id,
    sightings.kind,
    sightings.position,
    {%- for fact in facts %}
    sightings.{{ fact }},
    {%- endfor %}
    sightings.first_seen_at,
    sightings.last_seen_at,
    case when looks.looked_at > sightings.last_seen_at then looks.looked_at end as missed_at,
    sightings.n_observations,
    coalesce(looks.looked_at <= sightings.last_seen_at, true) as is_current
from sightings
left join looks
    on sightings.study = looks.study
    and sightings.username = looks.username
    and sightings.entity = looks.entity

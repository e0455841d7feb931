{%- set facts = [
    'position', 'video_username', 'video_region_code', 'video_created_at', 'video_description', 'video_hashtags',
    'video_view_count', 'capture'
] -%}
{%- set key = ['study', 'username', 'video_id', 'kind'] -%}
with sightings as (
    select * from {{ ref('int_engagements__observations') }}
    {%- if is_increment() %}
    union all
    -- What is held stands for all its sightings.
    select {{ key | join(', ') }}, {{ facts | join(', ') }}, first_seen_at, last_seen_at, n_observations
    from {{ this }}
    {%- endif %}
),

ranked as (
    select
        {{ key | join(', ') }},
        {{ facts | join(', ') }},
        min(first_seen_at) over seen as first_seen_at,
        max(last_seen_at) over seen as last_seen_at,
        {{ sum_integer('n_observations', 'seen') }} as n_observations,
        row_number() over (
            partition by {{ key | join(', ') }} order by last_seen_at desc, capture desc, position
        ) as recency
    from sightings
    window seen as (partition by {{ key | join(', ') }})
),

held as (
    select * from ranked where recency = 1
),

looks as (
    select * from {{ ref('int_lists__complete_attempts') }}
)

select
    held.study,
    held.username,
    held.video_id,
    held.kind,
    held.position,
    held.video_username,
    held.video_region_code,
    held.video_created_at,
    held.video_description,
    held.video_hashtags,
    held.video_view_count,
    held.first_seen_at,
    held.last_seen_at,
    case when looks.last_complete_started_at > held.last_seen_at then looks.last_complete_started_at end as missed_at,
    held.n_observations,
    coalesce(looks.last_complete_started_at <= held.last_seen_at, true) as is_current,
    held.capture
from held
left join looks
    on held.study = looks.study
    and held.username = looks.username
    and looks.entity = case held.kind
        when 'like' then 'liked_videos' when 'repost' then 'reposted_videos' else 'pinned_videos'
    end

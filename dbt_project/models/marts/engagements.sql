{%- set attributes = [
    'position', 'video_username', 'video_region_code', 'video_created_at', 'video_description', 'video_hashtags',
    'video_view_count', 'capture'
] -%}
{%- set key = ['study', 'username', 'video_id', 'kind'] -%}
with observations as (
    select * from {{ ref('int_engagements__observations') }}
),

ranked as (
    select
        {{ key | join(', ') }},
        {{ attributes | join(', ') }},
        min(observed_at) over engagement as first_seen_at,
        max(observed_at) over engagement as last_seen_at,
        count(*) over engagement as n_observations,
        row_number() over (
            partition by {{ key | join(', ') }} order by observed_at desc, capture desc, position asc nulls last
        ) as recency
    from observations
    window engagement as (partition by {{ key | join(', ') }})
),

newest as (
    select *
    from ranked
    where recency = 1
),

complete_attempts as (
    select * from {{ ref('int_lists__complete_attempts') }}
)

select
    newest.study,
    newest.username,
    newest.video_id,
    newest.kind,
    newest.position,
    newest.video_username,
    newest.video_region_code,
    newest.video_created_at,
    newest.video_description,
    newest.video_hashtags,
    newest.video_view_count,
    newest.first_seen_at,
    newest.last_seen_at,
    case
        when complete_attempts.last_complete_started_at > newest.last_seen_at
            then complete_attempts.last_complete_started_at
    end as missed_at,
    newest.n_observations,
    coalesce(complete_attempts.last_complete_started_at <= newest.last_seen_at, true) as is_current,
    newest.capture
from newest
left join complete_attempts
    on newest.study = complete_attempts.study
    and newest.username = complete_attempts.username
    and complete_attempts.entity = case newest.kind
        when 'like' then 'liked_videos' when 'repost' then 'reposted_videos' else 'pinned_videos'
    end

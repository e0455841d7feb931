{%- set attributes = [
    'position', 'video_username', 'video_region_code', 'video_created_at', 'video_description', 'video_hashtags',
    'video_view_count', 'capture'
] -%}
{%- set key = ['study', 'username', 'video_id', 'kind'] -%}
with ranked as (
    select
        {{ key | join(', ') }},
        entity,
        {{ attributes | join(', ') }},
        row_number() over (
            partition by {{ key | join(', ') }} order by observed_at desc, capture desc, position asc nulls last
        ) as recency
    from {{ ref('int_engagements__observations') }}
),

newest as (
    select *
    from ranked
    where recency = 1
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
    entries.first_seen_at,
    entries.last_seen_at,
    entries.missed_at,
    entries.n_observations,
    entries.absent_at is null as is_left_censored,
    entries.is_listed as is_current,
    newest.capture
from newest
inner join {{ ref('int_lists__entries') }} as entries
    on newest.study = entries.study
    and newest.entity = entries.entity
    and newest.username = entries.username
    and cast(newest.video_id as string) = entries.entry
    -- The entries of lists of accounts are not read.
    and entries.entity in ('{{ engagement_lists().values() | join("', '") }}')

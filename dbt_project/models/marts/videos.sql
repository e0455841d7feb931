{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
{%- set rows = changed_rows(ref('stg_tiktok__videos'), 'videos') -%}
with latest as (
    {{ newest_observations(rows, ['study', 'video_id']) }}
),

renames as (
    select
        study,
        video_id,
        former_username,
        renamed_at,
        row_number() over (partition by study, video_id order by renamed_at desc, capture desc) as recency
    from ({{ changed_rows(ref('video_renames'), 'videos') }}) as video_renames
)

select
    observations.study,
    observations.video_id,
    observations.day,
    observations.username,
    renames.former_username,
    renames.renamed_at,
    observations.region_code,
    observations.created_at,
    observations.uploaded_at,
    observations.description,
    observations.hashtags,
    observations.hashtag_info,
    observations.mentions,
    observations.sticker_names,
    observations.effect_names,
    observations.effect_ids,
    observations.voice_to_text,
    observations.duration_seconds,
    observations.music_id,
    observations.playlist_id,
    observations.is_stem_verified,
    observations.label_json,
    observations.tag_json,
    observations.unknown_fields_json,
    observations.view_count,
    observations.like_count,
    observations.comment_count,
    observations.share_count,
    observations.favorites_count,
    {{ days_between('observations.created_at', 'latest.last_seen_at') }} as observed_age_days,
    {{ days_between('observations.created_at', 'latest.last_seen_at') }} < 10 as is_within_count_lag,
    latest.first_seen_at,
    latest.last_seen_at,
    greatest(latest.last_seen_at, coalesce(verified.verified_at, latest.last_seen_at)) as last_verified_at,
    latest.n_observations,
    observations.capture
from ({{ rows }}) as observations
inner join latest
    on observations.study = latest.study
    and observations.video_id = latest.video_id
    and observations.capture = latest.capture
left join {{ ref('stg_research__verified_videos') }} as verified
    on observations.study = verified.study
    and observations.day = verified.day
    and observations.video_id = verified.video_id
left join renames
    on observations.study = renames.study
    and observations.video_id = renames.video_id
    and renames.recency = 1

{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
{%- set rows -%}
select * from {{ ref('stg_tiktok__videos') }}
{%- if is_incremental() %}
where (study, day) in (select study, day from changed_days)
{%- endif %}
{%- endset -%}
{%- set no_round = to_timestamp_utc("'9999-12-31T00:00:00Z'") -%}
{#- Rendered in every build, so that the lineage contains the sources. -#}
{%- set changed_days = source('raw', 'changed_days') -%}
{%- set searched_days = searched_days() -%}
with days as (
    select * from {{ ref('int_days__sampled') }}
),

of_comments as (
    select * from {{ ref('int_videos__comments') }}
),

{% if is_incremental() -%}
changed_days as (
    select study, day from {{ changed_days }} where raw_table = 'videos'
    union
    -- A complete observation that returns nothing changes no raw file of the day.
    {{ searched_days }}
    union
    -- Comments are collected after their videos, and an edit of the study can draw other days.
    select stored.study, stored.day
    from {{ this }} as stored
    left join days
        on stored.study = days.study
        and stored.day = days.day
    left join of_comments
        on stored.study = of_comments.study
        and stored.day = of_comments.day
        and stored.video_id = of_comments.video_id
    where
        stored.inclusion_probability is distinct from {{ day_probability('days') }}
        or stored.comments_state is distinct from of_comments.comments_state
        or stored.comments_probability is distinct from of_comments.comments_probability
        or stored.comments_observed_at is distinct from of_comments.comments_observed_at
        or stored.n_comments_held is distinct from coalesce(of_comments.n_comments_held, 0)
),

{% endif -%}
-- Each observation belongs to the first round (complete observation of its day) that had not ended before it. It is part
-- of the round if the round had started.
observed as (
    select
        observations.study,
        observations.video_id,
        observations.observed_at,
        observations.capture,
        case when observations.observed_at >= rounds.started_at then rounds.round_number end as round_number,
        rounds.n_rounds - rounds.round_number + 1 as n_rounds_left,
        case
            when observations.observed_at < rounds.started_at then rounds.started_at
            else coalesce(rounds.next_started_at, {{ no_round }})
        end as next_started_at
    from ({{ rows }}) as observations
    left join {{ ref('int_videos__rounds') }} as rounds
        on observations.study = rounds.study
        and observations.day = rounds.day
        and observations.observed_at <= rounds.ended_at
        and observations.observed_at > coalesce(rounds.previous_ended_at, {{ from_unix_seconds(0) }})
),

latest as (
    select
        study,
        video_id,
        {{ newest_capture() }} as capture,
        min(observed_at) as first_seen_at,
        max(observed_at) as last_seen_at,
        count(*) as n_observations,
        nullif(max(next_started_at), {{ no_round }}) as missed_at,
        coalesce(max(n_rounds_left), 0) - count(distinct round_number) as n_rounds_missed
    from observed
    group by study, video_id
),

renames as (
    select
        study,
        video_id,
        former_username,
        renamed_at,
        row_number() over (partition by study, video_id order by renamed_at desc, capture desc) as recency
    from {{ ref('video_renames') }}
    {%- if is_incremental() %}
    where (study, day) in (select study, day from changed_days)
    {%- endif %}
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
    {{ day_probability('days') }} as inclusion_probability,
    1 / {{ day_probability('days') }} as sampling_weight,
    of_comments.comments_state,
    of_comments.comments_probability,
    of_comments.comments_observed_at,
    coalesce(of_comments.n_comments_held, 0) as n_comments_held,
    {{ days_between('observations.created_at', 'latest.last_seen_at') }} as observed_age_days,
    {{ days_between('observations.created_at', 'latest.last_seen_at') }} < 10 as is_within_count_lag,
    latest.first_seen_at,
    latest.last_seen_at,
    greatest(latest.last_seen_at, coalesce(verified.verified_at, latest.last_seen_at)) as last_verified_at,
    latest.n_observations,
    latest.missed_at is null as is_delivered,
    latest.missed_at,
    latest.n_rounds_missed,
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
left join days
    on observations.study = days.study
    and observations.day = days.day
left join of_comments
    on observations.study = of_comments.study
    and observations.day = of_comments.day
    and observations.video_id = of_comments.video_id
left join renames
    on observations.study = renames.study
    and observations.video_id = renames.video_id
    and renames.recency = 1

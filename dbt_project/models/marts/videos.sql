{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
{%- set rows = changed_rows(ref('stg_tiktok__videos'), 'videos') -%}
{#- A complete observation that returns nothing changes no raw file of the day. Rendered in every build. -#}
{%- set searched = ' or (study, day) in (' ~ searched_days() ~ ')' -%}
{%- set rows = rows ~ searched if is_incremental() else rows -%}
{%- set no_round = to_timestamp_utc("'9999-12-31T00:00:00Z'") -%}
-- Each observation belongs to the first round (complete observation of its day) that had not ended before it. It is part
-- of the round if the round had started.
with observed as (
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

-- A video keeps its account, so another handle is a renamed account.
renamed as (
    select study, video_id
    from ({{ rows }}) as observations
    group by study, video_id
    having min(username) <> max(username)
),

handles as (
    select
        observations.study,
        observations.video_id,
        observations.username,
        observations.observed_at,
        observations.capture,
        lag(observations.username) over (
            partition by observations.study, observations.video_id
            order by observations.observed_at, observations.capture
        ) as former_username
    from ({{ rows }}) as observations
    inner join renamed
        on observations.study = renamed.study
        and observations.video_id = renamed.video_id
),

renames as (
    select
        study,
        video_id,
        former_username,
        observed_at as renamed_at,
        row_number() over (partition by study, video_id order by observed_at desc, capture desc) as recency
    from handles
    where former_username <> username
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
left join renames
    on observations.study = renames.study
    and observations.video_id = renames.video_id
    and renames.recency = 1

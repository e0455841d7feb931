{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'comments'}
) }}
{%- set rows -%}
select * from {{ ref('stg_tiktok__comments') }}
{%- if is_incremental() %}
where (study, day) in (select study, day from changed_days)
{%- endif %}
{%- endset -%}
with sampled as (
    select * from {{ ref('int_comments__sampled') }}
),

{% set changed_days = source('raw', 'changed_days') -%}
{%- if is_incremental() %}
changed_days as (
    select study, day from {{ changed_days }} where raw_table = 'comments'
    union
    -- A video can become part of a sample without a new comment.
    select stored.study, stored.day
    from {{ this }} as stored
    left join sampled
        on stored.study = sampled.study
        and stored.day = sampled.day
        and stored.video_id = sampled.video_id
    where
        stored.inclusion_probability is distinct from sampled.inclusion_probability
        or stored.selection is distinct from sampled.selection
        or stored.selection_rank is distinct from sampled.selection_rank
        or stored.selected_at is distinct from sampled.selected_at
),
{% endif %}

latest as (
    {{ newest_observations(rows, ['study', 'comment_id']) }}
),

replies as (
    select
        observations.study,
        observations.comment_id,
        max(observations.parent_comment_id) as parent_comment_id
    from ({{ rows }}) as observations
    where observations.parent_comment_id is not null
    group by observations.study, observations.comment_id
)

select
    observations.study,
    observations.comment_id,
    observations.video_id,
    observations.day,
    observations.parent_comment_id,
    -- A reply to a reply belongs to the thread of the top-level comment. The list of replies of a comment names the
    -- comment; the parent of a reply can be missing.
    case
        when observations.parent_comment_id is null then observations.comment_id
        when observations.asked_comment_id is not null then observations.asked_comment_id
        when parent.comment_id is not null then parent.parent_comment_id
        when known.comment_id is not null then observations.parent_comment_id
    end as thread_root_id,
    case
        when observations.parent_comment_id is null then 0
        when observations.parent_comment_id = observations.asked_comment_id then 1
        when observations.asked_comment_id is not null or parent.comment_id is not null then 2
        when known.comment_id is not null then 1
    end as depth,
    observations.parent_comment_id is not null as is_reply,
    observations.position,
    observations.text,
    observations.like_count,
    observations.reply_count,
    observations.created_at,
    observations.uploaded_at,
    observations.display_name,
    observations.unknown_fields_json,
    sampled.selection,
    sampled.selection_rank,
    sampled.selected_at,
    sampled.inclusion_probability,
    1 / sampled.inclusion_probability as sampling_weight,
    latest.first_seen_at,
    latest.last_seen_at,
    greatest(latest.last_seen_at, coalesce(verified.verified_at, latest.last_seen_at)) as last_verified_at,
    latest.n_observations,
    observations.capture
from ({{ rows }}) as observations
inner join latest
    on observations.study = latest.study
    and observations.comment_id = latest.comment_id
    and observations.capture = latest.capture
left join replies as parent
    on observations.study = parent.study
    and observations.parent_comment_id = parent.comment_id
left join latest as known
    on observations.study = known.study
    and observations.parent_comment_id = known.comment_id
left join sampled
    on observations.study = sampled.study
    and observations.day = sampled.day
    and observations.video_id = sampled.video_id
left join {{ ref('stg_research__verified_comments') }} as verified
    on observations.study = verified.study
    and observations.day = verified.day
    and observations.comment_id = verified.comment_id

{{ config(rebuild_days_of='comments', ordered_by_day=false) }}
with observations as (
    select * from {{ ref('stg_tiktok__comments') }}
),

latest as (
    select * from {{ ref('int_comments__latest') }}
),

newest as (
    select
        observations.*,
        latest.first_seen_at,
        latest.last_seen_at,
        latest.n_observations
    from observations
    inner join latest
        on observations.study = latest.study
        and observations.comment_id = latest.comment_id
        and observations.capture = latest.capture
),

replies as (
    select study, comment_id, parent_comment_id from newest where parent_comment_id is not null
),

sampled_videos as (
    {{ rows_to_rebuild(ref('int_comments__sampled'), 'comments') }}
)

select
    newest.study,
    newest.comment_id,
    newest.video_id,
    newest.day,
    newest.parent_comment_id,
    -- A reply to a reply belongs to the thread of the top-level comment.
    coalesce(
        parent.parent_comment_id, newest.asked_comment_id, newest.parent_comment_id, newest.comment_id
    ) as thread_root_id,
    case
        when newest.parent_comment_id is null then 0
        when parent.comment_id is null then 1
        else 2
    end as depth,
    newest.parent_comment_id is not null as is_reply,
    newest.position,
    newest.text,
    newest.like_count,
    newest.reply_count,
    newest.created_at,
    newest.uploaded_at,
    newest.display_name,
    newest.unknown_fields_json,
    sampled_videos.inclusion_probability as inclusion_probability,
    1 / sampled_videos.inclusion_probability as sampling_weight,
    newest.first_seen_at,
    newest.last_seen_at,
    newest.n_observations,
    newest.capture
from newest
left join replies as parent
    on newest.study = parent.study
    and newest.parent_comment_id = parent.comment_id
left join sampled_videos
    on newest.study = sampled_videos.study
    and newest.day = sampled_videos.day
    and newest.video_id = sampled_videos.video_id

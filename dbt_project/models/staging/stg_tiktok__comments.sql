with source as (
    select * from {{ source('raw', 'comments') }}
),

renamed as (
    select
        study,
        day,
        id as comment_id,
        coalesce(video_id, asked_video_id) as video_id,
        -- The API returns the video as the parent of a top-level comment.
        case when parent_comment_id <> coalesce(video_id, asked_video_id) then parent_comment_id end as parent_comment_id,
        text,
        like_count,
        reply_count,
        {{ time_of_api('create_time') }} as created_at,
        {{ uploaded_at('id') }} as uploaded_at,
        display_name,
        asked_video_id,
        asked_comment_id,
        position,
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed

with source as (
    select * from {{ source('raw', 'users') }}
),

renamed as (
    select
        study,
        day,
        asked_username as username,
        display_name,
        bio_description,
        bio_url,
        avatar_url,
        is_verified,
        follower_count,
        following_count,
        likes_count as like_count,
        video_count,
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed

with source as (
    select * from {{ source('raw', 'verified_videos') }}
),

renamed as (
    select
        study,
        day,
        id as video_id,
        verified_at
    from source
)

select * from renamed

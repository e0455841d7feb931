with source as (
    select * from {{ source('raw', 'verified_comments') }}
),

renamed as (
    select
        study,
        day,
        id as comment_id,
        verified_at
    from source
)

select * from renamed

with source as (
    select * from {{ source('raw', 'videos') }}
),

renamed as (
    select
        study,
        day,
        {{ video_columns() }},
        playlist_id,
        effect_ids,
        voice_to_text,
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed

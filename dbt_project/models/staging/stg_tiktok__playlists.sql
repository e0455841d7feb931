with source as (
    select * from {{ source('raw', 'playlists') }}
),

renamed as (
    select
        study,
        day,
        asked_playlist_id,
        playlist_id,
        position,
        playlist_name,
        playlist_item_total as item_total,
        playlist_last_updated as last_updated,
        playlist_video_ids as video_ids,
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed

with source as (
    {{ raw_rows('followers') }}
),

renamed as (
    select
        study,
        day,
        asked_username,
        position,
        username,
        display_name,
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed

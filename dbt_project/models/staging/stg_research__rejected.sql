with source as (
    select * from {{ source('raw', 'rejected') }}
),

renamed as (
    select
        study,
        day,
        entity,
        partition as partition_day,
        unit,
        position,
        field,
        reason,
        cast(value as string) as value_json,
        observed_at,
        capture
    from source
)

select * from renamed

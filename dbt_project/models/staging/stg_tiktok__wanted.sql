with source as (
    select * from {{ source('raw', 'wanted') }}
),

renamed as (
    -- A unit may be written by more than one build of the day.
    select
        study,
        entity,
        partition as partition_day,
        unit_kind,
        unit,
        min(due_at) as due_at
    from source
    group by study, entity, partition, unit_kind, unit
)

select * from renamed

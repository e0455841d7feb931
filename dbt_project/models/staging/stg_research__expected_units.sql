with source as (
    select * from {{ source('raw', 'expected_units') }}
),

renamed as (
    select
        study,
        entity,
        partition as partition_day,
        unit_kind,
        unit,
        due_at,
        stratum,
        stratum_days,
        stratum_sampled,
        inclusion_probability
    from source
)

select * from renamed

with source as (
    select * from {{ source('raw', 'coverage') }}
),

renamed as (
    select
        study,
        day as ended_day,
        entity,
        partition as partition_day,
        unit_kind,
        unit,
        state,
        asked,
        offered,
        kept,
        expected,
        requests,
        inclusion_probability,
        selection,
        selection_rank,
        selected_at,
        first_at,
        last_at,
        reason,
        next_try as next_try_at,
        capture
    from source
)

select * from renamed

with source as (
    select * from {{ source('raw', 'population') }}
),

renamed as (
    select
        study,
        day,
        capture,
        started_at,
        ended_at,
        n_requests,
        n_draws,
        n_drawn,
        n_distinct,
        n_pairs,
        n_shared,
        estimate,
        estimate_low,
        estimate_high,
        hour_p_value,
        region_p_value,
        length_p_value
    from source
)

select * from renamed

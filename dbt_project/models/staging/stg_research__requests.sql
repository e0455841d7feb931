with source as (
    select * from {{ source('raw', 'requests') }}
),

renamed as (
    select
        study,
        day,
        pool,
        endpoint,
        entity,
        unit,
        sent_at,
        status,
        code,
        rows as n_rows,
        latency_ms,
        log_id
    from source
)

select * from renamed

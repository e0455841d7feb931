with source as (
    select * from {{ source('raw', 'withdrawals') }}
),

renamed as (
    select
        receipt,
        kind,
        found_by,
        withdrawn_at,
        n_items
    from source
)

select * from renamed

select
    receipt,
    kind,
    found_by,
    withdrawn_at,
    n_items
from {{ ref('stg_research__withdrawals') }}

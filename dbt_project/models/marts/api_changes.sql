select
    change_id,
    kind,
    date_basis,
    first_day,
    last_day,
    precision,
    title,
    description,
    source
from {{ ref('api_changelog') }}

select
    epoch,
    kind,
    clock,
    first_day,
    last_day,
    precision,
    title,
    description,
    source
from {{ ref('api_changelog') }}

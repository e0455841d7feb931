select
    day,
    pool,
    study,
    endpoint,
    count(*) as n_requests,
    count(*) filter (where code is distinct from 'ok') as n_failed,
    count(*) filter (where code = 'daily_quota_limit_exceeded') as n_over_quota,
    coalesce({{ sum_integer('n_rows') }}, 0) as n_rows,
    cast(median(latency_ms) as double) as latency_ms_median,
    min(sent_at) as first_sent_at,
    max(sent_at) as last_sent_at
from {{ ref('stg_research__requests') }}
group by day, pool, study, endpoint

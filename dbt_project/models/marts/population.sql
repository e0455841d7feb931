select
    draws.study,
    draws.day,
    draws.started_at,
    draws.ended_at,
    draws.n_requests,
    draws.n_draws,
    draws.n_drawn,
    draws.n_distinct,
    draws.n_pairs,
    draws.n_shared,
    draws.estimate,
    draws.estimate_low,
    draws.estimate_high,
    draws.hour_p_value,
    draws.region_p_value,
    draws.length_p_value,
    days.state as day_state,
    case when days.state not in ('not_asked', 'too_fresh') then days.n_videos end as n_videos_held,
    draws.capture
from {{ ref('stg_research__population') }} as draws
left join {{ ref('study_days') }} as days
    on draws.study = days.study
    and draws.day = days.day

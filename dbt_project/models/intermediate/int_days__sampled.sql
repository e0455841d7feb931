with expected as (
    select
        study,
        partition_day as day,
        max(stratum) as stratum,
        max(stratum_days) as stratum_days,
        max(stratum_sampled) as stratum_sampled,
        max(inclusion_probability) as inclusion_probability
    from {{ ref('stg_research__expected_units') }}
    where entity = 'videos' and unit_kind = 'day'
    group by study, partition_day
),

all_days as (
    select study, day from expected
    union
    select study, partition_day as day
    from {{ ref('stg_research__coverage') }}
    where entity = 'videos' and unit_kind = 'day'
),

sampled_studies as (
    select distinct study
    from expected
    where stratum is not null
)

select
    all_days.study,
    all_days.day,
    expected.stratum,
    expected.stratum_days,
    expected.stratum_sampled,
    -- A day that was collected although it is not in the sample has no probability.
    case
        when sampled_studies.study is null then cast(1 as double)
        else expected.inclusion_probability
    end as inclusion_probability
from all_days
left join expected
    on all_days.study = expected.study
    and all_days.day = expected.day
left join sampled_studies on all_days.study = sampled_studies.study

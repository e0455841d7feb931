-- Each observation belongs to the first round that had not ended before it. It is part of the round if the round had
-- started. The others come from attempts between the rounds.
with observations as (
    select
        rounds.study,
        rounds.day,
        rounds.round_number,
        observations.observed_at >= rounds.started_at as is_part,
        observations.previous_observed_at is null as is_first,
        -- A round of several captures can return a video twice.
        coalesce(observations.previous_observed_at >= rounds.started_at, false) as is_repeated,
        coalesce(observations.previous_observed_at < rounds.previous_started_at, false) as is_return
    from {{ ref('video_observations') }} as observations
    inner join {{ ref('int_videos__rounds') }} as rounds
        on observations.study = rounds.study
        and observations.day = rounds.day
        and observations.observed_at <= rounds.ended_at
        and (rounds.previous_ended_at is null or observations.observed_at > rounds.previous_ended_at)
),

counts as (
    select
        study,
        day,
        round_number,
        count(*) filter (where is_part and not is_repeated) as n_returned,
        count(*) filter (where is_part and is_first) as n_first_seen,
        count(*) filter (where is_part and not is_first and not is_repeated) as n_seen_again,
        count(*) filter (where is_part and not is_repeated and is_return) as n_reappeared,
        count(*) filter (where not is_part and is_first) as n_seen_between
    from observations
    group by study, day, round_number
),

lost as (
    select study, day, missed_at, count(*) as n_lost
    from {{ ref('videos') }}
    where missed_at is not null
    group by study, day, missed_at
),

combined as (
    select
        rounds.*,
        coalesce(counts.n_returned, 0) as n_returned,
        coalesce(counts.n_first_seen, 0) as n_first_seen,
        coalesce(counts.n_seen_again, 0) as n_seen_again,
        coalesce(counts.n_reappeared, 0) as n_reappeared,
        coalesce(lost.n_lost, 0) as n_lost,
        -- Videos that were observed before the round.
        cast(sum(coalesce(counts.n_first_seen, 0) + coalesce(counts.n_seen_between, 0)) over up_to_now as bigint)
        - coalesce(counts.n_first_seen, 0) as n_known,
        cast(sum(coalesce(lost.n_lost, 0)) over up_to_now as bigint) - coalesce(lost.n_lost, 0) as n_lost_before
    from {{ ref('int_videos__rounds') }} as rounds
    left join counts
        on rounds.study = counts.study and rounds.day = counts.day and rounds.round_number = counts.round_number
    left join lost
        on rounds.study = lost.study and rounds.day = lost.day and rounds.started_at = lost.missed_at
    window up_to_now as (partition by rounds.study, rounds.day order by rounds.round_number)
)

select
    study,
    day,
    round_number,
    started_at,
    ended_at,
    {{ days_between(add_days('cast(day as timestamp)', 1), 'ended_at') }} as age_days,
    offered,
    kept,
    n_returned,
    n_first_seen,
    n_seen_again,
    n_reappeared,
    n_known - n_seen_again as n_missed,
    n_known - n_lost_before as n_at_risk,
    n_lost,
    round_number = n_rounds as is_newest,
    capture
from combined

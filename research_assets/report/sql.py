"""What a report asks of the marts, as SQL: a constant for each query. `$study` is the study's name.

Columns come in the order of the dataclass that takes them. Braces are filled by `queries`, never with data.
"""

TOTALS_SQL = """
select
  (select count(*) from marts.videos where study = $study),
  (select count(*) from marts.creators where study = $study),
  (select count(*) from marts.comments where study = $study and not is_reply),
  (select count(*) from marts.comments where study = $study and is_reply),
  (select count(*) from marts.users where study = $study),
  (select count(*) from marts.follows where study = $study),
  (select count(*) from marts.engagements where study = $study),
  coalesce(sum(n_requests), 0)::bigint,
  coalesce(sum(n_failed), 0)::bigint,
  coalesce(sum(n_refused), 0)::bigint,
  min(first_sent_at),
  max(last_sent_at)
from marts.quota where study = $study
"""

DAYS_SQL = """
select day, state, n_videos, n_creators, n_comments, offered, kept, view_count_median
from marts.days where study = $study order by day
"""

# Windows of a search are units too where they were kept; only its days are what a study wants.
UNITS_SQL = """
select
  entity, unit_kind, state, count(*),
  coalesce(sum(asked), 0)::bigint, coalesce(sum(offered), 0)::bigint, coalesce(sum(kept), 0)::bigint,
  sum(expected)::bigint, coalesce(sum(requests), 0)::double, min(first_at), max(last_at)
from marts.coverage
where study = $study and (entity <> 'videos' or unit_kind = 'day')
group by all order by entity, unit_kind, state
"""

# A reason that names its unit would be as many reasons as units, and would name people.
MISSING_UNITS_SQL = """
select
  entity, unit_kind, state,
  min(told) || case when count(distinct told) > 1 then ' (and the like with other numbers)' else '' end,
  count(*), min(next_try_at)
from (
  select *, coalesce(replace(reason, unit, '…'), 'no reason was given') as told
  from marts.coverage
  where study = $study and state <> 'complete' and (entity <> 'videos' or unit_kind = 'day')
)
group by entity, unit_kind, state, regexp_replace(told, '[0-9]+', '0', 'g')
order by entity, unit_kind, state, count(*) desc
"""

DAILY_REQUESTS_SQL = """
select
  day, pool, sum(n_requests - n_failed)::bigint, sum(n_failed - n_refused)::bigint, sum(n_refused)::bigint
from marts.quota where study = $study group by day, pool order by day, pool
"""

ENDPOINTS_SQL = """
select
  pool, endpoint, sum(n_requests)::bigint, sum(n_failed)::bigint, sum(n_refused)::bigint, sum(n_rows)::bigint,
  max(latency_ms_median)
from marts.quota where study = $study group by pool, endpoint order by pool desc, sum(n_requests) desc
"""

# The mart counts by day; creators and medians of all days do not follow from those of each.
HASHTAGS_SQL = """
select hashtag, count(*) as videos, count(distinct username), median(view_count)::double, sum(view_count)::bigint
from (select username, view_count, unnest(hashtags) as hashtag from marts.videos where study = $study)
group by hashtag order by videos desc, hashtag limit $top
"""

N_HASHTAGS_SQL = "select count(distinct hashtag) from marts.hashtags where study = $study"

CREATORS_SQL = """
select username, n_videos, n_days, view_count_median, view_count_sum
from marts.creators where study = $study order by n_videos desc, username limit $top
"""

TOP_SHARE_SQL = """
select sum(n_videos) filter (where place <= greatest(1, round(0.1 * accounts))) / sum(n_videos)
from (
  select n_videos, row_number() over (order by n_videos desc) as place, count(*) over () as accounts
  from marts.creators where study = $study
)
"""

QUARTILES_SQL = """
select
  count(*), count(*) filter (where x is null), count(*) filter (where x = 0),
  quantile_cont(x, 0.25)::double, median(x)::double, quantile_cont(x, 0.75)::double, min(x)::double, max(x)::double
from ({relation})
"""

LOG_BINS_SQL = """
select low, case when round(low / decade) = 2 then 2.5 else 2 end * low, count(*)
from (
  select decade, decade * case when x / decade >= 5 then 5 when x / decade >= 2 then 2 else 1 end as low
  from (select x, 10.0::double ** floor(log10(x)) as decade from ({relation}) where x > 0)
)
group by all order by low
"""

EQUAL_BINS_SQL = """
select floor(x / $width) * $width as low, count(*) from ({relation}) where x is not null group by all order by low
"""

COMMENTS_PER_VIDEO_SQL = """
select coalesce(held, 0) as x
from (
  select try_cast(unit as bigint) as video_id from marts.coverage
  where study = $study and entity = 'comments' and unit_kind = 'video' and state = 'complete'
) as asked
left join (
  select video_id, count(*) as held from marts.comments where study = $study group by video_id
) as comments using (video_id)
"""

REPLIES_PER_COMMENT_SQL = """
select coalesce(held, 0) as x
from marts.comments as top
left join (
  select thread_root_id, count(*) as held from marts.comments where study = $study and is_reply group by thread_root_id
) as replies on replies.thread_root_id = top.comment_id
where top.study = $study and not top.is_reply
"""

DEPTHS_SQL = "select depth, count(*) from marts.comments where study = $study group by depth order by depth"

DEGREES_SQL = """
with degrees as (
  select 'followers' as direction, target_username as account, count(*) as degree
  from marts.follows where study = $study group by all
  union all
  select 'following', source_username, count(*) from marts.follows where study = $study group by all
)
select
  direction, degree, count(*) as accounts,
  sum(count(*)) over (partition by direction order by degree desc) / sum(count(*)) over (partition by direction)
from degrees group by direction, degree order by direction, degree
"""

FOLLOW_LISTS_SQL = """
select entity, unit, state, kept, expected, completed_at
from marts.coverage
where study = $study and entity in ('followers', 'following')
qualify row_number() over (partition by entity, unit order by partition_day desc) = 1
order by entity, kept desc, unit
"""

AGE_AT_OBSERVATION_SQL = "select counted_at_age_days as x from marts.videos where study = $study"
DATA_AGE_SQL = """
select (epoch($built::timestamptz) - epoch(last_seen_at)) / 86400 as x from marts.videos where study = $study
"""

OBSERVATIONS_SQL = """
select n_observations, count(*) from marts.videos where study = $study group by n_observations order by n_observations
"""

DAILY_OBSERVATIONS_SQL = """
select
  cast(date_trunc('{unit}', observed_at) as date), count(*), count(*) filter (observation_number = 1),
  (median(view_count) filter (observation_number = 1))::double,
  (median(age_days) filter (observation_number = 1))::double
from marts.video_observations where study = $study group by 1 order by 1
"""

# Numbered among all, so that a break has one number in every report and in the codebook.
API_CHANGES_SQL = """
select
  row_number() over (order by first_day nulls first, epoch),
  clock, first_day, last_day, "precision", title, description, source
from marts.epochs order by 1
"""

AVAILABLE_SINCE_SQL = "select column_name, available_since from marts.codebook where mart = 'videos'"

SAMPLED_SQL = """
select entity, probability, count(*) from marts.coverage
where study = $study and probability < 1 group by entity, probability order by entity, probability
"""

CODEBOOK_SQL = """
select
  mart, column_name, type, coalesce(unit, ''), meaning, coalesce(source_field, ''), coalesce(available_since, ''),
  n_rows, coalesce(n_filled, 0), coalesce(examples, ''), fill_by_month
from marts.codebook order by mart, column_number
"""

"""Queries of a report: one SQL constant per query, and the functions that read `ReportData` from the marts.

`$study` is the name of the study. The columns of a query are in the order of the fields of its dataclass. Braces are
filled with SQL by `_Reader`, never with data.
Not here: the shapes that are read (see data.py), the connection to the warehouse (see warehouse/reader.py).
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import duckdb

from research_assets.estimates.survival import clustered_survival
from research_assets.estimates.yields import estimate_yield
from research_assets.report import REQUIRED_MARTS
from research_assets.report.data import (
    SAMPLED_COUNTS,
    ApiChange,
    Attrition,
    Bin,
    CanaryCheck,
    ColumnFill,
    CommentAges,
    DailyObservations,
    DailyRequests,
    DayAges,
    DegreeShare,
    DistinctMissing,
    Distribution,
    EndpointRequests,
    EstimatedDay,
    ExcessRows,
    FollowedAccounts,
    FollowList,
    MissingUnits,
    ObservationAges,
    ObservationRound,
    ObservedAccounts,
    RankedItem,
    RejectedElements,
    RepeatedDay,
    ReportData,
    SampledComments,
    SampledDay,
    SampledUnits,
    StudyDay,
    StudyTotals,
    UnitGroup,
    VerifiedItems,
    WithdrawnItems,
)
from research_assets.report.drawing import MAX_DAYS
from research_assets.report.handles import words_of
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_identifier
from research_assets.warehouse.reader import (
    WarehouseReadError,
    connect_read_only,
    published_at,
    read_marts,
    require_warehouse,
)

TOP_N = 20
"""Number of hashtags and of creators in a ranking."""

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
  coalesce(sum(n_over_quota), 0)::bigint,
  min(first_sent_at),
  max(last_sent_at),
  (select coalesce(sum(view_count), 0)::double from marts.videos where study = $study)
from marts.quota_usage where study = $study
"""

DAYS_SQL = """
select
  day, state, n_videos, n_creators, n_comments, coalesce(first_offered, offered), coalesce(first_kept, kept),
  n_not_returned, view_count_median
from marts.study_days where study = $study order by day
"""

# Search windows and canary videos can be units too; the days of the search are the expected units of a study.
UNITS_SQL = """
select
  entity, unit_kind, state, count(*),
  coalesce(sum(asked), 0)::bigint, coalesce(sum(offered), 0)::bigint, coalesce(sum(kept), 0)::bigint,
  sum(expected)::double, coalesce(sum(requests), 0)::double, min(first_at), max(last_at),
  coalesce(sum(first_offered), 0)::bigint, coalesce(sum(first_kept), 0)::bigint
from marts.coverage
where study = $study and (entity <> 'videos' or unit_kind = 'day')
group by all order by entity, unit_kind, state
"""

# Without the replacement there would be one reason per unit, and reasons would contain the names of people.
MISSING_UNITS_SQL = """
select
  entity, unit_kind, state,
  min(masked) || case when count(distinct masked) > 1 then ' (and similar reasons with other numbers)' else '' end,
  count(*), min(next_try_at)
from (
  select *, coalesce(replace(reason, unit, '…'), 'no reason recorded') as masked
  from marts.coverage
  where study = $study and state <> 'complete' and (entity <> 'videos' or unit_kind = 'day')
)
group by entity, unit_kind, state, regexp_replace(masked, '[0-9]+', '0', 'g')
order by entity, unit_kind, state, count(*) desc
"""

HANDLES_SQL = """
select distinct lower(unit) from marts.coverage
where study = $study and unit_kind = 'account' and lower(unit) in (select unnest($words::varchar[]))
"""

CANARIES_SQL = """
select cast(last_at as date), count(*) filter (state = 'complete'), count(*) filter (state <> 'complete')
from marts.coverage where study = $study and unit_kind = 'canary' group by 1 order by 1
"""

FOLLOWED_SQL = """
select
  count(*) filter (state = 'complete' and reason like 'Renamed:%'),
  count(*) filter (state = 'complete' and reason not like 'Renamed:%'),
  count(*) filter (state = 'missing'),
  count(*) filter (state not in ('complete', 'missing'))
from (
  select state, reason from marts.coverage where study = $study and unit_kind = 'rename'
  qualify row_number() over (partition by unit order by last_at desc) = 1
)
"""

EXCESS_SQL = """
select count(*), coalesce(sum(kept - expected::double), 0)
from marts.coverage where study = $study and state = 'complete' and kept > expected
"""

REJECTED_SQL = """
select entity, count(*) filter (field is null), count(*) filter (field is not null)
from marts.rejected_rows where study = $study group by entity order by entity
"""

N_DISTINCT_UNITS_SQL = """
select count(distinct (entity, unit_kind, unit)) from marts.coverage
where study = $study and (entity <> 'videos' or unit_kind = 'day')
"""

# An account has a unit in each period. It is missing if no period is complete, and counts once. A period that has just
# begun shows nothing about it.
DISTINCT_MISSING_SQL = """
with units as (
  select
    entity, unit_kind, unit, arg_max(state, row(state not in ('not_asked', 'too_fresh'), partition_day)) as state,
    arg_max(
      regexp_replace(coalesce(replace(reason, unit, '…'), 'no reason recorded'), '[.]? ?Next try: .*$', ''),
      row(state not in ('not_asked', 'too_fresh'), partition_day)
    ) as masked
  from marts.coverage
  where study = $study and (entity <> 'videos' or unit_kind = 'day')
  group by entity, unit_kind, unit
  having not bool_or(state = 'complete')
)
select
  units.entity, unit_kind, state,
  min(masked) || case when count(distinct masked) > 1 then ' (and similar reasons with other numbers)' else '' end,
  count(*), count(videos.video_id), coalesce(sum(videos.view_count), 0)::double
from units
left join marts.videos as videos
  on videos.study = $study and units.entity = 'comments' and unit_kind = 'video'
  and videos.video_id = try_cast(units.unit as bigint)
group by units.entity, unit_kind, state, regexp_replace(masked, '[0-9]+', '0', 'g')
order by count(*) desc, units.entity, unit_kind, state
"""

OBSERVED_ACCOUNTS_SQL = """
with accounts as (
  select entity, unit, count(*) as due, count(*) filter (state = 'complete') as complete
  from marts.coverage
  where study = $study and unit_kind in ('account', 'playlist') and entity not in ('videos', 'comments')
  group by entity, unit
),

waves as (
  select entity, count(distinct partition_day) as waves from marts.coverage
  where study = $study and unit_kind in ('account', 'playlist') and entity not in ('videos', 'comments')
  group by entity
)

select
  entity, any_value(waves), count(*), count(*) filter (complete > 0), count(*) filter (complete = due),
  sum(due)::bigint, sum(complete)::bigint
from accounts join waves using (entity) group by entity order by entity
"""

DAILY_REQUESTS_SQL = """
select
  day, pool, sum(n_requests - n_failed)::bigint, sum(n_failed - n_over_quota)::bigint, sum(n_over_quota)::bigint
from marts.quota_usage where study = $study group by day, pool order by day, pool
"""

ENDPOINTS_SQL = """
select
  pool, endpoint, sum(n_requests)::bigint, sum(n_failed)::bigint, sum(n_over_quota)::bigint, sum(n_rows)::bigint,
  max(latency_ms_median)
from marts.quota_usage where study = $study group by pool, endpoint order by pool desc, sum(n_requests) desc, endpoint
"""

# The creator of each handle, so that a renamed account is one creator. A handle that several accounts had is its own.
_OWNERS_SQL = """owners as (
  select handle, any_value(username) as owner
  from (
    select username, unnest(list_append(coalesce(former_usernames, []), username)) as handle
    from marts.creators where study = $study
  )
  group by handle having count(*) = 1
)"""

# Not from the mart `hashtags`, which counts by day: creators and medians over all days do not follow from it.
HASHTAGS_SQL = f"""
with {_OWNERS_SQL}
select hashtag, count(*) as videos, count(distinct creator), median(view_count)::double, sum(view_count)::double
from (
  select coalesce(owner, username) as creator, view_count, unnest(hashtags) as hashtag
  from marts.videos left join owners on handle = username where study = $study
)
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
  quantile_cont(x, 0.25)::double, median(x)::double, quantile_cont(x, 0.75)::double, min(x)::double, max(x)::double,
  avg(x)::double, coalesce(sum({weight}) filter (where x = 0), 0)::double
from ({relation})
"""

# Bins of equal ratio. With other ones, such as 1, 2, 5, 10, an even distribution would look like a saw. Powers of two
# also contain whole numbers in proportion to their width.
LOG_BINS_SQL = """
select low, 2 * low, coalesce(sum({weight}), 0)::double
from (select *, 2.0::double ** floor(log2(x)) as low from ({relation}) where x > 0)
group by low order by low
"""

EQUAL_BINS_SQL = """
select floor(x / $width) * $width as low, count(*) from ({relation}) where x is not null group by all order by low
"""

# The weight is null for a video that is no random one.
COMMENTS_PER_VIDEO_SQL = """
select coalesce(n_comments, 0) as x, 1 / inclusion_probability as weight
from (
  select try_cast(unit as bigint) as video_id, inclusion_probability from marts.coverage
  where study = $study and entity = 'comments' and unit_kind = 'video' and state = 'complete'
) as lists
left join (
  select video_id, count(*) as n_comments from marts.comments where study = $study group by video_id
) as comments using (video_id)
"""

# The estimates are for the videos of the collected days, so the weight is that of the video on its day.
REPLIES_PER_COMMENT_SQL = """
select coalesce(n_replies, 0) as x, days.inclusion_probability / top.inclusion_probability as weight
from marts.comments as top
left join marts.study_days as days on days.study = top.study and days.day = top.day
left join (
  select thread_root_id, count(*) as n_replies from marts.comments
  where study = $study and is_reply group by thread_root_id
) as replies on replies.thread_root_id = top.comment_id
where top.study = $study and not top.is_reply
"""

DEPTHS_SQL = "select depth, count(*) from marts.comments where study = $study group by depth order by depth"

# An account whose list was not read has a degree that says nothing: its ties to the panel.
DEGREES_SQL = """
with degrees as (
  select entity as direction, unit as account, arg_max(kept, completed_at) as degree
  from marts.coverage
  where study = $study and entity in ('followers', 'following') and state = 'complete'
  group by entity, unit having degree > 0
)
select
  direction, degree, count(*) as accounts,
  sum(count(*)) over (partition by direction order by degree desc) / sum(count(*)) over (partition by direction)
from degrees group by direction, degree order by direction, degree
"""

# The estimators of Horvitz and Thompson (total) and of Hájek (mean and share, by linearization) for a Poisson sample:
# each video is drawn by itself. Equal videos show no error, which is no evidence of a certain estimate. A study that
# was edited can have days of which all videos were selected.
SAMPLED_COMMENTS_SQL = """
with drawn as (
  select unit, state, inclusion_probability as pi from marts.coverage
  where study = $study and entity = 'comments' and unit_kind = 'video' and inclusion_probability > 0
),

sampled as (
  select pi, count(comments.comment_id) as y, least(1, count(comments.comment_id)) as has_any
  from drawn
  left join marts.comments as comments on comments.study = $study and comments.video_id = try_cast(drawn.unit as bigint)
  where drawn.state = 'complete'
  group by drawn.unit, pi
),

means as (select sum(y / pi) / sum(1 / pi) as mean, sum(has_any / pi) / sum(1 / pi) as share from sampled)

select
  (select count(*) from drawn), count(*), (select count(*) from marts.videos where study = $study),
  coalesce(sum(y), 0)::bigint, sum(y / pi), nullif(sqrt(sum((1 - pi) * y * y / (pi * pi))), 0),
  any_value(mean), nullif(sqrt(sum((1 - pi) * (y - mean) * (y - mean) / (pi * pi))) / sum(1 / pi), 0),
  any_value(share), nullif(sqrt(sum((1 - pi) * (has_any - share) * (has_any - share) / (pi * pi))) / sum(1 / pi), 0)
from sampled cross join means
where (select min(pi) from drawn) < 1
"""

FOLLOW_LISTS_SQL = """
select entity, unit, state, kept, expected, completed_at
from marts.coverage
where study = $study and entity in ('followers', 'following') and state not in ('not_asked', 'too_fresh')
qualify row_number() over (partition by entity, unit order by partition_day desc) = 1
order by entity, kept desc, unit
"""

AGE_AT_OBSERVATION_SQL = "select observed_age_days as x from marts.videos where study = $study"
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
  (median(age_days) filter (observation_number = 1))::double, count(*) filter (is_within_count_lag)
from marts.video_observations where study = $study group by 1 order by 1
"""

# Numbered over the whole mart, so that a change has the same number in every report and in the codebook.
API_CHANGES_SQL = """
select
  row_number() over (order by first_day nulls first, change_id),
  date_basis, first_day, last_day, "precision", title, description, source
from marts.api_changes order by 1
"""

OBSERVED_RANGE_SQL = "select min(observed_at), max(observed_at) from marts.video_observations where study = $study"

N_YOUNG_SQL = "select count(*) filter (is_within_count_lag) from marts.videos where study = $study"

DAY_AGES_SQL = """
select count(age), median(age), min(age), max(age) from (
  select (epoch(first_completed_at) - epoch(partition_day + interval 1 day)) / 86400 as age
  from marts.coverage where study = $study and entity = 'videos' and unit_kind = 'day' and state = 'complete'
)
"""

OBSERVATION_AGES_SQL = """
select observation_number, count(*), median(age_days), min(age_days), max(age_days)
from marts.video_observations where study = $study and isfinite(age_days)
group by observation_number order by observation_number
"""

# The hits of a search that covered several days are divided among them in proportion, so such days are one search.
FIRST_YIELD_SQL = """
select sum(offered)::bigint, sum(kept)::bigint from marts.observation_rounds
where study = $study and round_number = 1 group by capture, started_at order by min(day)
"""

ATTRITION_SQL = """
select
  coalesce(sum(days.n_videos), 0)::bigint, coalesce(sum(days.n_videos - rounds.n_returned), 0)::bigint,
  coalesce(sum(days.n_not_returned), 0)::bigint
from marts.observation_rounds as rounds
join marts.study_days as days on days.study = rounds.study and days.day = rounds.day
where rounds.study = $study and rounds.round_number = 1
"""

ROUNDS_SQL = """
select
  round_number, count(*), median(age_days), sum(offered)::bigint, sum(kept)::bigint, sum(n_first_seen)::bigint,
  sum(n_seen_again)::bigint, sum(n_reappeared)::bigint, sum(n_missed)::bigint
from marts.observation_rounds where study = $study group by round_number order by round_number
"""

# The videos at risk in a later round: known before it, and not lost in an earlier one. Before the first round only an
# attempt that was not complete, or a canary check, can have returned a video. Such videos are few, so one that is lost
# would weigh as many of the others.
CREATOR_ROUNDS_SQL = f"""
with {_OWNERS_SQL}
select
  coalesce(owners.owner, videos.username), rounds.round_number, count(*),
  count(*) filter (where videos.missed_at = rounds.started_at)
from marts.videos as videos
left join owners on owners.handle = videos.username
join marts.observation_rounds as rounds
  on rounds.study = videos.study and rounds.day = videos.day and videos.first_seen_at < rounds.started_at
  and (videos.missed_at is null or videos.missed_at >= rounds.started_at)
where videos.study = $study and rounds.round_number > 1
group by all
"""

# Lists of videos without comments need no request; their age says nothing about the time of a request.
COMMENT_AGES_SQL = """
select count(age), median(age), min(age), max(age) from (
  select date_diff('second', videos.created_at, coverage.completed_at) / 86400.0 as age
  from marts.coverage as coverage
  join marts.videos as videos on videos.study = coverage.study and videos.video_id::varchar = coverage.unit
  where coverage.study = $study and entity = 'comments' and unit_kind = 'video' and state = 'complete' and requests > 0
)
"""

AVAILABLE_SINCE_SQL = "select column_name, available_since from marts.codebook where mart = 'videos'"

SAMPLED_SQL = """
select entity, inclusion_probability, count(*) from marts.coverage
where study = $study and inclusion_probability > 0 and inclusion_probability < 1 and unit_kind <> 'comment'
group by entity, inclusion_probability order by entity, inclusion_probability
"""

VERIFIED_SQL = """
select
  kind, sum(n_items)::bigint, sum(n_verified)::bigint, sum(n_overdue)::bigint, min(oldest_verified_at),
  min(first_due_at)
from marts.verification where study = $study group by kind order by kind desc
"""

# Withdrawn items belong to no study any more.
WITHDRAWN_SQL = """
select kind, found_by, sum(n_items)::bigint, min(withdrawn_at)::date, max(withdrawn_at)::date
from marts.withdrawals group by kind, found_by order by kind desc, found_by
"""

SAMPLED_DAYS_SQL = f"""
select
  day, state = 'complete',
  {", ".join(f"case when n_videos = 0 then 0 else {name} end::double" for name in SAMPLED_COUNTS)}
from marts.study_days where study = $study and stratum is not null order by day
"""

REPEATED_DAYS_SQL = """
select day, first_ended_at, second_ended_at, n_first, n_second, n_both, chapman_estimate, chapman_standard_error
from marts.repeatability where study = $study order by day
"""

ESTIMATES_SQL = """
select draws.day, ended_at, n_draws, n_distinct, n_shared, estimate, estimate_low, estimate_high,
    least(hour_p_value, region_p_value, length_p_value),
    case when day_state = 'complete' then n_videos_held end,
    case when day_state = 'complete' then n_videos_held - days.n_not_returned end
from marts.population as draws
left join marts.study_days as days on days.study = draws.study and days.day = draws.day
where draws.study = $study order by draws.day, ended_at
"""

CODEBOOK_SQL = """
select
  mart, column_name, type, coalesce(unit, ''), description, coalesce(source_field, ''), coalesce(available_since, ''),
  n_rows, coalesce(n_filled, 0), coalesce(examples, ''), fill_by_month
from marts.codebook order by mart, column_number
"""


def read_report_data(settings: Settings, study: str) -> ReportData:
    """Return the contents of a study's report.

    Raise WarehouseReadError if there is no warehouse, or if it lacks one of `REQUIRED_MARTS`.
    """
    require_warehouse(settings)
    with connect_read_only(settings.published_marts) as connection:
        return _Reader(connection, study).read(published_at(settings.published_marts))


class _Reader:
    """Reads one study through one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, study: str) -> None:
        self._connection, self._study = connection, study
        self._marts = read_marts(connection)
        if missing := [mart for mart in REQUIRED_MARTS if mart not in self._marts]:
            raise WarehouseReadError(
                f"The report on {study} cannot be written: the published warehouse has no mart {', '.join(missing)}, "
                "because another version built it. Nothing was changed. Materialize the group warehouse/marts."
            )

    def _rows(self, query: str, **more: Any) -> list[tuple[Any, ...]]:
        # DuckDB raises an error for values whose name the query does not use.
        values = {name: value for name, value in ({"study": self._study} | more).items() if f"${name}" in query}
        return self._connection.execute(query, values).fetchall()

    def read(self, built: datetime) -> ReportData:
        units = [UnitGroup(*row) for row in self._rows(UNITS_SQL)]
        days = [StudyDay(*row) for row in self._rows(DAYS_SQL)]
        [(n_hashtags,)] = self._rows(N_HASHTAGS_SQL)
        [(top_share,)] = self._rows(TOP_SHARE_SQL)
        [observed_range] = self._rows(OBSERVED_RANGE_SQL)
        first, last = observed_range
        weekly = first is not None and (last - first).days > MAX_DAYS
        gaps = [MissingUnits(*row) for row in self._rows(MISSING_UNITS_SQL)]
        missing = [DistinctMissing(*row) for row in self._rows(DISTINCT_MISSING_SQL)]
        words = words_of([*(one.reason for one in gaps), *(one.reason for one in missing)])
        sampled_comments = SampledComments(*self._rows(SAMPLED_COMMENTS_SQL)[0])
        weighted = sampled_comments.estimate is not None
        return ReportData(
            built_at=built,
            overall=StudyTotals(*self._rows(TOTALS_SQL)[0]),
            days=days,
            units=units,
            gaps=gaps,
            canaries=[CanaryCheck(*row) for row in self._rows(CANARIES_SQL)],
            followed=FollowedAccounts(*self._rows(FOLLOWED_SQL)[0]),
            excess=ExcessRows(*self._rows(EXCESS_SQL)[0]),
            rejected=[RejectedElements(*row) for row in self._rows(REJECTED_SQL)],
            n_distinct_units=self._rows(N_DISTINCT_UNITS_SQL)[0][0],
            missing=missing,
            accounts=[ObservedAccounts(*row) for row in self._rows(OBSERVED_ACCOUNTS_SQL)],
            daily_requests=[DailyRequests(*row) for row in self._rows(DAILY_REQUESTS_SQL)],
            endpoints=[EndpointRequests(*row) for row in self._rows(ENDPOINTS_SQL)],
            hashtags=[RankedItem(*row) for row in self._rows(HASHTAGS_SQL, top=TOP_N)],
            n_hashtags=n_hashtags,
            creators=[RankedItem(*row) for row in self._rows(CREATORS_SQL, top=TOP_N)],
            top_share=top_share,
            engagement=[
                self._distribution(
                    name, f"select {name.lower()[:-1]}_count as x from marts.videos where study = $study"
                )
                for name in ("Views", "Likes", "Comments", "Shares")
            ],
            threads=[
                self._distribution("Comments per video", COMMENTS_PER_VIDEO_SQL, "videos", weighted=weighted),
                self._distribution("Replies per comment", REPLIES_PER_COMMENT_SQL, "comments", weighted=weighted),
            ],
            depths=[(depth, number) for depth, number in self._rows(DEPTHS_SQL)],
            degrees=[DegreeShare(*row) for row in self._rows(DEGREES_SQL)],
            follow_lists=[FollowList(*row) for row in self._rows(FOLLOW_LISTS_SQL)],
            ages=[
                self._distribution("Age of the video when observed, days", AGE_AT_OBSERVATION_SQL, linear=True),
                self._distribution("Time since the observation, days", DATA_AGE_SQL, linear=True, built=built),
            ],
            n_young=self._rows(N_YOUNG_SQL)[0][0],
            day_ages=DayAges(*self._rows(DAY_AGES_SQL)[0]),
            observation_ages=[ObservationAges(*row) for row in self._rows(OBSERVATION_AGES_SQL)],
            comment_ages=CommentAges(*self._rows(COMMENT_AGES_SQL)[0]),
            first_yield=estimate_yield(self._rows(FIRST_YIELD_SQL)),
            attrition=Attrition(*self._rows(ATTRITION_SQL)[0]),
            rounds=self._rounds(),
            observed_range=observed_range,
            observations=[(times, videos) for times, videos in self._rows(OBSERVATIONS_SQL)],
            observed=[
                DailyObservations(*row)
                for row in self._rows(DAILY_OBSERVATIONS_SQL.format(unit="week" if weekly else "day"))
            ],
            observed_step=7 if weekly else 1,
            api_changes=self._api_changes(days, units, observed_range),
            sampled_comments=sampled_comments,
            sampled=[SampledUnits(*row) for row in self._rows(SAMPLED_SQL)],
            column_fill=self._column_fill(),
            verified=[VerifiedItems(*row) for row in self._rows(VERIFIED_SQL)],
            withdrawn=[WithdrawnItems(*row) for row in self._rows(WITHDRAWN_SQL)],
            sampled_days=[
                SampledDay(day, is_complete, tuple(counts))
                for day, is_complete, *counts in self._rows(SAMPLED_DAYS_SQL)
            ],
            repeated_days=[RepeatedDay(*row) for row in self._rows(REPEATED_DAYS_SQL)],
            estimated_days=[EstimatedDay(*row) for row in self._rows(ESTIMATES_SQL)],
            handles_in_reasons=frozenset(handle for (handle,) in self._rows(HANDLES_SQL, words=words)),
        )

    def _rounds(self) -> list[ObservationRound]:
        """Return the complete observations of the days by number, with the survival of videos by creator."""
        rounds = self._rows(ROUNDS_SQL)
        creators: dict[str, list[tuple[int, int]]] = {}
        for username, number, at_risk, lost in self._rows(CREATOR_ROUNDS_SQL):
            creators.setdefault(username, [(0, 0)] * len(rounds))[number - 1] = (at_risk, lost)
        survival = clustered_survival(creators.values())
        return [ObservationRound(*(*row, survival[row[0] - 1] if survival and row[0] > 1 else None)) for row in rounds]

    def _distribution(
        self,
        name: str,
        relation: str,
        unit: str = "videos",
        *,
        linear: bool = False,
        weighted: bool = False,
        **more: Any,
    ) -> Distribution:
        """Return the distribution of column `x` of a query, in bins from 1, 2, 4, 8, 16 … or of equal width.

        NaN and infinity, which a damaged time or count could cause, are missing values. With `weighted` the query has
        a column `weight`.
        """
        weight = "weight" if weighted else "1"
        relation = f"select case when isfinite(x::double) then x end as x, {weight} as weight from ({relation})"
        [counts] = self._rows(QUARTILES_SQL.format(relation=relation, weight=weight), **more)
        if linear:
            least, most = counts[6], counts[7]
            width = _bin_width((most or 0) - (least or 0))
            grouped = self._rows(EQUAL_BINS_SQL.format(relation=relation), width=width, **more)
            bins = [Bin(low, low + width, number) for low, number in grouped]
            counts = (counts[0], counts[1], 0, *counts[3:])
        else:
            bins = [Bin(*row) for row in self._rows(LOG_BINS_SQL.format(relation=relation, weight=weight), **more)]
        number, absent, zeros, quartile, median, upper, _, most, mean, weighted_zeros = counts
        return Distribution(
            name, unit, number, absent, zeros, bins, quartile, median, upper, most, mean, weighted_zeros, weighted
        )

    def _column_fill(self) -> list[ColumnFill]:
        """Return the columns of the mart `videos` with the number of the study's videos that have a value."""
        columns = self._marts["videos"].columns
        counts = ", ".join(f"count({sql_identifier(column.name)})" for column in columns)
        [n_filled] = self._rows(f"select {counts} from marts.videos where study = $study")
        since = dict(self._rows(AVAILABLE_SINCE_SQL)) if "codebook" in self._marts else {}
        return [
            ColumnFill(column.name, column.description, number, since.get(column.name))
            for column, number in zip(columns, n_filled, strict=True)
        ]

    def _api_changes(
        self, days: Sequence[StudyDay], units: Sequence[UnitGroup], observed_range: Sequence[datetime | None]
    ) -> list[ApiChange]:
        """Return the API changes that affect the publication dates or the collection dates of the study."""
        if "api_changes" not in self._marts:
            return []
        times = [*observed_range, *(time for group in units for time in (group.first_at, group.last_at))]
        dates: dict[str, Sequence[date]] = {
            "published": [day.day for day in days],
            "observed": [time.date() for time in times if time],
        }
        changes = [ApiChange(*row) for row in self._rows(API_CHANGES_SQL)]
        return [
            change
            for change in changes
            if (affected := dates[change.date_basis]) and change.affects(min(affected), max(affected))
        ]


def _bin_width(spread: float) -> float:
    """Return a round bin width of at least 1 that divides the range into at most twenty bins."""
    width = 1.0
    while spread / width > 20:
        # 1, 2, 5, 10, 20, 50 …
        width *= 2.5 if str(width)[0] == "2" else 2
    return width

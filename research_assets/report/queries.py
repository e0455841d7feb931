"""The marts into `Facts`: every number of a report comes from here, none is made up elsewhere.

The published warehouse is opened read-only, for as long as the queries take. It may have been built by another version
of the project; a mart that it lacks is an error that says so, but for those that the report can do without.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from research_assets.reading import ReadingError, connect, marts, require_warehouse
from research_assets.report import MARTS
from research_assets.report.facts import (
    Bin,
    Day,
    Degree,
    Distribution,
    Drawn,
    Endpoint,
    Epoch,
    Facts,
    Gap,
    Look,
    Overall,
    Ranked,
    Spent,
    Units,
)
from research_assets.settings import Settings

TOP = 20
"""Hashtags and creators in a ranking."""


def read_facts(settings: Settings, study: str) -> Facts:
    """All that is told of a study. Raises ReadingError without a warehouse, or if it lacks a mart."""
    require_warehouse(settings)
    built = datetime.fromtimestamp(settings.warehouse.stat().st_mtime, UTC)
    with connect(settings.warehouse) as connection:
        return _Reader(connection, study).facts(built)


class _Reader:
    """Queries about one study on one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, study: str) -> None:
        self._connection, self._study = connection, study
        self._marts = marts(connection)
        if lacking := [mart for mart in MARTS if mart not in self._marts]:
            raise ReadingError(
                f"The report on {study} cannot be written: the published warehouse has no mart {', '.join(lacking)}. "
                "It was built by another version; build it anew by materializing the group warehouse."
            )

    def _rows(self, query: str, **more: Any) -> list[tuple[Any, ...]]:
        # DuckDB refuses values for names that the query does not use.
        values = {name: value for name, value in ({"study": self._study} | more).items() if f"${name}" in query}
        return self._connection.execute(query, values).fetchall()

    def facts(self, built: datetime) -> Facts:
        units = [Units(*row) for row in self._rows(_UNITS)]
        days = [Day(*row) for row in self._rows(_DAYS)]
        [(n_hashtags,)] = self._rows(_N_HASHTAGS)
        [(top_share,)] = self._rows(_TOP_SHARE)
        [seen] = self._rows(
            "select min(observed_at), max(observed_at) from marts.video_observations where study = $study"
        )
        return Facts(
            built_at=built,
            overall=Overall(*self._rows(_OVERALL)[0]),
            days=days,
            units=units,
            gaps=[Gap(*row) for row in self._rows(_GAPS)],
            spent=[Spent(*row) for row in self._rows(_SPENT)],
            endpoints=[Endpoint(*row) for row in self._rows(_ENDPOINTS)],
            hashtags=[Ranked(*row) for row in self._rows(_HASHTAGS, top=TOP)],
            n_hashtags=n_hashtags,
            creators=[Ranked(*row) for row in self._rows(_CREATORS, top=TOP)],
            top_share=top_share,
            engagement=[
                self._distribution(
                    name, f"select {name.lower()[:-1]}_count as x from marts.videos where study = $study"
                )
                for name in ("Views", "Likes", "Comments", "Shares")
            ],
            threads=[
                self._distribution("Comments held of a video", _COMMENTS_OF_VIDEO, "videos"),
                self._distribution("Replies held to a comment", _REPLIES_TO_COMMENT, "comments"),
            ],
            depths=[(depth, number) for depth, number in self._rows(_DEPTHS)],
            degrees=[Degree(*row) for row in self._rows(_DEGREES)],
            looks=[Look(*row) for row in self._rows(_LOOKS)],
            ages=[
                self._distribution("Age of the video when counted, days", _AGE_WHEN_COUNTED, linear=True),
                self._distribution("Age of the counts, days", _AGE_OF_COUNTS, linear=True, built=built),
            ],
            seen=seen,
            observations=[(times, videos) for times, videos in self._rows(_OBSERVATIONS)],
            epochs=self._epochs(days, units),
            drawn=[Drawn(*row) for row in self._rows(_DRAWN)],
        )

    def _distribution(
        self, name: str, relation: str, unit: str = "videos", *, linear: bool = False, **more: Any
    ) -> Distribution:
        """The distribution of column `x` of a query; in bins 1, 2, 5, 10, 20, ... or of equal width."""
        [counts] = self._rows(_SPREAD.format(relation=relation), **more)
        if linear:
            least, most = counts[6], counts[7]
            width = _width((most or 0) - (least or 0))
            grouped = self._rows(_EQUAL_BINS.format(relation=relation), width=width, **more)
            bins = [Bin(low, low + width, number) for low, number in grouped]
            counts = (counts[0], counts[1], 0, *counts[3:])
        else:
            bins = [Bin(*row) for row in self._rows(_LOG_BINS.format(relation=relation), **more)]
        number, absent, zeros, quartile, median, upper, _, most = counts
        return Distribution(name, unit, number, absent, zeros, bins, quartile, median, upper, most)

    def _epochs(self, days: Sequence[Day], units: Sequence[Units]) -> list[Epoch]:
        """The breaks that touch the days of the study, or the time in which it was asked."""
        if "epochs" not in self._marts:
            return []
        asked = [moment.date() for unit in units for moment in (unit.first_at, unit.last_at) if moment]
        touched: dict[str, Sequence[date]] = {"published": [day.day for day in days], "observed": asked}
        epochs = [Epoch(*row) for row in self._rows(_EPOCHS)]
        return [epoch for epoch in epochs if (of := touched[epoch.clock]) and epoch.touches(min(of), max(of))]


def _width(spread: float) -> float:
    """A round width that gives about twenty bins, at least one day wide."""
    for exponent in range(6):
        for digit in (1, 2, 5):
            if spread / (digit * 10**exponent) <= 20:
                return float(digit * 10**exponent)
    return 1e6


_OVERALL = """
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

_DAYS = """
select day, state, n_videos, n_creators, n_comments, offered, kept, view_count_median
from marts.days where study = $study order by day
"""

# Windows of a search are units too where they were kept; only its days are what a study wants.
_UNITS = """
select
  entity, unit_kind, state, count(*),
  coalesce(sum(asked), 0)::bigint, coalesce(sum(offered), 0)::bigint, coalesce(sum(kept), 0)::bigint,
  sum(expected)::bigint, coalesce(sum(requests), 0)::double, min(first_at), max(last_at)
from marts.coverage
where study = $study and (entity <> 'videos' or unit_kind = 'day')
group by all order by entity, unit_kind, state
"""

# A reason that names its unit would be as many reasons as units, and would name people.
_GAPS = """
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

_SPENT = """
select
  day, pool, sum(n_requests - n_failed)::bigint, sum(n_failed - n_refused)::bigint, sum(n_refused)::bigint
from marts.quota where study = $study group by day, pool order by day, pool
"""

_ENDPOINTS = """
select
  pool, endpoint, sum(n_requests)::bigint, sum(n_failed)::bigint, sum(n_refused)::bigint, sum(n_rows)::bigint,
  max(latency_ms_median)
from marts.quota where study = $study group by pool, endpoint order by pool desc, sum(n_requests) desc
"""

# The mart counts by day; creators and medians of all days do not follow from those of each.
_HASHTAGS = """
select hashtag, count(*) as videos, count(distinct username), median(view_count)::double, sum(view_count)::bigint
from (select username, view_count, unnest(hashtags) as hashtag from marts.videos where study = $study)
group by hashtag order by videos desc, hashtag limit $top
"""

_N_HASHTAGS = "select count(distinct hashtag) from marts.hashtags where study = $study"

_CREATORS = """
select username, n_videos, n_days, view_count_median, view_count_sum
from marts.creators where study = $study order by n_videos desc, username limit $top
"""

_TOP_SHARE = """
select sum(n_videos) filter (where place <= greatest(1, round(0.1 * accounts))) / sum(n_videos)
from (
  select n_videos, row_number() over (order by n_videos desc) as place, count(*) over () as accounts
  from marts.creators where study = $study
)
"""

_SPREAD = """
select
  count(*), count(*) filter (where x is null), count(*) filter (where x = 0),
  quantile_cont(x, 0.25)::double, median(x)::double, quantile_cont(x, 0.75)::double, min(x)::double, max(x)::double
from ({relation})
"""

_LOG_BINS = """
select low, case when round(low / decade) = 2 then 2.5 else 2 end * low, count(*)
from (
  select decade, decade * case when x / decade >= 5 then 5 when x / decade >= 2 then 2 else 1 end as low
  from (select x, 10.0::double ** floor(log10(x)) as decade from ({relation}) where x > 0)
)
group by all order by low
"""

_EQUAL_BINS = """
select floor(x / $width) * $width as low, count(*) from ({relation}) where x is not null group by all order by low
"""

_COMMENTS_OF_VIDEO = """
select coalesce(held, 0) as x
from (
  select try_cast(unit as bigint) as video_id from marts.coverage
  where study = $study and entity = 'comments' and unit_kind = 'video' and state = 'complete'
) as asked
left join (
  select video_id, count(*) as held from marts.comments where study = $study group by video_id
) as comments using (video_id)
"""

_REPLIES_TO_COMMENT = """
select coalesce(held, 0) as x
from marts.comments as top
left join (
  select thread_root_id, count(*) as held from marts.comments where study = $study and is_reply group by thread_root_id
) as replies on replies.thread_root_id = top.comment_id
where top.study = $study and not top.is_reply
"""

_DEPTHS = "select depth, count(*) from marts.comments where study = $study group by depth order by depth"

_DEGREES = """
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

_LOOKS = """
select entity, unit, state, kept, expected, completed_at
from marts.coverage
where study = $study and entity in ('followers', 'following')
qualify row_number() over (partition by entity, unit order by partition_day desc) = 1
order by entity, kept desc, unit
"""

_AGE_WHEN_COUNTED = "select counted_at_age_days as x from marts.videos where study = $study"
_AGE_OF_COUNTS = """
select (epoch($built::timestamptz) - epoch(last_seen_at)) / 86400 as x from marts.videos where study = $study
"""

_OBSERVATIONS = """
select n_observations, count(*) from marts.videos where study = $study group by n_observations order by n_observations
"""

_EPOCHS = """
select clock, first_day, last_day, "precision", title, description, source
from marts.epochs order by first_day nulls first, epoch
"""

_DRAWN = """
select entity, probability, count(*) from marts.coverage
where study = $study and probability < 1 group by entity, probability order by entity, probability
"""

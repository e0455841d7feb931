"""Estimates of requests, with their basis. Planning, the forecast and the collector share them.

Estimates use observed rows per page, never the page size: recorded pages of 100 hits returned 74 to 79 rows (reference
§7 #8). Without observations the basis is "no data yet".

The first part is arithmetic; the second part reads from raw/coverage how many requests the same work has needed before.
Not here: how days are grouped into windows (see windows.py).
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, get_args

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS
from research_assets.units.coverage import ATTEMPT_RECENCY
from research_assets.units.windows import (
    estimate_hits_per_day,
    expected_hits,
    plan_windows,
    requests_for_hits,
    split_at_dead_days,
)

Basis = Literal[
    "nothing to request",
    "one request each",
    "known counts",
    "observed density",
    "observed pages",
    "first collection",
    "no data yet",
]
"""Basis of an estimate, the most certain first.

Counts that the API reported; hits of days nearby; pages that such lists had; entities that cost one request each; for
lists that a newer count may reopen, the requests of their first collection; without any data one request, or
`DEFAULT_PAGES`."""

BASIS_BY_CERTAINTY: tuple[Basis, ...] = get_args(Basis)
"""Each basis, the most certain first."""

MAX_FOLLOW_ROWS = 5_000
"""Accounts of a follow list that the API returns at most (reference 3.7)."""

DEFAULT_PAGES: Mapping[str, float] = {"liked_videos": 2.0, "reposted_videos": 2.0, "followers": 1.0, "following": 1.0}
"""Pages assumed for a list without data, for entities whose lists may have more than one page."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Number of requests, and its basis. A sum has the least certain basis of its terms."""

    requests: float = 0.0
    basis: Basis = "nothing to request"

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.requests + other.requests, max(self.basis, other.basis, key=BASIS_BY_CERTAINTY.index))


NO_COST = Estimate()
"""The estimate of work that needs no request."""


def sum_estimates(estimates: Iterable[Estimate]) -> Estimate:
    """Return the sum of several estimates."""
    return sum(estimates, NO_COST)


def estimate_search(
    days: Sequence[date],
    hits_per_day: Mapping[date, float],
    *,
    page_size: int = MAX_COUNT,
    window_days: int = MAX_WINDOW_DAYS,
    n_batches: int = 1,
    never_searched: Collection[date] = (),
) -> Estimate:
    """Return the requests of a search over some days, in the windows that the collector will choose.

    `hits_per_day` are the raw hits of collected days. If there are none, each window counts as one request, which is a
    lower bound. A query with many usernames is searched in `n_batches`; the hits are divided evenly among them.
    No window spans a day that is `never_searched`.
    """
    if not days:
        return NO_COST
    first, last = min(days), max(days)
    all_days = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
    expected = {day: hits / n_batches for day, hits in estimate_hits_per_day(hits_per_day, all_days).items()}
    windows = [
        window
        for group in split_at_dead_days(days, never_searched)
        for window in plan_windows(group, expected, max_days=window_days, page_size=page_size)
    ]
    requests = sum(requests_for_hits(expected_hits(window.days, expected), page_size) for window in windows)
    return Estimate(n_batches * requests, "observed density" if expected else "no data yet")


def estimate_list(
    entity: str,
    expected: int | None,
    observed_pages: float | None,
    *,
    page_size: int = MAX_COUNT,
    ceiling: int = 0,
) -> Estimate:
    """Return the requests of one list: from the `expected` rows if known, else from the mean pages of such lists.

    `ceiling` is the number of comments after which a list is not continued (0: no limit).
    """
    if entity in ("users", "pinned_videos"):
        return Estimate(1, "one request each")
    if expected is not None:
        if entity == "comments":
            rows = min(expected, ceiling) if ceiling else expected
        else:
            rows = expected if entity == "playlists" else min(expected, MAX_FOLLOW_ROWS)
        return Estimate(max(1, math.ceil(rows / page_size)), "known counts")
    if observed_pages:
        return Estimate(max(1.0, observed_pages), "observed pages")
    return Estimate(DEFAULT_PAGES.get(entity, 1.0), "no data yet")


@dataclass(frozen=True, slots=True)
class CommentRequests:
    """Mean requests for the comments of a day: of its first collection, and of the units that newer counts opened.

    `after_reobservation` is None if no unit was opened yet.
    """

    first: float
    after_reobservation: float | None = None


def mean_comment_requests_per_day(raw: Path | RawTables) -> dict[str, CommentRequests]:
    """Return the mean requests for the comments of a day, by study, over the days with an attempt."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        f"""
        SELECT study, coalesce(sum(requests) FILTER (NOT is_later), 0) / count(DISTINCT partition),
            sum(requests) FILTER (is_later) / nullif(count(DISTINCT partition) FILTER (is_later), 0)
        FROM (
            SELECT study, partition, requests,
                coalesce(bool_or(state IN ('complete', 'too_fresh')) OVER (
                    PARTITION BY study, partition, unit_kind, unit ORDER BY {ATTEMPT_RECENCY}
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ), false) AS is_later
            FROM {{table}} WHERE entity = 'comments'
        ) GROUP BY study
        """,
    )
    return {
        study: CommentRequests(float(first), None if later is None else float(later)) for study, first, later in rows
    }


def reply_request_ratio(raw: Path | RawTables, study: str) -> float:
    """Return the requests for replies per request for top-level comments of a study so far; 0 without data."""
    [(ratio,)] = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        """
        SELECT sum(requests) FILTER (unit_kind = 'comment') / nullif(sum(requests) FILTER (unit_kind = 'video'), 0)
        FROM {table} WHERE entity = 'comments'
        """,
    ) or [(None,)]
    return float(ratio or 0.0)


def mean_requests_per_list(raw: Path | RawTables, entity: str) -> float | None:
    """Return the mean requests of a complete list of an entity, over all studies; None if no list is complete."""
    [(mean,)] = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT avg(requests) FROM {table} WHERE entity = ? AND state = 'complete' AND requests > 0",
        [entity],
    ) or [(None,)]
    return None if mean is None else float(mean)


def max_requests_per_period(raw: Path | RawTables) -> dict[tuple[str, str], float]:
    """Return the requests of the costliest period of each observed entity so far, by study and entity."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        """
        SELECT study, entity, max(cost) FROM (
            SELECT study, entity, partition, sum(requests) AS cost
            FROM {table} WHERE unit_kind IN ('account', 'playlist') GROUP BY study, entity, partition
        ) GROUP BY study, entity
        """,
    )
    return {(study, entity): float(cost) for study, entity, cost in rows}

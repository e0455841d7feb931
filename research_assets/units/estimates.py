"""What work will cost, in requests, and on what that is founded. Arithmetic only: the plan and the agenda share it.

Never 100 rows a page by faith: what a page brings is known from what was held, or it is said that nothing is known.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS
from research_assets.units.windows import estimate_hits_per_day, expected_hits, plan_windows, requests_for_hits

# JOINED: """What work has cost so far, read from raw/coverage: the ground for what the same work will cost again."""


Basis = Literal["known counts", "observed density", "observed pages", "one request each", "no data yet", "held"]
"""From the surest to the least: counts that the API told; hits of days nearby; pages that such lists had; entities that
cost one request each; a guess of one request; nothing to ask."""

BASIS_BY_CERTAINTY: tuple[Basis, ...] = (
    "held",
    "one request each",
    "known counts",
    "observed density",
    "observed pages",
    "no data yet",
)

MAX_FOLLOW_ROWS = 5_000
"""Accounts of a follow list that the API gives at most (reference 3.7)."""

DEFAULT_PAGES: Mapping[str, float] = {"liked_videos": 2.0, "reposted_videos": 2.0, "followers": 1.0, "following": 1.0}
"""Pages taken for a list of which nothing is known, where it may have more than one."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests that work will need, and the least certain of the grounds for it."""

    requests: float = 0.0
    basis: Basis = "held"

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.requests + other.requests, max(self.basis, other.basis, key=BASIS_BY_CERTAINTY.index))


NO_COST = Estimate()
"""What costs nothing."""


def sum_estimates(estimates: Iterable[Estimate]) -> Estimate:
    """The sum of several estimates."""
    return sum(estimates, NO_COST)


def estimate_search(
    days: Sequence[date],
    density: Mapping[date, float],
    *,
    page_size: int = MAX_COUNT,
    window_days: int = MAX_WINDOW_DAYS,
    parts: int = 1,
) -> Estimate:
    """Requests of a search over some days, in the windows that the collector will choose.

    `density` gives the raw hits of days that are held. Without any, the windows are counted: one request each at least.
    A query of many accounts is asked in `parts`, each of which is taken to have as many hits as the others.
    """
    if not days:
        return Estimate()
    first, last = min(days), max(days)
    around = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
    expected = {day: hits / parts for day, hits in estimate_hits_per_day(density, around).items()}
    windows = plan_windows(days, expected, most_days=window_days, page_size=page_size)
    requests = sum(requests_for_hits(expected_hits(window.days, expected), page_size) for window in windows)
    return Estimate(parts * requests, "observed density" if expected else "no data yet")


def estimate_list(
    entity: str,
    expected: int | None,
    observed_pages: float | None,
    *,
    page_size: int = MAX_COUNT,
    ceiling: int = 0,
) -> Estimate:
    """Requests of one list: `expected` rows if a count promises them, else the pages that such lists had on average.

    `ceiling` is the number of comments after which a list is not asked further (0: none).
    """
    if entity in ("users", "pinned_videos"):
        return Estimate(1, "one request each")
    if expected is not None:
        if entity == "comments":
            rows = min(expected, ceiling) if ceiling else expected
        else:
            rows = min(expected, MAX_FOLLOW_ROWS)
        return Estimate(max(1, math.ceil(rows / page_size)), "known counts")
    if observed_pages:
        return Estimate(max(1.0, observed_pages), "observed pages")
    return Estimate(DEFAULT_PAGES.get(entity, 1.0), "no data yet")


def mean_comment_requests_per_day(raw: Path | RawTables) -> dict[str, float]:
    """Requests for the comments of a day on average, by study, over the days that were asked."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT study, sum(requests) / count(DISTINCT partition) FROM {table} WHERE entity = 'comments' GROUP BY study",
    )
    return {study: float(mean) for study, mean in rows}


def reply_request_ratio(raw: Path | RawTables, study: str) -> float:
    """Requests for replies on each request for top-level comments, as they were in a study so far."""
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
    """Requests that a list of an entity took on average, over all studies; None if none was ever complete."""
    [(mean,)] = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT avg(requests) FROM {table} WHERE entity = ? AND state = 'complete' AND requests > 0",
        [entity],
    ) or [(None,)]
    return None if mean is None else float(mean)


def max_requests_per_period(raw: Path | RawTables) -> dict[tuple[str, str], float]:
    """Requests that the costliest period of an entity of accounts took so far, by study and entity."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        """
        SELECT study, entity, max(cost) FROM (
            SELECT study, entity, partition, sum(requests) AS cost
            FROM {table} WHERE unit_kind = 'account' GROUP BY study, entity, partition
        ) GROUP BY study, entity
        """,
    )
    return {(study, entity): float(cost) for study, entity, cost in rows}

"""The windows of a search, and their cost. Pure functions of days and expected hits.

A window is one search over consecutive days. It costs as many requests as its raw hits fill pages, at least one. Sparse
days therefore share a request, and dense days cost at most one partial page per window. Not here: how a window is
collected and when it is split (see collect/search/).
"""

import math
from bisect import bisect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from research_assets.clock import midnight
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS

MAX_WINDOW_PAGES = 64
"""Approximate size in pages at which windows with known hits end, so that several run concurrently.

The partial pages cost less than 1 % of the requests."""

MIN_WINDOW_PAGES = 3 * MAX_WINDOW_PAGES // 4
"""Smallest size in pages at which windows end so that as many run concurrently as may; smaller ones cost requests."""

SPLIT_PAGES = 3 * MAX_WINDOW_PAGES // 2
"""Estimated pages of the rest of a window from which it is split into concurrent ones, as soon as a page shows it."""

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SearchWindow:
    """Days `first` to `last`, both included, collected with one search.

    `n_failures` counts the wider windows that failed. `is_recheck` is true if the window repeats a search with an
    implausible result. `usernames` is the batch of the query that is searched; empty for the whole query. `days_answer`
    is true if the API answered a search for other usernames on the same days, and `n_probes` counts the usernames that
    were searched alone to find out. `bisect_exhausted` is true if no further bisection can find the failing username.
    `search_last` is the last day of the search if another journal has collected its newer days; None without one.
    `part` is the part of the query that is searched (see query_parts.py); empty for the whole query.
    """

    first: date
    last: date
    n_failures: int = 0
    is_recheck: bool = False
    usernames: tuple[str, ...] = ()
    days_answer: bool = False
    n_probes: int = 0
    bisect_exhausted: bool = False
    search_last: date | None = None
    part: str = ""

    @property
    def search_end(self) -> datetime:
        """The end of the last day of the search (UTC)."""
        return midnight((self.search_last or self.last) + ONE_DAY)

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of the window, oldest first."""
        return tuple(self.first + ONE_DAY * i for i in range((self.last - self.first).days + 1))

    def __str__(self) -> str:
        """The window as text: `2026-02-01..2026-02-07 for anna and 2 more`."""
        days = f"{self.first}..{self.last}" if self.first != self.last else f"{self.first}"
        if self.part:
            days = f"{days} {self.part}"
        if not self.usernames:
            return days
        return f"{days} for {self.usernames[0]}" + (
            f" and {len(self.usernames) - 1} more" if len(self.usernames) > 1 else ""
        )


def requests_for_hits(hits: float, page_size: int = MAX_COUNT) -> int:
    """Return the requests of a search with `hits` raw hits; a search without hits costs one."""
    return max(1, math.ceil(hits / page_size - 1e-9))


def even_window_pages(pages: float, pages_per_day: float, concurrency: int) -> int:
    """Return the size in pages at which windows end if `pages` are left and `concurrency` searches run at a time.

    The windows fill whole rounds of concurrent searches. One or two windows more would run alone in the end, as long as
    a whole round; because windows hold whole days, the size allows for a further day.
    """
    rounds = max(1, math.ceil(pages / (MAX_WINDOW_PAGES * concurrency)))
    even = max(MIN_WINDOW_PAGES, math.ceil(pages / (rounds * concurrency)))
    return min(SPLIT_PAGES, even + math.floor(pages_per_day))


def plan_windows(
    days: Sequence[date],
    hits_per_day: Mapping[date, float],
    *,
    max_days: int = MAX_WINDOW_DAYS,
    page_size: int = MAX_COUNT,
    max_pages: int = MAX_WINDOW_PAGES,
) -> list[SearchWindow]:
    """Return the windows that collect some days with the fewest requests, newest first.

    `hits_per_day` are the expected raw hits; a day without a value counts as empty, so that the first searches of a
    study use wide windows. A window may include other days if that is cheaper than a second search. It has at most
    `max_days` days. If the hits are known it has about `max_pages` pages at most; a single day may have more. Of plans
    with equal cost the one with fewer windows is returned.
    """
    requested = sorted(set(days))
    best: list[tuple[int, int]] = [(0, 0)]
    start: list[int] = []
    for end in range(len(requested)):
        options = []
        hits = 0.0
        edge = requested[end] + ONE_DAY
        for begin in range(end, -1, -1):
            if (requested[end] - requested[begin]).days >= max_days:
                break
            while edge > requested[begin]:
                edge -= ONE_DAY
                hits += hits_per_day.get(edge, 0.0)
            pages = requests_for_hits(hits, page_size)
            if begin < end and pages > max_pages:
                break
            options.append((best[begin][0] + pages, best[begin][1] + 1, begin))
        requests, windows, begin = min(options)
        best.append((requests, windows))
        start.append(begin)
    plan = []
    end = len(requested) - 1
    while end >= 0:
        plan.append(SearchWindow(requested[start[end]], requested[end]))
        end = start[end] - 1
    return plan


def split_window(
    window: SearchWindow, hits_per_day: Mapping[date, float], page_size: int = MAX_COUNT
) -> tuple[SearchWindow, SearchWindow]:
    """Split a failed window of several days in two, near the middle, where the two need the fewest requests."""
    days = window.days
    middle = len(days) // 2
    candidates = [i for i in (middle, middle - 1, middle + 1) if 0 < i < len(days)]

    def requests(i: int) -> int:
        return requests_for_hits(expected_hits(days[:i], hits_per_day), page_size) + requests_for_hits(
            expected_hits(days[i:], hits_per_day), page_size
        )

    cut = min(candidates, key=requests)
    return (
        replace(window, last=days[cut - 1], n_failures=window.n_failures + 1),
        replace(window, first=days[cut], n_failures=window.n_failures + 1),
    )


def date_ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """Return the first and last day of each range of consecutive days."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and ranges[-1][1] + ONE_DAY == day:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def split_at_dead_days(days: Iterable[date], dead: Collection[date]) -> list[list[date]]:
    """Return the days in groups. A window must not span two groups, because it fails if it contains a dead day."""
    groups: list[list[date]] = []
    last: date | None = None
    for day in sorted(days):
        between = last is not None and any(last < other < day for other in dead)
        if last is None or between or (last in dead) != (day in dead):
            groups.append([])
        groups[-1].append(day)
        last = day
    return groups


def expected_hits(days: Sequence[date], hits_per_day: Mapping[date, float]) -> float:
    """Return the raw hits expected for some days together."""
    return sum(hits_per_day.get(day, 0.0) for day in days)


def estimate_hits_per_day(observed: Mapping[date, float], days: Sequence[date]) -> dict[date, float]:
    """Return the raw hits expected for each of `days`: the observed hits, else the mean of the 7 nearest observed days.

    Without any observed day the result is empty: the hits are unknown, not zero.
    """
    observed_days = sorted(observed)
    if not observed_days:
        return {}
    expected = {}
    for day in days:
        if day in observed:
            expected[day] = observed[day]
            continue
        index = bisect(observed_days, day)
        nearby = observed_days[max(0, index - 7) : index + 7]
        nearest = sorted(nearby, key=lambda other: abs((other - day).days))[:7]
        expected[day] = sum(observed[other] for other in nearest) / len(nearest)
    return expected


def apportion(total: int, weights: Mapping[date, float]) -> dict[date, int]:
    """Divide a whole number by weight with the largest-remainder method; the shares are equal if all weights are 0.

    The shares are whole numbers and sum up to `total`.
    """
    if not weights:
        return {}
    sum_of_weights = sum(weights.values())
    exact = {
        day: total * weight / sum_of_weights if sum_of_weights else total / len(weights)
        for day, weight in weights.items()
    }
    shares = {day: math.floor(share) for day, share in exact.items()}
    by_remainder = sorted(exact, key=lambda day: (shares[day] - exact[day], day))
    for day in by_remainder[: total - sum(shares.values())]:
        shares[day] += 1
    return shares

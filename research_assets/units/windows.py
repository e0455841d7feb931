"""Which windows a search is asked in, and what they will cost. Pure functions of days and densities: no I/O, no clock.

A window is one search over neighbouring days. Its cost is the pages that its raw hits fill, at least one, so sparse
days share a request and dense days pay at most one partial page per window.
"""

import math
from bisect import bisect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS

MAX_WINDOW_PAGES = 64
"""Windows of known density are cut at about this many pages: they run side by side, at under 1 % for partial pages."""

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SearchWindow:
    """Days `first` to `last`, both included, asked as one search.

    `failures` counts the wider windows that failed; `confirms` says that an empty answer is asked once more. `names`
    are the accounts of the query that it is asked for, none for the whole query: `answers` says that its days were
    answered for others, `tellers` how many accounts were asked alone to learn that, `told` that nothing can be learned.
    """

    first: date
    last: date
    n_failures: int = 0
    is_recheck: bool = False
    usernames: tuple[str, ...] = ()
    days_answer: bool = False
    n_probes: int = 0
    bisect_exhausted: bool = False

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of the window."""
        return tuple(self.first + ONE_DAY * i for i in range((self.last - self.first).days + 1))

    def __str__(self) -> str:
        """The window as people write it."""
        days = f"{self.first}..{self.last}" if self.first != self.last else f"{self.first}"
        if not self.usernames:
            return days
        return f"{days} for {self.usernames[0]}" + (
            f" and {len(self.usernames) - 1} more" if len(self.usernames) > 1 else ""
        )


def requests_for_hits(hits: float, page_size: int = MAX_COUNT) -> int:
    """Requests that a search with so many raw hits needs: an empty one costs one."""
    return max(1, math.ceil(hits / page_size - 1e-9))


def plan_windows(
    days: Sequence[date],
    density: Mapping[date, float],
    *,
    most_days: int = MAX_WINDOW_DAYS,
    page_size: int = MAX_COUNT,
    most_pages: int = MAX_WINDOW_PAGES,
) -> list[SearchWindow]:
    """Cut the wanted days into the windows that cost the fewest requests, newest first.

    `density` gives the raw hits expected for a day; a day that is not in it counts as empty, so that a first contact
    asks wide windows and learns. A window may span days that are not wanted where that is cheaper than a second
    search. It is at most `most_days` long and, where the density is known, about `most_pages` large (a single day may
    be larger). Ties go to fewer windows.
    """
    wanted = sorted(set(days))
    best: list[tuple[int, int]] = [(0, 0)]
    start: list[int] = []
    for end in range(len(wanted)):
        options = []
        hits = 0.0
        edge = wanted[end] + ONE_DAY
        for begin in range(end, -1, -1):
            if (wanted[end] - wanted[begin]).days >= most_days:
                break
            while edge > wanted[begin]:
                edge -= ONE_DAY
                hits += density.get(edge, 0.0)
            pages = requests_for_hits(hits, page_size)
            if begin < end and pages > most_pages:
                break
            options.append((best[begin][0] + pages, best[begin][1] + 1, begin))
        requests, windows, begin = min(options)
        best.append((requests, windows))
        start.append(begin)
    plan = []
    end = len(wanted) - 1
    while end >= 0:
        plan.append(SearchWindow(wanted[start[end]], wanted[end]))
        end = start[end] - 1
    return plan


def split_window(
    window: SearchWindow, density: Mapping[date, float], page_size: int = MAX_COUNT
) -> tuple[SearchWindow, SearchWindow]:
    """Cut a failed window of several days in two, near the middle, where the halves waste the least of their pages."""
    days = window.days
    middle = len(days) // 2
    near = [i for i in (middle, middle - 1, middle + 1) if 0 < i < len(days)]

    def pages(i: int) -> int:
        return requests_for_hits(expected_hits(days[:i], density), page_size) + requests_for_hits(
            expected_hits(days[i:], density), page_size
        )

    cut = min(near, key=pages)
    return (
        replace(window, last=days[cut - 1], n_failures=window.n_failures + 1),
        replace(window, first=days[cut], n_failures=window.n_failures + 1),
    )


def date_ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """First and last day of each stretch of neighbouring days."""
    stretches: list[tuple[date, date]] = []
    for day in sorted(days):
        if stretches and stretches[-1][1] + ONE_DAY == day:
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    return stretches


def split_at_dead_days(days: Iterable[date], dead: Collection[date]) -> list[list[date]]:
    """Days in groups between which a window must not reach: across a dead day it could only fail."""
    groups: list[list[date]] = []
    last: date | None = None
    for day in sorted(days):
        between = last is not None and any(last < other < day for other in dead)
        if last is None or between or (last in dead) != (day in dead):
            groups.append([])
        groups[-1].append(day)
        last = day
    return groups


def expected_hits(days: Sequence[date], density: Mapping[date, float]) -> float:
    """Raw hits expected for some days."""
    return sum(density.get(day, 0.0) for day in days)


def estimate_hits_per_day(density: Mapping[date, float], days: Sequence[date]) -> dict[date, float]:
    """Raw hits expected for each of `days`: what was seen, else the mean of the nearest days seen on either side.

    Nothing seen at all gives an empty answer: the density is unknown, which is not the same as zero.
    """
    seen = sorted(density)
    if not seen:
        return {}
    expected = {}
    for day in days:
        if day in density:
            expected[day] = density[day]
            continue
        place = bisect(seen, day)
        near = sorted(seen[max(0, place - 7) : place + 7], key=lambda other: abs((other - day).days))[:7]
        expected[day] = sum(density[other] for other in near) / len(near)
    return expected


def apportion(total: int, weights: Mapping[date, float]) -> dict[date, int]:
    """Share a whole number out by weight without losing one: largest remainders first, equal shares without weights."""
    if not weights:
        return {}
    mass = sum(weights.values())
    shares = {day: total * weight / mass if mass else total / len(weights) for day, weight in weights.items()}
    whole = {day: math.floor(share) for day, share in shares.items()}
    order = sorted(shares, key=lambda day: (whole[day] - shares[day], day))
    for day in order[: total - sum(whole.values())]:
        whole[day] += 1
    return whole

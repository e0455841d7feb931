"""Knowledge of a run about the days of one query: their status, their hits, and how wide its windows may be.

It learns from each finished window. Planning uses it to choose windows, and `conclude` to judge a result.

Not here: sending requests (see run.py and pager.py); whether days or accounts cause a failure (see bisect.py).
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from research_assets.collect.search.bisect import QUARANTINE_FAILURES
from research_assets.collect.search.progress import ENDLESS, SearchProgress, WindowOutcome
from research_assets.tiktok.requests import MAX_WINDOW_DAYS
from research_assets.units.coverage import UnitStatus
from research_assets.units.windows import (
    MAX_WINDOW_PAGES,
    ONE_DAY,
    SPLIT_PAGES,
    SearchWindow,
    estimate_hits_per_day,
    even_window_pages,
    expected_hits,
    plan_windows,
    requests_for_hits,
    split_at_dead_days,
    split_window,
)

MAX_SINGLE_DAY_FAILURES = 3
"""Failures of a single day, wider windows included, after which it is quarantined."""

MAX_FAILURES = 6
"""Failed wider windows after which even a window of several days is quarantined. Splitting 31 days into single days
takes five."""

NEARBY_DAYS = timedelta(days=15)
"""Distance within which days are compared."""

N_NEAREST_DAYS = 7
"""Days to compare with if none is within `NEARBY_DAYS`: the nearest ones."""

FAILURES_BEFORE_NARROWING = 2
"""Consecutive failed windows after which the run halves the window width (reference §7 #3)."""


@dataclass(slots=True)
class SearchHistory:
    """Knowledge about the days of one query, or of one username batch or part of it.

    `status` is the status of its days from earlier runs, `hits_per_day` the raw hits of each complete day, and
    `max_window_days` the current limit on the width of a window. `query_found` is true for a part of a query that has
    found videos, so that an empty part is no query that never found one. `others_found` returns whether other batches
    of the query have found a video. `empty_query_checked` is true once a second search has found nothing either for a
    query that never found a video. `concurrency` is the number of searches of this query that run at a time.
    """

    status: Mapping[date, UnitStatus]
    configured_max_days: int
    page_size: int
    concurrency: int = 1
    query_found: bool = False
    hits_per_day: dict[date, float] = field(init=False)
    max_window_days: int = field(init=False)
    others_found: Callable[[], bool] = lambda: False
    is_sampled: Callable[[date], bool] = lambda _: True
    empty_query_checked: bool = False
    _consecutive_failures: int = 0
    _missing: set[date] = field(default_factory=set)
    _shown_density: float | None = None

    def __post_init__(self) -> None:
        """Set raw hits and window width from earlier runs."""
        self.hits_per_day = {
            day: float(record.attempt.offered)
            for day, record in self.status.items()
            if record.attempt.state == "complete"
        }
        self.max_window_days = self.configured_max_days

    @property
    def dead_days(self) -> set[date]:
        """Days that were quarantined in earlier runs."""
        return {day for day, record in self.status.items() if record.attempt.state == "quarantined"}

    @property
    def found_anything(self) -> bool:
        """Return whether any attempt at any day found a video."""
        return (
            self.query_found
            or any(self.hits_per_day.values())
            or any(record.max_kept for record in self.status.values())
        )

    @property
    def has_complete_day(self) -> bool:
        """Return whether an earlier run completed a day."""
        return any(record.attempt.state == "complete" for record in self.status.values())

    def record_density(self, progress: SearchProgress) -> None:
        """Store the raw hits of the complete days of a window."""
        for day in progress.complete_days():
            self.hits_per_day[day] = float(progress.offered[day])
            self._missing.discard(day)

    def record_outcome(self, progress: SearchProgress, outcome: WindowOutcome) -> None:
        """Store the raw hits of a finished window and adapt the window width: narrower after failures, then wider.

        The pages of a window that is split show a density before any day is complete.
        """
        self.record_density(progress)
        if outcome == "failed" and not progress.window.n_failures:
            self._consecutive_failures += 1
            if self._consecutive_failures >= FAILURES_BEFORE_NARROWING:
                self.max_window_days = max(1, min(self.max_window_days, len(progress.window.days)) // 2)
        elif outcome == "wide":
            self._shown_density = progress.hits_per_day
        elif outcome == "done":
            self._consecutive_failures = 0
            self.max_window_days = min(
                self.configured_max_days, max(self.max_window_days, 2 * len(progress.window.days))
            )

    def expected_hits(self, days: Sequence[date]) -> float | None:
        """Return the raw hits expected for some days together; None if no density is known."""
        expected = self._estimate(days)
        return expected_hits(days, expected) if expected else None

    def _estimate(self, days: Sequence[date]) -> dict[date, float]:
        """Return the raw hits expected for each day; empty if neither a complete day nor a split window shows any."""
        if self.hits_per_day or self._shown_density is None:
            return estimate_hits_per_day(self.hits_per_day, days)
        return dict.fromkeys(days, self._shown_density)

    def windows(self, days: Sequence[date], running: Set[date], available: int) -> list[SearchWindow]:
        """Plan windows over the days, newest first. A quarantined day gets its own window, and no window spans it.

        While no density is known, no window spans the days of `running` windows either, because its cost is unknown.
        `available` are the requests that the run may send.
        """
        span = [days[0] + ONE_DAY * i for i in range((days[-1] - days[0]).days + 1)]
        expected = self._estimate(span)
        self._missing.update(days)
        dead = self.dead_days
        # Days that were not sampled are never searched.
        barriers = dead | {day for day in span if not self.is_sampled(day)}
        groups = split_at_dead_days(days, barriers if expected else barriers | running)
        plan: list[SearchWindow] = []
        for group in reversed(groups):
            windows = self._plan(group, expected, available)
            available -= sum(requests_for_hits(expected_hits(w.days, expected), self.page_size) for w in windows)
            plan += [replace(w, n_failures=QUARANTINE_FAILURES) if group[0] in dead else w for w in windows]
        return plan

    def narrow(self, window: SearchWindow, dead: Set[date], available: int) -> tuple[SearchWindow, ...] | None:
        """Return the windows that replace a planned one, given newer information; None if it stays as it is."""
        if not dead.isdisjoint(window.days):
            groups = [group for group in split_at_dead_days(window.days, dead) if group[0] not in dead]
            return tuple(replace(window, first=group[0], last=group[-1], n_failures=0) for group in groups)
        if len(window.days) > self.max_window_days:
            halves = split_window(window, self.hits_per_day, self.page_size)
            return tuple(replace(half, n_failures=window.n_failures) for half in halves)
        expected = self._estimate(window.days)
        if requests_for_hits(expected_hits(window.days, expected), self.page_size) >= SPLIT_PAGES:
            narrower = self._plan(window.days, expected, available)
            if len(narrower) > 1:
                return tuple(replace(window, first=one.first, last=one.last) for one in narrower)
        return None

    def replacement_windows(
        self, progress: SearchProgress, outcome: WindowOutcome, available: int
    ) -> tuple[SearchWindow, ...]:
        """Return windows over the open days of a window; none if all are complete or they are quarantined."""
        missing = progress.open_days()
        if not missing or outcome not in ("failed", "lost", "doubtful", "wide"):
            return ()
        if outcome == "wide":
            expected = dict.fromkeys(missing, progress.hits_per_day)
            template = replace(progress.window, n_failures=0, is_recheck=False, search_last=None)
            return tuple(
                replace(template, first=one.first, last=one.last)
                for one in self._plan(missing, expected, max(1, available))
            )
        rest = replace(progress.window, first=missing[0], last=missing[-1], search_last=None)
        partly_complete = len(missing) < len(progress.window.days)
        if outcome == "doubtful" and progress.doubt == ENDLESS:
            # Each window would end so, at the cost of several requests: only the rest is requested again, one time.
            return (replace(rest, n_failures=1),) if partly_complete and not rest.n_failures else ()
        if len(missing) == 1:
            failures = rest.n_failures + 1
            dead = outcome == "failed" and not progress.pages
            return () if dead or failures >= MAX_SINGLE_DAY_FAILURES else (replace(rest, n_failures=failures),)
        if rest.n_failures >= MAX_FAILURES:
            return ()
        if outcome == "lost" and (partly_complete or not progress.window.n_failures):
            return (replace(rest, n_failures=rest.n_failures + (not partly_complete)),)
        return split_window(rest, self.hits_per_day, self.page_size)

    def nearby_hits(self, first: date, last: date) -> list[float]:
        """Return the raw hits of the known days near `first` to `last`, without these days themselves.

        Empty days count: without them the mean would be too high.
        """
        others = {day: hits for day, hits in self.hits_per_day.items() if not first <= day <= last}
        nearby = [hits for day, hits in others.items() if first - NEARBY_DAYS <= day <= last + NEARBY_DAYS]
        if nearby:
            return nearby
        return [others[day] for day in sorted(others, key=lambda day: abs(day - first))[:N_NEAREST_DAYS]]

    def earlier_max(self, day: date) -> int:
        """Return the largest number of videos that an earlier attempt at a day kept."""
        return self.status[day].max_kept if day in self.status else 0

    def widened_to_known_day(self, window: SearchWindow) -> SearchWindow:
        """Return a window with the nearest day whose videos are known, whose hits show that the search is answered.

        The window stays as it is if the API takes no longer window, or if the days between would cost a further page.
        """
        options = []
        for day, hits in self.hits_per_day.items():
            wider = replace(window, first=min(day, window.first), last=max(day, window.last))
            added = [one for one in wider.days if not window.first <= one <= window.last]
            is_known = all(one in self.hits_per_day for one in added) and self.dead_days.isdisjoint(added)
            fits = sum(self.hits_per_day.get(one, 0.0) for one in added) <= self.page_size / 2
            if hits and added and is_known and fits and len(wider.days) <= min(self.max_window_days, MAX_WINDOW_DAYS):
                options.append((len(added), -hits, wider.first, wider))
        return min(options)[-1] if options else window

    def _plan(self, days: Sequence[date], expected: Mapping[date, float], available: int) -> list[SearchWindow]:
        """Return windows over some days, newest first; the first ones end before the requests are used up."""
        head: list[SearchWindow] = []
        rest = sorted(days)
        pages_per_day = expected_hits(rest, expected) / len(rest) / self.page_size
        missing_pages = pages_per_day * len(self._missing.union(rest))
        max_pages = MAX_WINDOW_PAGES
        if missing_pages <= available:
            # The run collects everything that is missing: it takes as long as its last search.
            max_pages = even_window_pages(missing_pages, pages_per_day, self.concurrency)

        def pages(part: Sequence[date]) -> int:
            spanned = SearchWindow(part[0], part[-1]).days
            return requests_for_hits(expected_hits(spanned, expected), self.page_size)

        # A window that does not fit would end in a pause, in which the days at its place are not complete.
        while rest and expected and pages(rest) > available:
            fitting = [
                n
                for n in range(1, len(rest) + 1)
                if (rest[-1] - rest[-n]).days < self.max_window_days and pages(rest[-n:]) <= min(available, max_pages)
            ]
            if not fitting:
                break
            head.append(SearchWindow(rest[-fitting[-1]], rest[-1]))
            available -= pages(rest[-fitting[-1] :])
            rest = rest[: -fitting[-1]]
        if not rest:
            return head
        return [
            *head,
            *plan_windows(rest, expected, max_days=self.max_window_days, page_size=self.page_size, max_pages=max_pages),
        ]

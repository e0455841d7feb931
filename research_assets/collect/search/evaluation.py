"""What a window's end means: for its days, for the windows that replace it, for how wide the next ones are.

Decisions only, drawn from the trail of a window and from what is known of the series. Asking is done in `search.py`.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple

from research_assets.collect.search.bisect import QUARANTINE_FAILURES
from research_assets.collect.search.canary import CanaryResult
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.units.coverage import Attempt, UnitState, UnitStatus, backoff_until
from research_assets.units.windows import (
    ONE_DAY,
    SearchWindow,
    date_ranges,
    estimate_hits_per_day,
    plan_windows,
    split_at_dead_days,
    split_window,
)

MAX_SINGLE_DAY_FAILURES = 3
"""Failures of a single day, wider windows included, after which it is given up for now."""

MAX_FAILURES = 6
"""Wider windows that failed, after which even several days are given up for now: more than halving ever needs."""

MIN_EXPECTED_HITS = 7.0
"""Raw hits to be expected, from which on none at all is suspicious: by chance it would be one in a thousand."""

LOW_VOLUME_FACTOR = 10.0
"""How many times fewer raw hits than around it make a day worth a canary, where at least `SURE_OF_HITS` are left."""

MAX_EMPTY_ATTEMPTS = 3
"""Days on which an empty day was looked at in vain, after which it is believed whatever the canary says."""

NEARBY_DAYS = timedelta(days=15)
MIN_NEARBY_DAYS = 7
FAILURES_BEFORE_NARROWING = 2
"""Windows failing one after the other, after which wide windows are no longer tried in this run (reference §7 #3)."""

RECHECK_EXPECTED_HITS = 1.0
"""Raw hits that were to be expected of a whole search, from which on finding none at all is worth a second request."""

NO_HISTORY_REASON = "No video, and none is known of this study at all."


class EmptyDayDoubt(NamedTuple):
    """What speaks against an empty day: in words, and whether looking twice on one day is not enough to believe it."""

    reason: str
    needs_other_day: bool


StateDecision = tuple[UnitState, str | None, datetime | None]
"""A unit's state, the reason, and when it is asked again."""


@dataclass(slots=True)
class SearchEvaluator:
    """What is known of the series: days held, raw hits by day, and how wide a window may be just now."""

    held: Mapping[date, UnitStatus]
    configured_max_days: int
    page_size: int
    hits_per_day: dict[date, float] = field(init=False)
    max_window_days: int = field(init=False)
    _failed_in_a_row: int = 0

    def __post_init__(self) -> None:
        """Begin with what earlier runs found."""
        self.hits_per_day = {
            day: float(record.attempt.offered)
            for day, record in self.held.items()
            if record.attempt.state == "complete"
        }
        self.max_window_days = self.configured_max_days

    def record_density(self, progress: SearchProgress) -> None:
        """Take over the density of the days that a window has passed."""
        for day in progress.complete_days():
            self.hits_per_day[day] = float(progress.offered[day])

    def record_outcome(self, progress: SearchProgress, outcome: WindowOutcome) -> None:
        """Take over what the window told; wide windows are given up while they keep failing."""
        self.record_density(progress)
        if outcome == "failed" and not progress.window.n_failures:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILURES_BEFORE_NARROWING:
                self.max_window_days = max(1, min(self.max_window_days, len(progress.window.days)) // 2)
        elif outcome == "done":
            self._failed_in_a_row = 0
            self.max_window_days = min(
                self.configured_max_days, max(self.max_window_days, 2 * len(progress.window.days))
            )

    def windows(self, days: Sequence[date], under_way: Set[date]) -> list[SearchWindow]:
        """Windows over the days, newest first; what is dead is asked by itself, and no window reaches across it.

        Nor does one across days that are under way in another, as long as nobody knows what it would cost.
        """
        span = [days[0] + ONE_DAY * i for i in range((days[-1] - days[0]).days + 1)]
        expected = estimate_hits_per_day(self.hits_per_day, span)
        dead = {day for day, record in self.held.items() if record.attempt.state == "quarantined"}
        plan: list[SearchWindow] = []
        for group in split_at_dead_days(days, dead if expected else dead | under_way):
            windows = plan_windows(group, expected, most_days=self.max_window_days, page_size=self.page_size)
            plan = [*(replace(w, n_failures=QUARANTINE_FAILURES) if group[0] in dead else w for w in windows), *plan]
        return plan

    def narrow(self, window: SearchWindow, dead: Set[date]) -> tuple[SearchWindow, ...] | None:
        """What is asked instead of a window, from what was learned since it was planned; None: it is asked as it is."""
        if not dead.isdisjoint(window.days):
            groups = [group for group in split_at_dead_days(window.days, dead) if group[0] not in dead]
            return tuple(replace(window, first=group[0], last=group[-1], n_failures=0) for group in groups)
        if len(window.days) <= self.max_window_days:
            return None
        halves = split_window(window, self.hits_per_day, self.page_size)
        return tuple(replace(half, n_failures=window.n_failures) for half in halves)

    def replacement_windows(
        self, progress: SearchProgress, outcome: WindowOutcome, *, down: bool
    ) -> tuple[SearchWindow, ...]:
        """The windows that replace what a window did not bring; none if it brought all, or if its days are given up."""
        missing = sorted(set(progress.window.days) - set(progress.complete_days()))
        if not missing or outcome not in ("failed", "lost", "doubtful", "wide") or down:
            return ()
        if outcome == "wide":
            expected = dict.fromkeys(missing, progress.hits_per_day)
            narrow = plan_windows(missing, expected, most_days=self.max_window_days, page_size=self.page_size)
            again = replace(progress.window, n_failures=0, is_recheck=False)
            return tuple(replace(again, first=one.first, last=one.last) for one in narrow)
        rest = replace(progress.window, first=missing[0], last=missing[-1])
        passed = len(missing) < len(progress.window.days)
        if len(missing) == 1:
            failures = rest.n_failures + 1
            dead = outcome == "failed" and not progress.pages
            return () if dead or failures >= MAX_SINGLE_DAY_FAILURES else (replace(rest, n_failures=failures),)
        if rest.n_failures >= MAX_FAILURES:
            return ()
        if outcome == "lost" and (passed or not progress.window.n_failures):
            return (replace(rest, n_failures=rest.n_failures + (not passed)),)
        return split_window(rest, self.hits_per_day, self.page_size)

    def unexpected_empty_days(self, progress: SearchProgress) -> dict[date, EmptyDayDoubt]:
        """Days passed whose emptiness is a claim to be checked, with what speaks against it."""
        found: dict[date, EmptyDayDoubt] = {}
        silent = not any(progress.offered.values())
        empty = [day for day in progress.complete_days() if not progress.kept[day]]
        for first, last in date_ranges(empty):
            stretch = SearchWindow(first, last).days
            near = self._nearby_hits(first, last, set(empty))
            if near is None:
                found |= dict.fromkeys(stretch, EmptyDayDoubt(NO_HISTORY_REASON, needs_other_day=False))
                continue
            mean = sum(near) / len(near) if near else 0.0
            where = f"in {len(stretch)} days" if len(stretch) > 1 else ""
            reason = f"No video {where}".rstrip() + f", where {len(near)} days around have {mean:.0f} on average."
            strong = mean * len(stretch) >= MIN_EXPECTED_HITS
            if strong or (silent and mean * len(stretch) >= RECHECK_EXPECTED_HITS):
                found |= dict.fromkeys(stretch, EmptyDayDoubt(reason, strong))
            for day in stretch:
                if before := self._earlier_max(day):
                    found[day] = EmptyDayDoubt(
                        f"No video, where {before} were found before.", before >= MIN_EXPECTED_HITS
                    )
        return found

    def low_volume_days(self, progress: SearchProgress) -> dict[date, str]:
        """Days passed that have videos, but far fewer than the days around them or than they had before."""
        found: dict[date, str] = {}
        for day in progress.complete_days():
            near = self._nearby_hits(day, day, {day}) or [0.0]
            usual = max(sum(near) / len(near), float(self._earlier_max(day)))
            if progress.kept[day] and usual >= LOW_VOLUME_FACTOR * max(MIN_EXPECTED_HITS, progress.offered[day]):
                found[day] = f"Only {progress.offered[day]} hits, where {usual:.0f} are usual."
        return found

    def _earlier_max(self, day: date) -> int:
        """Videos of a day that any earlier attempt brought."""
        return self.held[day].max_kept if day in self.held else 0

    def _nearby_hits(self, first: date, last: date, without: set[date]) -> list[float] | None:
        """Hits of the days known around a stretch; None if not a single hit is known of the whole series."""
        known = {day: hits for day, hits in self.hits_per_day.items() if day not in without}
        if not any(known.values()):
            return None if not any(self.hits_per_day.values()) else []
        near = [hits for day, hits in known.items() if first - NEARBY_DAYS <= day <= last + NEARBY_DAYS]
        if near:
            return near
        return [known[day] for day in sorted(known, key=lambda day: abs(day - first))[:MIN_NEARBY_DAYS]]

    def needs_canary(self, progress: SearchProgress) -> bool:
        """Whether a canary would decide what is said of a day of the window."""
        strange = any(why.needs_other_day for why in self.unexpected_empty_days(progress).values())
        return (strange and progress.window.is_recheck) or bool(self.low_volume_days(progress))

    def evaluate_days(
        self,
        progress: SearchProgress,
        capture: str,
        outcome: WindowOutcome,
        reason: str | None,
        now: datetime,
        *,
        goes_on: bool,
        canary: CanaryResult | None,
    ) -> tuple[list[Attempt], list[SearchWindow]]:
        """The verdict of each day, and the windows that ask empty ones once more."""
        passed, strange, thin = (
            set(progress.complete_days()),
            self.unexpected_empty_days(progress),
            self.low_volume_days(progress),
        )
        found, doubted = [], []
        for attempt in progress.day_attempts(capture):
            day = attempt.partition
            judged: StateDecision = ("complete", thin.get(day), None)
            if day not in passed:
                judged = self._incomplete(day, outcome, reason, now, goes_on=goes_on)
            elif day in strange and not progress.window.is_recheck and canary != "none":
                judged = ("partial", f"{strange[day].reason} Asked once more.", None)
                doubted.append(day)
            elif day in strange:
                judged = self._decide_empty_day(day, strange[day], now, canary)
            elif day in thin and canary == "none":
                judged = self._suspicious(day, f"{thin[day]} {_CANARY_NOT_FOUND}", now)
            state, why, when = judged
            found.append(replace(attempt, state=state, reason=why, next_try=when))
        again = replace(progress.window, n_failures=0, is_recheck=True)
        return found, [replace(again, first=first, last=last) for first, last in date_ranges(doubted)]

    def _incomplete(
        self, day: date, outcome: WindowOutcome, reason: str | None, now: datetime, *, goes_on: bool
    ) -> StateDecision:
        if goes_on:
            return "partial", f"{reason} The rest is asked again in other windows.", None
        if outcome in ("dropped", "changed"):
            return "partial", reason, None
        if outcome == "doubtful":
            return self._suspicious(day, str(reason), now)
        return "quarantined", reason, backoff_until(now, (self.held[day].n_quarantined if day in self.held else 0) + 1)

    def _decide_empty_day(
        self, day: date, why: EmptyDayDoubt, now: datetime, canary: CanaryResult | None
    ) -> StateDecision:
        """An empty day asked again: believed if little speaks against it, or if it was empty on other days too."""
        looks = self.held[day].n_empty if day in self.held else 0
        if not why.needs_other_day and canary != "none":
            return "complete", None, None
        if looks >= MAX_EMPTY_ATTEMPTS or (looks and canary != "none" and self._earlier_max(day) < MIN_EXPECTED_HITS):
            return "complete", "Empty each time it was asked, on different days.", None
        return self._suspicious(day, f"{why.reason} {_CANARY_NOT_FOUND}" if canary == "none" else why.reason, now)

    def _suspicious(self, day: date, why: str, now: datetime) -> StateDecision:
        return "suspicious", why, backoff_until(now, (self.held[day].n_suspicious if day in self.held else 0) + 1)


_CANARY_NOT_FOUND = "Videos known from another day are not found either: the API is not answering this query."

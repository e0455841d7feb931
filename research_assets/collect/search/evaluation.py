"""Evaluation of a finished window: the state of its days, the windows that replace it, the width of the next windows.

Here are decisions only, based on the progress of a window and on the status of the study's days.

Not here: sending requests (see run.py and pager.py); whether days or accounts cause a failure (see bisect.py).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple

from research_assets.collect.search.bisect import QUARANTINE_FAILURES
from research_assets.collect.search.canary import CanaryResult
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.units.coverage import Attempt, UnitState, UnitStatus, backoff_until, join_sentences
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
"""Failures of a single day, wider windows included, after which it is quarantined."""

MAX_FAILURES = 6
"""Failed wider windows after which even a window of several days is quarantined. Splitting 31 days into single days
takes five."""

MIN_EXPECTED_HITS = 7.0
"""Expected raw hits from which an empty day is suspicious: if 7 are expected, the probability of none is 0.001."""

LOW_VOLUME_FACTOR = 10.0
"""Ratio of usual to actual raw hits from which a day needs a canary check. The actual hits count as at least
`MIN_EXPECTED_HITS`."""

MAX_EMPTY_ATTEMPTS = 3
"""Suspicious attempts without a video, on different days, after which an empty day counts as complete."""

NEARBY_DAYS = timedelta(days=15)
"""Distance within which days are compared."""

MIN_NEARBY_DAYS = 7
"""Days to compare with if none is within `NEARBY_DAYS`: the nearest ones."""

FAILURES_BEFORE_NARROWING = 2
"""Consecutive failed windows after which the run halves the window width (reference §7 #3)."""

RECHECK_EXPECTED_HITS = 1.0
"""Expected raw hits of a whole search from which an empty result is worth a second request."""

NO_HISTORY_REASON = "No video on this day, and no video collected for this study yet."

_CANARY_NOT_FOUND = "Previously collected videos are not found either: the API is not answering this query."


class EmptyDayDoubt(NamedTuple):
    """The reason to doubt an empty day, and whether only an attempt on another day can confirm it."""

    reason: str
    needs_other_day: bool


StateDecision = tuple[UnitState, str | None, datetime | None]
"""A unit's state, the reason, and its next try."""


@dataclass(slots=True)
class SearchEvaluator:
    """Evaluation of the windows of one query, or of one username batch of it.

    `held` is the status of its days from earlier runs, `hits_per_day` the raw hits of each complete day, and
    `max_window_days` the current limit on the width of a window.
    """

    status: Mapping[date, UnitStatus]
    configured_max_days: int
    page_size: int
    hits_per_day: dict[date, float] = field(init=False)
    max_window_days: int = field(init=False)
    _consecutive_failures: int = 0

    def __post_init__(self) -> None:
        """Set raw hits and window width from earlier runs."""
        self.hits_per_day = {
            day: float(record.attempt.offered)
            for day, record in self.status.items()
            if record.attempt.state == "complete"
        }
        self.max_window_days = self.configured_max_days

    def record_density(self, progress: SearchProgress) -> None:
        """Store the raw hits of the complete days of a window."""
        for day in progress.complete_days():
            self.hits_per_day[day] = float(progress.offered[day])

    def record_outcome(self, progress: SearchProgress, outcome: WindowOutcome) -> None:
        """Store the raw hits of a finished window and adapt the window width: narrower after failures, then wider."""
        self.record_density(progress)
        if outcome == "failed" and not progress.window.n_failures:
            self._consecutive_failures += 1
            if self._consecutive_failures >= FAILURES_BEFORE_NARROWING:
                self.max_window_days = max(1, min(self.max_window_days, len(progress.window.days)) // 2)
        elif outcome == "done":
            self._consecutive_failures = 0
            self.max_window_days = min(
                self.configured_max_days, max(self.max_window_days, 2 * len(progress.window.days))
            )

    def windows(self, days: Sequence[date], running: Set[date]) -> list[SearchWindow]:
        """Plan windows over the days, newest first. A quarantined day gets its own window, and no window spans it.

        While no density is known, no window spans the days of `running` windows either, because its cost is unknown.
        """
        span = [days[0] + ONE_DAY * i for i in range((days[-1] - days[0]).days + 1)]
        expected = estimate_hits_per_day(self.hits_per_day, span)
        dead = {day for day, record in self.status.items() if record.attempt.state == "quarantined"}
        plan: list[SearchWindow] = []
        for group in split_at_dead_days(days, dead if expected else dead | running):
            windows = plan_windows(group, expected, max_days=self.max_window_days, page_size=self.page_size)
            plan = [*(replace(w, n_failures=QUARANTINE_FAILURES) if group[0] in dead else w for w in windows), *plan]
        return plan

    def narrow(self, window: SearchWindow, dead: Set[date]) -> tuple[SearchWindow, ...] | None:
        """Return the windows that replace a planned one, given newer information; None if it stays as it is."""
        if not dead.isdisjoint(window.days):
            groups = [group for group in split_at_dead_days(window.days, dead) if group[0] not in dead]
            return tuple(replace(window, first=group[0], last=group[-1], n_failures=0) for group in groups)
        if len(window.days) <= self.max_window_days:
            return None
        halves = split_window(window, self.hits_per_day, self.page_size)
        return tuple(replace(half, n_failures=window.n_failures) for half in halves)

    def replacement_windows(
        self, progress: SearchProgress, outcome: WindowOutcome, *, api_is_down: bool
    ) -> tuple[SearchWindow, ...]:
        """Return windows over the incomplete days of a window; none if all are complete or they are quarantined."""
        missing = sorted(set(progress.window.days) - set(progress.complete_days()))
        if not missing or outcome not in ("failed", "lost", "doubtful", "wide") or api_is_down:
            return ()
        if outcome == "wide":
            expected = dict.fromkeys(missing, progress.hits_per_day)
            narrow = plan_windows(missing, expected, max_days=self.max_window_days, page_size=self.page_size)
            template = replace(progress.window, n_failures=0, is_recheck=False)
            return tuple(replace(template, first=one.first, last=one.last) for one in narrow)
        rest = replace(progress.window, first=missing[0], last=missing[-1])
        partly_complete = len(missing) < len(progress.window.days)
        if len(missing) == 1:
            failures = rest.n_failures + 1
            dead = outcome == "failed" and not progress.pages
            return () if dead or failures >= MAX_SINGLE_DAY_FAILURES else (replace(rest, n_failures=failures),)
        if rest.n_failures >= MAX_FAILURES:
            return ()
        if outcome == "lost" and (partly_complete or not progress.window.n_failures):
            return (replace(rest, n_failures=rest.n_failures + (not partly_complete)),)
        return split_window(rest, self.hits_per_day, self.page_size)

    def unexpected_empty_days(self, progress: SearchProgress) -> dict[date, EmptyDayDoubt]:
        """Return the complete days without a video that need a check, with the reason to doubt them."""
        doubts: dict[date, EmptyDayDoubt] = {}
        nothing_found = not any(progress.offered.values())
        empty = [day for day in progress.complete_days() if not progress.kept[day]]
        for first, last in date_ranges(empty):
            days = SearchWindow(first, last).days
            nearby = self._nearby_hits(first, last, set(empty))
            if nearby is None:
                doubts |= dict.fromkeys(days, EmptyDayDoubt(NO_HISTORY_REASON, needs_other_day=False))
                continue
            mean = sum(nearby) / len(nearby) if nearby else 0.0
            span = f" in {len(days)} days" if len(days) > 1 else ""
            reason = f"No video{span}; {len(nearby)} nearby days have {mean:.0f} hits on average."
            needs_other_day = mean * len(days) >= MIN_EXPECTED_HITS
            if needs_other_day or (nothing_found and mean * len(days) >= RECHECK_EXPECTED_HITS):
                doubts |= dict.fromkeys(days, EmptyDayDoubt(reason, needs_other_day))
            for day in days:
                if earlier := self._earlier_max(day):
                    doubts[day] = EmptyDayDoubt(
                        f"No video; an earlier attempt found {earlier}.", earlier >= MIN_EXPECTED_HITS
                    )
        return doubts

    def low_volume_days(self, progress: SearchProgress) -> dict[date, str]:
        """Return the complete days with far fewer videos than nearby days or than earlier attempts, with a reason."""
        reasons: dict[date, str] = {}
        for day in progress.complete_days():
            nearby = self._nearby_hits(day, day, {day}) or [0.0]
            usual = max(sum(nearby) / len(nearby), float(self._earlier_max(day)))
            if progress.kept[day] and usual >= LOW_VOLUME_FACTOR * max(MIN_EXPECTED_HITS, progress.offered[day]):
                reasons[day] = f"Only {progress.offered[day]} hits; {usual:.0f} are usual."
        return reasons

    def _earlier_max(self, day: date) -> int:
        """Return the largest number of videos that an earlier attempt at a day kept."""
        return self.status[day].max_kept if day in self.status else 0

    def _nearby_hits(self, first: date, last: date, excluded: set[date]) -> list[float] | None:
        """Return the raw hits of complete days near `first` to `last`; None if no day at all has a hit."""
        others = {day: hits for day, hits in self.hits_per_day.items() if day not in excluded}
        if not any(others.values()):
            return None if not any(self.hits_per_day.values()) else []
        nearby = [hits for day, hits in others.items() if first - NEARBY_DAYS <= day <= last + NEARBY_DAYS]
        if nearby:
            return nearby
        return [others[day] for day in sorted(others, key=lambda day: abs(day - first))[:MIN_NEARBY_DAYS]]

    def needs_canary(self, progress: SearchProgress) -> bool:
        """Return whether the state of a day of the window depends on a canary check."""
        unconfirmed = any(doubt.needs_other_day for doubt in self.unexpected_empty_days(progress).values())
        return (unconfirmed and progress.window.is_recheck) or bool(self.low_volume_days(progress))

    def evaluate_days(
        self,
        progress: SearchProgress,
        capture: str,
        outcome: WindowOutcome,
        reason: str | None,
        now: datetime,
        *,
        has_replacement: bool,
        canary: CanaryResult | None,
    ) -> tuple[list[Attempt], list[SearchWindow]]:
        """Return the attempt of each day, and the windows that check empty days with a second request."""
        complete, doubts, low_volume = (
            set(progress.complete_days()),
            self.unexpected_empty_days(progress),
            self.low_volume_days(progress),
        )
        attempts, unconfirmed = [], []
        for attempt in progress.day_attempts(capture):
            day = attempt.partition
            rejected = progress.rejected_text(day)
            decision: StateDecision = ("complete", low_volume.get(day), None)
            if day not in complete:
                decision = self._incomplete(day, outcome, reason, now, has_replacement=has_replacement)
            elif day in doubts and not progress.window.is_recheck and canary != "none":
                decision = ("partial", join_sentences(doubts[day].reason, "A second request checks it."), None)
                unconfirmed.append(day)
            elif day in doubts:
                decision = self._decide_empty_day(day, doubts[day], now, canary)
            elif day in low_volume and canary == "none":
                decision = self._suspicious(day, f"{low_volume[day]} {_CANARY_NOT_FOUND}", now)
            state, state_reason, next_try = decision
            attempts.append(
                replace(attempt, state=state, reason=join_sentences(state_reason, rejected), next_try=next_try)
            )
        template = replace(progress.window, n_failures=0, is_recheck=True)
        return attempts, [replace(template, first=first, last=last) for first, last in date_ranges(unconfirmed)]

    def _incomplete(
        self, day: date, outcome: WindowOutcome, reason: str | None, now: datetime, *, has_replacement: bool
    ) -> StateDecision:
        if has_replacement:
            return "partial", join_sentences(reason, "The rest is requested in other windows."), None
        if outcome in ("dropped", "changed"):
            return "partial", reason, None
        if outcome == "doubtful":
            return self._suspicious(day, str(reason), now)
        return (
            "quarantined",
            reason,
            backoff_until(now, (self.status[day].n_quarantined if day in self.status else 0) + 1),
        )

    def _decide_empty_day(
        self, day: date, doubt: EmptyDayDoubt, now: datetime, canary: CanaryResult | None
    ) -> StateDecision:
        """Decide on a day that a second request found empty too.

        It is complete if the doubt is weak or if attempts on other days found it empty too, else suspicious.
        """
        n_empty = self.status[day].n_empty if day in self.status else 0
        if not doubt.needs_other_day and canary != "none":
            return "complete", None, None
        if n_empty >= MAX_EMPTY_ATTEMPTS or (
            n_empty and canary != "none" and self._earlier_max(day) < MIN_EXPECTED_HITS
        ):
            return "complete", "Empty in every attempt, on different days.", None
        return self._suspicious(day, f"{doubt.reason} {_CANARY_NOT_FOUND}" if canary == "none" else doubt.reason, now)

    def _suspicious(self, day: date, reason: str, now: datetime) -> StateDecision:
        return (
            "suspicious",
            reason,
            backoff_until(now, (self.status[day].n_suspicious if day in self.status else 0) + 1),
        )

"""The stratified random sample of a study's days: strata, the days drawn from each, and their probability.

A stratum consists of calendar days, not of the days of a study: all days of a month, quarter or year, by weekday if the
study says so. So the drawn days depend on the seed alone. They stay the same when the start or the end of the study
moves. Not here: the estimates that rest on the sample (see estimates/stratified.py).
"""

import calendar
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

Stratifier = Literal["quarter", "month", "weekday"]
"""Properties of a day by which strata can be formed."""


@dataclass(frozen=True, slots=True)
class DayStratum:
    """A stratum: its name, such as `2026-02 Mon`, its number of calendar days, and the days drawn from it, in order."""

    name: str
    n_days: int
    drawn: tuple[date, ...]

    @property
    def probability(self) -> float:
        """Inclusion probability of each of its days: drawn days as a share of all."""
        return len(self.drawn) / self.n_days


@dataclass(frozen=True, slots=True)
class DaySample:
    """A stratified random sample of days, without replacement.

    `share` of the days of each stratum are drawn, rounded to whole days, and at least one. `by` says how strata are
    formed; without a month or a quarter they are those of a calendar year.
    """

    share: float
    by: tuple[Stratifier, ...] = ("month", "weekday")
    seed: int = 0

    def stratum(self, day: date) -> DayStratum:
        """Return the stratum of a day."""
        return _draw(self, *self._period(day), day.weekday() if "weekday" in self.by else None)

    def contains(self, day: date) -> bool:
        """Return whether a day was drawn."""
        return day in self.stratum(day).drawn

    def contains_any(self, first: date, last: date) -> bool:
        """Return whether any day between two days, both included, was drawn."""
        return any(self.contains(first + timedelta(days=n)) for n in range((last - first).days + 1))

    def _period(self, day: date) -> tuple[str, date, date]:
        """Return the name of a period, its first day and the first day after it."""
        if "month" in self.by:
            return f"{day:%Y-%m}", day.replace(day=1), _month_after(day, 1)
        if "quarter" in self.by:
            first = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
            return f"{day.year}-Q{(day.month + 2) // 3}", first, _month_after(first, 3)
        return f"{day.year}", date(day.year, 1, 1), date(day.year + 1, 1, 1)


def realised_share(sample: DaySample, days: Sequence[date]) -> float:
    """Return the mean inclusion probability of some days; it exceeds the share where strata have few days."""
    return sum(sample.stratum(day).probability for day in days) / len(days)


def _month_after(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


@lru_cache(maxsize=4096)
def _draw(sample: DaySample, period: str, first: date, after: date, weekday: int | None) -> DayStratum:
    days = [first + timedelta(days=n) for n in range((after - first).days)]
    days = [day for day in days if weekday is None or day.weekday() == weekday]
    name = period if weekday is None else f"{period} {calendar.day_abbr[weekday]}"
    number = min(len(days), max(1, round(sample.share * len(days))))
    # Each day has a random number of its own; the smallest ones of a stratum are a simple random sample of it.
    drawn = sorted(days, key=lambda day: hashlib.blake2b(f"{sample.seed}:{day}".encode(), digest_size=8).digest())
    return DayStratum(name, len(days), tuple(sorted(drawn[:number])))

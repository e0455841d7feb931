"""A first look at a study of which nothing is held: a few single days, asked by the ordinary collector and kept.

What it may cost is bounded: the collector meets the bound as it meets the end of the quota, and pauses in good order.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult, Paused
from research_assets.planning.agenda import observation_due_at
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

PROBE_DAYS = 3
"""Days that are asked."""


class RunBudget(Ledger):
    """The ledger, for a caller that may take so many places and no more."""

    def __init__(self, settings: Settings, clock: Clock, places: int) -> None:
        super().__init__(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
        self._settings_clock, self.places = clock, places

    def reserve(self, pool: str, **what: Any) -> int:
        """Take a place; raises QuotaSpent also when the purse is empty."""
        if self.places <= 0:
            now = self._settings_clock.now()
            raise QuotaExhausted(pool, self.caps[pool], self.pool_state(pool).used, now, "cap")
        number = super().reserve(pool, **what)
        self.places -= 1
        return number


def probe_days(study: StudySpec, now: datetime) -> tuple[date, ...]:
    """The days to ask: the first, one in the middle and the last of those that have settled; fewer if there are not."""
    last = min(study.end or now.date(), now.date())
    while last >= study.start and observation_due_at(last, study.settle_days) > now:
        last -= timedelta(days=1)
    number = (last - study.start).days + 1
    if number <= 0:
        return ()
    picks = {round(i * (number - 1) / (PROBE_DAYS - 1)) for i in range(PROBE_DAYS)}
    return tuple(study.start + timedelta(days=pick) for pick in sorted(picks))


async def probe(
    study: StudySpec, days: Sequence[date], most: int, context: CollectorContext
) -> AsyncIterator[PartitionResult | Paused]:
    """Ask the days one by one with at most so many requests in all, giving what comes of each."""
    budget = RunBudget(context.settings, context.clock, most)
    try:
        for day in days:
            async for result in collect(CollectionTask(study, "videos", (day,)), replace(context, ledger=budget)):
                yield result
                if isinstance(result, Paused):
                    return
    finally:
        budget.close()

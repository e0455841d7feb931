"""The probe of a study without data: a few single days, collected and stored as in any other run.

A budget bounds its cost. The collector treats the end of the budget like the end of the quota, and pauses.

Not here: the estimate that is based on the probed days (see planning/forecast.py).
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult, Paused
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

PROBE_DAYS = 3
"""Days that a probe collects."""


class RunBudget(Ledger):
    """The quota ledger with an additional limit on the requests of one caller."""

    def __init__(self, settings: Settings, clock: Clock, max_requests: int) -> None:
        super().__init__(settings.ledger, settings.caps, clock, quota_reserve=settings.quota_reserve)
        self._budget_clock, self.remaining = clock, max_requests

    def reserve(self, pool: str, **details: Any) -> int:
        """Reserve a request. Raise QuotaExhausted if the pool or the budget has none left."""
        if self.remaining <= 0:
            now = self._budget_clock.now()
            raise QuotaExhausted(pool, self.caps[pool], self.pool_state(pool).used, now, "cap")
        reservation = super().reserve(pool, **details)
        self.remaining -= 1
        return reservation


def probe_days(study: StudySpec, now: datetime) -> tuple[date, ...]:
    """Return the first, the middle and the last settled day of a study; fewer if fewer have settled."""
    number = (study.last_settled_day(now) - study.start).days + 1
    if number <= 0:
        return ()
    picks = {round(i * (number - 1) / (PROBE_DAYS - 1)) for i in range(PROBE_DAYS)}
    return tuple(study.start + timedelta(days=pick) for pick in sorted(picks))


async def probe(
    study: StudySpec, days: Sequence[date], max_requests: int, context: CollectorContext
) -> AsyncIterator[PartitionResult | Paused]:
    """Collect the days one by one with at most `max_requests` requests in all, and yield their results.

    A person starts a probe, so suspicious days are requested before their next try is due.
    """
    budget = RunBudget(context.settings, context.clock, max_requests)
    try:
        for day in days:
            async for result in collect(
                CollectionTask(study, "videos", (day,), retry_now=True), replace(context, ledger=budget)
            ):
                yield result
                if isinstance(result, Paused):
                    return
    finally:
        budget.close()

"""The probe of a study without data: a few single days, collected and stored as in any other run.

A budget bounds its cost. The collector treats the end of the budget like the end of the quota, and pauses.

Not here: the estimate that is based on the probed days (see planning/forecast.py).
"""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime

from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult, Paused, RequestBudget
from research_assets.study.spec import StudySpec

PROBE_DAYS = 3
"""Days that a probe collects."""


def probe_days(study: StudySpec, now: datetime) -> tuple[date, ...]:
    """Return the first, the middle and the last settled day of a study; fewer if fewer have settled."""
    days = study.days_to(study.last_settled_day(now))
    if not days:
        return ()
    return tuple(
        days[pick] for pick in sorted({round(i * (len(days) - 1) / (PROBE_DAYS - 1)) for i in range(PROBE_DAYS)})
    )


async def probe(
    study: StudySpec, days: Sequence[date], max_requests: int, context: CollectorContext
) -> AsyncIterator[PartitionResult | Paused]:
    """Collect the days one by one with at most `max_requests` requests in all, and yield their results.

    A person starts a probe, so suspicious days are requested before their next try is due.
    """
    budget = RequestBudget(max_requests)
    for day in days:
        task = CollectionTask(study, "videos", (day,), retry_now=True, budget=budget)
        async for result in collect(task, context):
            yield result
            if isinstance(result, Paused):
                return

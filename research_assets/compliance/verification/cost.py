"""The requests that verification will need, for the estimate of `research-assets plan`.

Not here: the tasks (see due.py and step.py).
"""

from datetime import datetime
from math import ceil

from research_assets.compliance.verification import due
from research_assets.compliance.verification.held import KINDS, count_held
from research_assets.compliance.verification.tasks import TaskJournal
from research_assets.planning.forecast import EntityForecast
from research_assets.settings import Settings
from research_assets.units.estimates import NO_COST, Estimate

REQUESTS_PER_TASK = 3
"""Least number of requests of a task: create, status and download. A slow task needs more requests of its status."""

_LEFT = {"create": 3, "poll": 2, "download": 1}


def forecast_verification(settings: Settings, now: datetime) -> EntityForecast | None:
    """Return the requests of due and open tasks, and those that recur per day; None while nothing is stored."""
    journal = TaskJournal(settings)
    limit = now - due.interval(settings) + due.lead(settings)
    requests, recurring, n_held = 0, 0.0, 0
    for kind in KINDS:
        held = count_held(settings, kind, limit, limit)
        n_held += held.n_held
        recurring += REQUESTS_PER_TASK * ceil(held.n_held / due.CAPACITY) / settings.verify_days
        if open_tasks := journal.open_of(kind):
            requests += sum(_LEFT.get(task.phase, 0) for task in open_tasks)
        else:
            requests += REQUESTS_PER_TASK * ceil(held.n_due / due.CAPACITY)
    if not n_held:
        return None
    remaining = Estimate(requests, "known counts") if requests else NO_COST
    return EntityForecast("all studies", "videos", 0, remaining, recurring, {}, None, label="verification")

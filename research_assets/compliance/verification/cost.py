"""The requests that verification will need, for the estimate of `research-assets plan`.

Not here: the tasks (see planning.py and step.py).
"""

from collections.abc import Collection
from datetime import datetime
from math import ceil

from research_assets.compliance.verification import due
from research_assets.compliance.verification.held import count_held, count_part
from research_assets.compliance.verification.planning import part_of
from research_assets.compliance.verification.schedule import STREAMS
from research_assets.compliance.verification.tasks import Method, Task, TaskJournal
from research_assets.planning.forecast import EntityForecast
from research_assets.settings import Settings
from research_assets.tiktok.requests import MAX_COUNT
from research_assets.units.estimates import NO_COST, Estimate

REQUESTS_PER_TASK = 3
"""Least number of requests of a batch task: create, status and download. A slow task needs more for its status."""

_LEFT = {"create": 3, "poll": 2, "download": 1}


def forecast_verification(settings: Settings, studies: Collection[str], now: datetime) -> EntityForecast | None:
    """Return the requests of due and open tasks, and those that recur per day; None while nothing is stored.

    `studies` are those whose videos are verified by look-ups. All numbers are the least possible.
    """
    journal = TaskJournal(settings)
    is_batch_refused = journal.batch_retry_at(now) is not None
    limit = due.last_due(settings, now)
    requests, recurring, n_held = 0, 0.0, 0
    for kind, method in STREAMS:
        requests += sum(_left(task) for task in journal.open_of(kind, method))
        if kind == "account":
            held = count_held(settings, kind, limit, limit)
        elif part := part_of(kind, method, studies, is_batch_refused=is_batch_refused):
            held = count_part(settings, part, limit, limit)
        else:
            continue
        n_held += held.n_held
        recurring += _requests(kind, method, held.n_held) / settings.verify_days
        if not journal.open_of(kind, method):
            requests += _requests(kind, method, held.n_due)
    if not n_held:
        return None
    remaining = Estimate(requests, "known counts") if requests else NO_COST
    return EntityForecast("all studies", "videos", 0, remaining, recurring, {}, None, label="verification")


def _requests(kind: str, method: Method, number: int) -> int:
    if method == "batch":
        return REQUESTS_PER_TASK * ceil(number / due.CAPACITY)
    return number if kind == "account" else ceil(number / MAX_COUNT)


def _left(task: Task) -> int:
    if task.method == "lookup":
        return _requests(task.kind, task.method, task.n_sent) if task.phase not in ("word", "apply", "done") else 0
    return _LEFT.get(task.phase, 0)

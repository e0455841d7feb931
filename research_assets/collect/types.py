"""Values that pass between the collector and its callers: tasks, results, pauses, progress.

Also what all parts of the collector share to produce them: the bounded job queue and the results of days.

Not here: the attempts that are stored (see units/coverage.py); sending (see sender.py).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from research_assets.clock import Clock
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import Attempt, format_utc

if TYPE_CHECKING:
    from research_assets.tiktok.client import Client

COOL_DOWN = timedelta(hours=4)
"""Wait after an outage, or after rate limiting that slower requests did not end."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(slots=True)
class RequestBudget:
    """The requests that one or several collections may still send together.

    The ledger records them under the name `run`, if there is one.
    """

    remaining: int
    run: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionTask:
    """Partitions of one entity of one study to collect.

    `recollect` collects complete units again, as a new observation. `retry_now` retries quarantined and suspicious
    units before their next try is due, for runs that a person starts. `canary_check` collects nothing: it searches for
    previously collected videos of the given days. `budget` limits the requests of the run; None for what the pool has
    left.
    """

    study: StudySpec
    entity: str
    partitions: tuple[date, ...]
    recollect: bool = False
    retry_now: bool = False
    canary_check: bool = False
    budget: RequestBudget | None = None


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """One partition after this run: its state, counts in rows, requests, and the number of units in each state.

    `was_complete`: no request was sent, because nothing in the partition was open.
    """

    partition: date
    state: str
    asked: int = 0
    offered: int = 0
    kept: int = 0
    requests: float = 0.0
    units: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    next_try: datetime | None = None
    was_complete: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """A run that stopped early: the remaining partitions, and when the pool is available again (UTC)."""

    pool: str
    reason: str
    retry_at: datetime
    remaining: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class StopCondition:
    """The run-wide reason to send no further request, and when the next one may be sent (UTC)."""

    pool: str
    reason: str
    retry_at: datetime

    @classmethod
    def from_quota(cls, error: QuotaExhausted) -> "StopCondition":
        """Return the stop condition for a pool without a free request."""
        return cls(error.pool, str(error), error.retry_at)

    @classmethod
    def cool_down(cls, pool: str, reason: str, now: datetime) -> "StopCondition":
        """Return a stop condition that ends after `COOL_DOWN`, because further requests would only cost quota."""
        return cls(pool, reason, now + COOL_DOWN)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Totals of a run since it began, and the partition or window of its last request."""

    study: str
    entity: str
    partition: str
    pages: int
    rows: int
    requests: int


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """Client, ledger, clock and settings of a run; `progress` is called after each request."""

    client: "Client"
    ledger: Ledger
    clock: Clock
    settings: Settings
    progress: Callable[[RunProgress], None] | None = None


def _always(_: object) -> bool:
    return True


async def run_concurrently(
    jobs: deque[Job],
    work: Callable[[Job], Awaitable[Result]],
    max_concurrent: int,
    should_continue: Callable[[], bool],
    may_start: Callable[[Job], bool] = _always,
) -> AsyncGenerator[Result, None]:
    """Run queued jobs, at most `max_concurrent` at a time, and yield results as they finish.

    The first job in the queue for which `may_start` returns True starts at once; if there is none and no job is
    running, the first one starts.
    The caller may enqueue more jobs for a result. No new job starts once `should_continue` returns False. When the
    caller stops iterating, running jobs are cancelled and awaited.
    """
    running: set[asyncio.Future[Result]] = set()
    done: set[asyncio.Future[Result]] = set()
    try:
        while running or (jobs and should_continue()):
            while jobs and should_continue() and len(running) < max_concurrent:
                index = next((i for i, job in enumerate(jobs) if may_start(job)), None)
                if index is None and running:
                    break
                job = jobs[index or 0]
                del jobs[index or 0]
                running.add(asyncio.ensure_future(work(job)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        # If several jobs fail together, one error is raised. Without this, Python would log the others as never
        # retrieved.
        await asyncio.gather(*running, *done, return_exceptions=True)


def result_from_attempt(attempt: Attempt, *, was_complete: bool = False) -> PartitionResult:
    """Return the result of a day from its attempt."""
    return PartitionResult(
        partition=attempt.partition,
        state=attempt.state,
        asked=attempt.asked,
        offered=attempt.offered,
        kept=attempt.kept,
        requests=attempt.requests,
        units={attempt.state: 1},
        reason=attempt.reason,
        next_try=attempt.next_try,
        was_complete=was_complete,
    )


def too_fresh_result(study: StudySpec, day: date, now: datetime) -> PartitionResult | None:
    """Return the result of a day that has not settled yet (new videos lag up to 48 hours); None if it has."""
    if not study.is_too_fresh(day, now):
        return None
    due = study.settles_at(day)
    reason = (
        f"The day settles at {format_utc(due)} (settle_days: {study.settle_days}). Collected earlier, it would be "
        "incomplete."
    )
    return PartitionResult(partition=day, state="too_fresh", units={"too_fresh": 1}, reason=reason, next_try=due)


def take_results(
    attempts: Iterable[Attempt], remaining: set[date], requests: Mapping[date, float]
) -> list[PartitionResult]:
    """Remove the days that attempts finish from `remaining`, and return their results.

    `requests` are those that each day cost in this run.
    """
    finished = [attempt for attempt in attempts if attempt.partition in remaining and attempt.state != "partial"]
    remaining.difference_update(attempt.partition for attempt in finished)
    return [result_from_attempt(replace(attempt, requests=requests[attempt.partition])) for attempt in finished]

"""The values that pass between the collector and whoever calls it: what to ask, with what, and what came of it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from research_assets.clock import Clock, midnight
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

if TYPE_CHECKING:
    from research_assets.tiktok.client import Client
from collections.abc import Iterable
from dataclasses import replace

from research_assets.units.coverage import Attempt, format_utc

# JOINED: """Days of a search as whoever asked for them gets them: finished as their verdict says, or too fresh to be asked."""


COOL_DOWN = timedelta(hours=4)
"""How long an API that answers nothing, or nothing but refusals to be so fast, is left alone."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CollectionTask:
    """Partitions of one entity of one study to collect.

    `again` asks what is complete once more (a new observation). `retry` asks quarantined and suspicious units even
    before their next try is due: what a person means who asks for one day. `canary` collects nothing: it looks for
    videos of held days that are known from before.
    """

    study: StudySpec
    entity: str
    partitions: tuple[date, ...]
    recollect: bool = False
    retry_now: bool = False
    canary_check: bool = False


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """One partition after this run: its state, counts in rows, requests, and the number of units in each state.

    `held` says that nothing was asked, because everything was held already.
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
    """The quota ended: which partitions are left, and when the pool opens again (UTC)."""

    pool: str
    reason: str
    retry_at: datetime
    remaining: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class StopCondition:
    """Why no further request is sent in this run, and when the next may be."""

    pool: str
    reason: str
    retry_at: datetime

    @classmethod
    def from_quota(cls, spent: QuotaExhausted) -> "StopCondition":
        """The quota's end as a halt."""
        return cls(spent.pool, str(spent), spent.retry_at)

    @classmethod
    def cool_down(cls, pool: str, why: str, now: datetime) -> "StopCondition":
        """A wait for a better hour, where asking on would only spend requests."""
        return cls(pool, why, now + COOL_DOWN)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far the run is: totals since it began, and what it works on."""

    study: str
    entity: str
    partition: str
    pages: int
    rows: int
    requests: int


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """What the collector works with."""

    client: "Client"
    ledger: Ledger
    clock: Clock
    settings: Settings
    progress: Callable[[RunProgress], None] | None = None


class RunCounter:
    """Counts a run's requests, pages and rows, and tells whoever wants to know."""

    def __init__(self, task: CollectionTask, tell: Callable[[RunProgress], None] | None) -> None:
        self._study, self._entity, self._tell = task.study.name, task.entity, tell
        self._pages = self._rows = self._requests = 0

    def add(self, partition: str, rows: int | None) -> None:
        """Count one request; `rows` is None if it failed."""
        self._requests += 1
        self._pages += rows is not None
        self._rows += rows or 0
        if self._tell:
            self._tell(RunProgress(self._study, self._entity, partition, self._pages, self._rows, self._requests))


async def run_concurrently(
    jobs: deque[Job], work: Callable[[Job], Awaitable[Result]], max_concurrent: int, should_continue: Callable[[], bool]
) -> AsyncGenerator[Result, None]:
    """Work off a queue, `width` jobs at a time, giving each result as it comes; results may add to the queue.

    No new job is begun once `go_on` says no. Whatever still runs when the caller stops is cancelled and waited for.
    """
    running: set[asyncio.Future[Result]] = set()
    done: set[asyncio.Future[Result]] = set()
    try:
        while running or (jobs and should_continue()):
            while jobs and should_continue() and len(running) < max_concurrent:
                running.add(asyncio.ensure_future(work(jobs.popleft())))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        # Of several that failed together one is told; the others are looked at too, or Python would complain of them.
        await asyncio.gather(*running, *done, return_exceptions=True)


def result_from_attempt(attempt: Attempt, *, was_complete: bool = False) -> PartitionResult:
    """A day as its verdict says."""
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
    """The refusal to ask a day that has not settled yet (new videos lag up to 48 hours); None if it has."""
    due = midnight(day) + timedelta(days=1 + study.settle_days)
    if now >= due:
        return None
    reason = f"The day settles on {format_utc(due)} (settle_days: {study.settle_days}); asked earlier it would be incomplete."
    return PartitionResult(partition=day, state="too_fresh", units={"too_fresh": 1}, reason=reason, next_try=due)


def take_results(attempts: Iterable[Attempt], left: set[date], spent: Mapping[date, float]) -> list[PartitionResult]:
    """The days that verdicts finish, taken off what is left, with the requests that they cost in this run."""
    done = [attempt for attempt in attempts if attempt.partition in left and attempt.state != "partial"]
    left.difference_update(attempt.partition for attempt in done)
    return [result_from_attempt(replace(attempt, requests=spent[attempt.partition])) for attempt in done]

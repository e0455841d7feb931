"""Collection of a study's missing days of videos: plan windows, run them, publish the days. One window is one capture.

Not here: paging inside a window (see pager.py); the choice of windows (see units/windows.py); the state of a day (see
evaluation.py); which open journals are resumed (see resume.py).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence, Set
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from research_assets.collect.publish import publish_in_background, write_open_coverage
from research_assets.collect.search.bisect import QUARANTINE_FAILURES, AccountBisect
from research_assets.collect.search.canary import CanaryProbe, CanaryResult
from research_assets.collect.search.evaluation import SearchEvaluator
from research_assets.collect.search.pager import fetch_window
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.collect.search.resume import OpenJournal, has_same_query, journal_header, resume_journals
from research_assets.collect.search.username_batches import UsernameBatches
from research_assets.collect.sender import RequestSender, summarize_error
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    RunCounter,
    StopCondition,
    run_concurrently,
    take_results,
)
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal
from research_assets.storage.locks import PartitionBusy, lock_partitions
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError, RateLimited
from research_assets.units.coverage import Attempt, UnitStatus, backoff_until
from research_assets.units.periods import is_backfill
from research_assets.units.usernames import Usernames
from research_assets.units.windows import SearchWindow, estimate_hits_per_day, expected_hits, requests_for_hits

POOL = BY_ENTITY["videos"].pool

_RATE_LIMITED = "The API keeps rejecting requests, even at the lowest request rate:"
_API_DOWN = "The API answers no request, not even a canary check:"


@dataclass(frozen=True, slots=True)
class _WindowJob:
    """A window to collect; with the journal and progress of an earlier run, one to resume."""

    window: SearchWindow
    journal: Journal | None = None
    progress: SearchProgress | None = None


@dataclass(frozen=True, slots=True)
class _WindowResult:
    """The result of a job: attempts of days, and windows to collect next."""

    attempts: tuple[Attempt, ...] = ()
    next_windows: tuple[SearchWindow, ...] = ()


class VideoSearch:
    """One run over the missing days of one study."""

    def __init__(self, task: CollectionTask, context: CollectorContext, records: Sequence[UnitStatus]) -> None:
        """`records` are the unit status of the study's videos."""
        settings = context.settings
        day_status = {record.attempt.partition: record for record in records if record.attempt.unit_kind == "day"}
        self._task, self._context, self._day_status = task, context, day_status
        self._study: StudySpec = task.study
        self._sender = RequestSender(
            context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        self._batches = UsernameBatches(
            task.study.query,
            records,
            context.clock.now(),
            batch_size=settings.username_batch,
            recollect=task.recollect,
            retry_now=task.retry_now,
            has_same_query=lambda attempt: has_same_query(settings.captures, task, str(attempt.capture)),
        )
        self._bisect = AccountBisect(self._batches.names, self._batches.answered_windows())
        self._evaluators: dict[Usernames, SearchEvaluator] = {}
        self._canary = CanaryProbe(
            settings, task.study, day_status, self._batches.isolated, self._sender, context.clock
        )
        self._counter = RunCounter(task, context.progress)
        self._stop: StopCondition | None = None
        self._reserve_reached: StopCondition | None = None
        self._running: list[SearchProgress] = []
        self._held_back: dict[date, list[SearchWindow]] = {}

    async def run(self, days: Sequence[date]) -> AsyncGenerator[PartitionResult | Paused, None]:
        """Collect the days and yield each as it finishes. Raise PartitionBusy if another process collects one."""
        settings, remaining = self._context.settings, set(days)
        with ExitStack() as stack:
            stack.enter_context(lock_partitions(settings.state, self._study.name, "videos", list(days)))
            jobs: deque[_WindowJob] = deque()
            for opened in self._resume_journals(stack, remaining):
                stack.callback(opened.journal.close)
                if opened.outcome is None:
                    jobs.append(_WindowJob(opened.progress.window, opened.journal, opened.progress))
                    self._evaluator(opened.progress.window.usernames).record_density(opened.progress)
                    continue
                ended = await self._conclude(opened.journal, opened.progress, opened.outcome, opened.reason)
                for day_result in take_results(ended.attempts, remaining, self._batches.requests):
                    yield day_result
            jobs.extend(_WindowJob(window) for window in self._plan(remaining, [job.window for job in jobs]))
            self._declare_demand(jobs)
            results = run_concurrently(jobs, self._run_window, settings.concurrency, lambda: self._stop is None)
            async with aclosing(results):
                async for result in results:
                    jobs.extend(_WindowJob(window) for window in result.next_windows)
                    unfinished = [progress.window for progress in self._running] + [job.window for job in jobs]
                    jobs.extend(
                        _WindowJob(window)
                        for window in self._bisect.next_windows(unfinished, self._batches.dead.keys())
                    )
                    if self._stop is None:
                        self._declare_demand(jobs)
                    for day_result in take_results(result.attempts, remaining, self._batches.requests):
                        yield day_result
        stop = self._stop or self._reserve_reached
        if stop is not None:
            yield Paused(stop.pool, stop.reason, stop.retry_at, tuple(sorted(remaining)))
        else:
            self._context.ledger.declare_demand(self._study.name, self._study.quota_weight, 0, pool=POOL)

    def _resume_journals(self, stack: ExitStack, missing: Set[date]) -> list[OpenJournal]:
        settings, claimed = self._context.settings, set(missing)

        def claim_more(days: Collection[date]) -> bool:
            try:
                stack.enter_context(
                    lock_partitions(settings.state, self._study.name, "videos", sorted(set(days) - claimed))
                )
            except PartitionBusy:
                return False
            claimed.update(days)
            return True

        return resume_journals(
            settings.captures,
            self._task,
            missing,
            self._day_status,
            lambda names: self._evaluator(names).hits_per_day,
            self._context.clock.now(),
            page_size=settings.page_size,
            claim_more=claim_more,
        )

    def _evaluator(self, names: Usernames) -> SearchEvaluator:
        """Return the evaluator of a username batch; of the whole query if `names` is empty."""
        if names not in self._evaluators:
            settings = self._context.settings
            self._evaluators[names] = SearchEvaluator(
                self._batches.history(names), settings.window_days, settings.page_size
            )
        return self._evaluators[names]

    def _plan(self, missing: Collection[date], resumed: Sequence[SearchWindow]) -> list[SearchWindow]:
        """Return windows over the missing days, without what the resumed windows collect."""
        days_by_batch: dict[Usernames, list[date]] = {}
        for day in sorted(missing):
            resumed_names = [window.usernames or self._batches.names for window in resumed if day in window.days]
            if resumed_names and not self._batches.names:
                continue
            for names in self._batches.missing_batches(day, {name for batch in resumed_names for name in batch}):
                days_by_batch.setdefault(names, []).append(day)
        windows = []
        for names, days in days_by_batch.items():
            running = {day for window in resumed if window.usernames == names for day in window.days}
            windows += [replace(window, usernames=names) for window in self._evaluator(names).windows(days, running)]
        plan = []
        for window in sorted(windows, key=lambda window: window.last, reverse=True):
            # A quarantined day is requested for one batch first: if that fails, the day fails for all batches.
            if window.usernames and window.n_failures >= QUARANTINE_FAILURES:
                self._held_back.setdefault(window.first, []).append(window)
            else:
                plan.append(window)
        return [*plan, *(replace(batches.pop(0), bisect_exhausted=True) for batches in self._held_back.values())]

    def _declare_demand(self, jobs: Collection[_WindowJob]) -> None:
        """Declare the estimated requests of this run in the ledger, so that studies can share the day's quota."""
        page_size = self._context.settings.page_size
        n_requests = 0
        for progress in (*self._running, *(job.progress or SearchProgress(job.window) for job in jobs)):
            rest = [day for day in progress.window.days if day <= progress.reached_day]
            n_requests += requests_for_hits(
                expected_hits(
                    rest, estimate_hits_per_day(self._evaluator(progress.window.usernames).hits_per_day, rest)
                ),
                page_size,
            )
        self._context.ledger.declare_demand(self._study.name, self._study.quota_weight, n_requests, pool=POOL)

    async def _run_window(self, job: _WindowJob) -> _WindowResult:
        window, settings = job.window, self._context.settings
        evaluator = self._evaluator(window.usernames)
        if job.journal is None and not window.bisect_exhausted:
            narrower = evaluator.narrow(window, self._batches.dead.keys())
            if narrower is not None:
                return _WindowResult(next_windows=narrower)
        due = not is_backfill(self._study, "videos", window.last, self._context.clock.now())
        if self._reserve_reached is not None and not due:
            return _WindowResult()
        progress = job.progress or SearchProgress(window)
        if progress.pages:
            self._bisect.record_answer(window, progress.distrust_reason)
        with ExitStack() as stack:
            journal = stack.enter_context(job.journal or self._create_journal(window))
            self._running.append(progress)
            stack.callback(self._running.remove, progress)

            def record_event(event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
                journal.append(event, facts, answer)
                progress.apply({"event": event, **facts})
                self._counter.add(str(window), 0 if event == "canary" else None)

            async def write_page(facts: dict[str, Any], answer: bytes) -> None:
                self._bisect.record_answer(window, facts["distrust_reason"])
                await asyncio.to_thread(journal.append, "page", facts, answer)
                self._counter.add(str(window), facts["rows"])

            try:
                outcome, reason = await fetch_window(
                    progress,
                    self._study,
                    self._sender,
                    self._context.clock,
                    page_size=settings.page_size,
                    due=due,
                    may_split=not evaluator.hits_per_day,
                    record_event=record_event,
                    write_page=write_page,
                )
                api_is_down, canary = self._sender.api_is_down, None
                if (outcome == "failed" and api_is_down) or evaluator.needs_canary(progress):
                    canary = await self._canary.check(window.days, record_event)
            except QuotaExhausted as error:
                stop = StopCondition.from_quota(error)
                if error.reason == "reserved":
                    self._reserve_reached = stop
                else:
                    self._stop = stop
                return self._pause(journal, progress, stop)
            except RateLimited as error:
                self._stop = StopCondition.cool_down(
                    POOL, f"{_RATE_LIMITED} {summarize_error(error)}.", self._context.clock.now()
                )
                return self._pause(journal, progress, self._stop)
            except ApiError as error:
                now = self._context.clock.now()
                self._pause(journal, progress, StopCondition(POOL, summarize_error(error), now))
                raise
            if outcome == "failed" and canary == "error":
                self._stop = StopCondition.cool_down(POOL, f"{_API_DOWN} {reason}.", self._context.clock.now())
                return self._pause(journal, progress, self._stop)
            return await self._conclude(journal, progress, outcome, reason, api_is_down=api_is_down, canary=canary)

    def _create_journal(self, window: SearchWindow) -> Journal:
        return Journal.create(
            self._context.settings.captures,
            entity="videos",
            study=self._study.name,
            first=window.first,
            last=window.last,
            now=self._context.clock.now(),
            origin=self._context.settings.origin,
            header=journal_header(self._task, window),
        )

    async def _conclude(
        self,
        journal: Journal,
        progress: SearchProgress,
        outcome: WindowOutcome,
        reason: str | None,
        *,
        api_is_down: bool = False,
        canary: CanaryResult | None = None,
    ) -> _WindowResult:
        """Evaluate a window, seal its journal and publish its rows; attempts in the journal stay unchanged."""
        now, window = self._context.clock.now(), progress.window
        evaluator = self._evaluator(window.usernames)
        was_concluded = progress.outcome is not None
        if not was_concluded:
            end = {"outcome": outcome, "reason": reason}
            journal.append("end", end)
            progress.apply({"event": "end", **end})
        evaluator.record_outcome(progress, outcome)
        replacements: tuple[SearchWindow, ...] | None = None
        if outcome in ("failed", "refused") and not (progress.pages or api_is_down or was_concluded):
            replacements = self._bisect.record_failure(window)
        is_bisected = replacements is not None
        if replacements is None:
            replacements = evaluator.replacement_windows(progress, outcome, api_is_down=api_is_down)
        if outcome == "done":
            replacements = (*replacements, *self._held_back.pop(window.first, ()))
        batch_attempts, rechecks = evaluator.evaluate_days(
            progress,
            journal.capture,
            outcome,
            reason,
            now,
            has_replacement=is_bisected or bool(replacements),
            canary=canary,
        )
        attempts = [one for attempt in batch_attempts for one in self._batches.record_attempt(window, attempt)]
        attempts = [progress.recorded_attempts.get((one.unit, one.partition), one) for one in attempts]
        day_attempts = [attempt for attempt in attempts if attempt.unit_kind == "day"]
        suspicious = [one for one in day_attempts if one.state == "suspicious"] if canary == "none" else []
        if suspicious:
            first = suspicious[0]
            self._stop = StopCondition(POOL, str(first.reason), first.next_try or backoff_until(now, 1))
        new = [one for one in attempts if (one.unit, one.partition) not in progress.recorded_attempts]
        await publish_in_background(self._context.settings.raw, journal, new)
        return _WindowResult(tuple(day_attempts), (*replacements, *rechecks))

    def _pause(self, journal: Journal, progress: SearchProgress, stop: StopCondition) -> _WindowResult:
        reason = f"Paused after page {progress.pages} of its window. {stop.reason}"
        batch_attempts = [replace(attempt, reason=reason) for attempt in progress.day_attempts(journal.capture)]
        attempts = [replace(self._batches.combine(one), next_try=stop.retry_at) for one in batch_attempts]
        write_open_coverage(self._context.settings.raw, journal, attempts, self._context.clock.now())
        return _WindowResult()

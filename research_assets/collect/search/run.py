"""Videos of a study's days: from missing days to windows, from windows to days that are complete or say why not.

One window is one capture. Paging inside a window is `window.py`, the choice of windows `plan.py`, what a window's end
means `judge.py`, which journals are gone on with `resume.py`.
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


@dataclass(frozen=True, slots=True)
class _WindowJob:
    """A window to ask, or a journal to go on with."""

    window: SearchWindow
    journal: Journal | None = None
    progress: SearchProgress | None = None


@dataclass(frozen=True, slots=True)
class _WindowResult:
    """What came of a job: days with their verdicts, and windows that must be asked instead."""

    attempts: tuple[Attempt, ...] = ()
    next_windows: tuple[SearchWindow, ...] = ()


class VideoSearch:
    """One run over the missing days of one study."""

    def __init__(self, task: CollectionTask, context: CollectorContext, records: Sequence[UnitStatus]) -> None:
        """`records` are what is held of the study's videos."""
        settings = context.settings
        status = {record.attempt.partition: record for record in records if record.attempt.unit_kind == "day"}
        self._task, self._context, self._status = task, context, status
        self._study: StudySpec = task.study
        self._sender = RequestSender(
            context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        self._accounts = UsernameBatches(
            task.study.query,
            records,
            context.clock.now(),
            most=settings.username_batch,
            recollect=task.recollect,
            retry=task.retry_now,
            same=lambda part: has_same_query(settings.captures, task, str(part.capture)),
        )
        self._bisect = AccountBisect(self._accounts.names, self._accounts.answered_windows())
        self._evaluators: dict[Usernames, SearchEvaluator] = {}
        self._canary = CanaryProbe(settings, task.study, status, self._accounts.alone, self._sender, context.clock)
        self._counter = RunCounter(task, context.progress)
        self._stop: StopCondition | None = None
        self._reserve: StopCondition | None = None
        self._searches: list[SearchProgress] = []
        self._after: dict[date, list[SearchWindow]] = {}

    async def run(self, days: Sequence[date]) -> AsyncGenerator[PartitionResult | Paused, None]:
        """Ask the days, giving each as it is finished. Raises Busy if another process collects one of them."""
        settings, left = self._context.settings, set(days)
        with ExitStack() as stack:
            stack.enter_context(lock_partitions(settings.state, self._study.name, "videos", list(days)))
            jobs: deque[_WindowJob] = deque()
            for found in self._resume_journals(stack, left):
                stack.callback(found.journal.close)
                if found.outcome is None:
                    jobs.append(_WindowJob(found.progress.window, found.journal, found.progress))
                    self._evaluator(found.progress.window.usernames).record_density(found.progress)
                    continue
                ended = await self._conclude(found.journal, found.progress, found.outcome, found.reason)
                for one in take_results(ended.attempts, left, self._accounts.spent):
                    yield one
            jobs.extend(_WindowJob(window) for window in self._plan(left, [job.window for job in jobs]))
            self._declare_demand(jobs)
            results = run_concurrently(jobs, self._run_window, settings.concurrency, lambda: self._stop is None)
            async with aclosing(results):
                async for result in results:
                    jobs.extend(_WindowJob(window) for window in result.next_windows)
                    open_ = [progress.window for progress in self._searches] + [job.window for job in jobs]
                    jobs.extend(
                        _WindowJob(window) for window in self._bisect.next_windows(open_, self._accounts.dead.keys())
                    )
                    if self._stop is None:
                        self._declare_demand(jobs)
                    for one in take_results(result.attempts, left, self._accounts.spent):
                        yield one
        stop = self._stop or self._reserve
        if stop is not None:
            yield Paused(stop.pool, stop.reason, stop.retry_at, tuple(sorted(left)))
        else:
            self._context.ledger.declare_demand(self._study.name, self._study.quota_weight, 0, pool=POOL)

    def _resume_journals(self, stack: ExitStack, left: Set[date]) -> list[OpenJournal]:
        settings, claimed = self._context.settings, set(left)

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
            left,
            self._status,
            lambda names: self._evaluator(names).hits_per_day,
            self._context.clock.now(),
            page_size=settings.page_size,
            claim_more=claim_more,
        )

    def _evaluator(self, names: Usernames) -> SearchEvaluator:
        """What is known of the series that some accounts make, or the whole query."""
        if names not in self._evaluators:
            settings = self._context.settings
            self._evaluators[names] = SearchEvaluator(
                self._accounts.history(names), settings.window_days, settings.page_size
            )
        return self._evaluators[names]

    def _plan(self, left: Collection[date], begun: Sequence[SearchWindow]) -> list[SearchWindow]:
        """Windows over the days that are left, without what is under way."""
        days: dict[Usernames, list[date]] = {}
        for day in sorted(left):
            at_it = [window.usernames or self._accounts.names for window in begun if day in window.days]
            if at_it and not self._accounts.names:
                continue
            for names in self._accounts.missing_batches(day, {name for part in at_it for name in part}):
                days.setdefault(names, []).append(day)
        windows = []
        for names, wanted in days.items():
            under_way = {day for window in begun if window.usernames == names for day in window.days}
            windows += [
                replace(window, usernames=names) for window in self._evaluator(names).windows(wanted, under_way)
            ]
        plan = []
        for window in sorted(windows, key=lambda window: window.last, reverse=True):
            # A day that was given up before is asked for one part first: if that fails, it fails for all.
            if window.usernames and window.n_failures >= QUARANTINE_FAILURES:
                self._after.setdefault(window.first, []).append(window)
            else:
                plan.append(window)
        return [*plan, *(replace(parts.pop(0), bisect_exhausted=True) for parts in self._after.values())]

    def _declare_demand(self, jobs: Collection[_WindowJob]) -> None:
        """Tell the ledger about what the run still needs, so that studies can share the day."""
        size = self._context.settings.page_size
        units = 0
        for progress in (*self._searches, *(job.progress or SearchProgress(job.window) for job in jobs)):
            rest = [day for day in progress.window.days if day <= progress.reached_day]
            units += requests_for_hits(
                expected_hits(
                    rest, estimate_hits_per_day(self._evaluator(progress.window.usernames).hits_per_day, rest)
                ),
                size,
            )
        self._context.ledger.declare_demand(self._study.name, self._study.quota_weight, units, pool=POOL)

    async def _run_window(self, job: _WindowJob) -> _WindowResult:
        window, settings = job.window, self._context.settings
        evaluator = self._evaluator(window.usernames)
        if job.journal is None and not window.bisect_exhausted:
            narrower = evaluator.narrow(window, self._accounts.dead.keys())
            if narrower is not None:
                return _WindowResult(next_windows=narrower)
        due = not is_backfill(self._task, window.last, self._context.clock.now())
        if self._reserve is not None and not due:
            return _WindowResult()
        progress = job.progress or SearchProgress(window)
        if progress.pages:
            self._bisect.record_answer(window, progress.distrust_reason)
        with ExitStack() as stack:
            journal = stack.enter_context(job.journal or self._create_journal(window))
            self._searches.append(progress)
            stack.callback(self._searches.remove, progress)

            def note(event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
                journal.append(event, facts, answer)
                progress.apply({"event": event, **facts})
                self._counter.add(str(window), 0 if event == "canary" else None)

            async def keep(facts: dict[str, Any], answer: bytes) -> None:
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
                    record_event=note,
                    write_page=keep,
                )
                down, canary = self._sender.api_is_down, None
                if (outcome == "failed" and down) or evaluator.needs_canary(progress):
                    canary = await self._canary.check(window.days, note)
            except QuotaExhausted as spent:
                if spent.reason == "reserved":
                    self._reserve = StopCondition.from_quota(spent)
                else:
                    self._stop = StopCondition.from_quota(spent)
                return self._pause(journal, progress, StopCondition.from_quota(spent))
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
            return await self._conclude(journal, progress, outcome, reason, down=down, canary=canary)

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
        down: bool = False,
        canary: CanaryResult | None = None,
    ) -> _WindowResult:
        """Judge the window, seal it, publish its rows. Verdicts that stand in the journal already stay as they are."""
        now, window = self._context.clock.now(), progress.window
        evaluator, accounts = self._evaluator(window.usernames), self._accounts
        resumed = progress.outcome is not None
        if not resumed:
            end = {"outcome": outcome, "reason": reason}
            journal.append("end", end)
            progress.apply({"event": "end", **end})
        evaluator.record_outcome(progress, outcome)
        again: tuple[SearchWindow, ...] | None = None
        if outcome in ("failed", "refused") and not (progress.pages or down or resumed):
            again = self._bisect.record_failure(window)
        goes_on = again is not None
        if again is None:
            again = evaluator.replacement_windows(progress, outcome, down=down)
        if outcome == "done":
            again = (*again, *self._after.pop(window.first, ()))
        pieces, doubted = evaluator.evaluate_days(
            progress, journal.capture, outcome, reason, now, goes_on=goes_on or bool(again), canary=canary
        )
        rows = [row for piece in pieces for row in accounts.record_attempt(window, piece)]
        rows = [progress.recorded_attempts.get((row.unit, row.partition), row) for row in rows]
        attempts = [row for row in rows if row.unit_kind == "day"]
        silent = [attempt for attempt in attempts if attempt.state == "suspicious"] if canary == "none" else []
        if silent:
            self._stop = StopCondition(POOL, str(silent[0].reason), silent[0].next_try or backoff_until(now, 1))
        new = [row for row in rows if (row.unit, row.partition) not in progress.recorded_attempts]
        await publish_in_background(self._context.settings.raw, journal, new)
        return _WindowResult(tuple(attempts), (*again, *doubted))

    def _pause(self, journal: Journal, progress: SearchProgress, stop: StopCondition) -> _WindowResult:
        reason = f"Paused after page {progress.pages} of its window. {stop.reason}"
        pieces = [replace(piece, reason=reason) for piece in progress.day_attempts(journal.capture)]
        attempts = [replace(self._accounts.combine(piece), next_try=stop.retry_at) for piece in pieces]
        write_open_coverage(self._context.settings.raw, journal, attempts, self._context.clock.now())
        return _WindowResult()


_RATE_LIMITED = "The API refuses requests as too fast, however slowly they come:"
_API_DOWN = "The API answers nothing just now, not even what it answered before:"

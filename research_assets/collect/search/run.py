"""Collection of a study's missing days of videos: plan windows, run them, publish the days. One window is one capture.

A search is opened only if what it probably needs fits into what the run has left once the open ones are finished, or
if none is open: days are completed one after the other rather than all begun.

Not here: paging inside a window (see pager.py); the choice of windows (see units/windows.py); the state of a day (see
conclude.py); which open journals are resumed (see resume.py).
"""

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence, Set
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import date

from research_assets.collect.publish import publish_in_background, write_open_coverage
from research_assets.collect.search.bisect import QUARANTINE_FAILURES, AccountBisect
from research_assets.collect.search.canary import POOL, CanaryProbe, CanaryResult
from research_assets.collect.search.conclude import Conclusion, conclude, needs_canary
from research_assets.collect.search.history import SearchHistory
from research_assets.collect.search.pager import SearchPager, fetch_window
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.collect.search.query_parts import QueryParts
from research_assets.collect.search.resume import (
    OpenJournal,
    continuation_header,
    create_journal,
    has_same_query,
    rest_window,
    resume_journals,
)
from research_assets.collect.search.username_batches import UsernameBatches
from research_assets.collect.session import RunState, Session
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    StopCondition,
    run_concurrently,
    take_results,
)
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal
from research_assets.storage.lock_errors import LocksLost
from research_assets.storage.locks import PartitionBusy, lock_open_journals, lock_partitions
from research_assets.study.spec import StudySpec
from research_assets.tiktok.errors import ApiError
from research_assets.units.coverage import Attempt, UnitStatus, backoff_until, join_sentences
from research_assets.units.periods import is_backfill
from research_assets.units.usernames import Usernames
from research_assets.units.windows import SearchWindow, requests_for_hits

_API_DOWN = "The API answers no request, not even a canary check:"


@dataclass(frozen=True, slots=True, eq=False)
class _WindowJob:
    """A window to collect; with the journal of an earlier run, one to resume."""

    progress: SearchProgress
    journal: Journal | None = None

    @property
    def window(self) -> SearchWindow:
        """The window of the job."""
        return self.progress.window


def _jobs(windows: Iterable[SearchWindow]) -> list[_WindowJob]:
    return [_WindowJob(SearchProgress(window)) for window in windows]


@dataclass(frozen=True, slots=True)
class _WindowResult:
    """The result of a job: attempts of days, and the windows that follow; `next` are collected before all others."""

    attempts: tuple[Attempt, ...] = ()
    next: tuple[SearchWindow, ...] = ()
    later: tuple[SearchWindow, ...] = ()


class VideoSearch:
    """One run over the missing days of one study."""

    def __init__(self, task: CollectionTask, context: CollectorContext, records: Sequence[UnitStatus]) -> None:
        """`records` are the unit status of the study's videos."""
        settings = context.settings
        day_status = {record.attempt.partition: record for record in records if record.attempt.unit_kind == "day"}
        self._task, self._context, self._day_status = task, context, day_status
        self._study: StudySpec = task.study
        self._run = RunState(
            task.study.name, "videos", POOL, context, budget=task.budget, pseudonyms=task.study.pseudonyms
        )

        def same_query(attempt: Attempt) -> bool:
            return has_same_query(settings.captures, task, str(attempt.capture))

        self._batches = UsernameBatches(
            task.study.query,
            records,
            context.clock.now(),
            batch_size=settings.username_batch,
            recollect=task.recollect,
            retry_now=task.retry_now,
            has_same_query=same_query,
        )
        self._parts = QueryParts(
            task.study.query,
            records,
            context.clock.now(),
            page_size=settings.page_size,
            recollect=task.recollect,
            has_same_query=same_query,
        )
        self._bisect = AccountBisect(self._batches.names, self._batches.answered_windows())
        self._histories: dict[tuple[Usernames, str], SearchHistory] = {}
        self._canary = CanaryProbe(settings, task.study, day_status, self._batches.isolated, self._run)
        self._collected: set[date] = set()
        self._running: set[_WindowJob] = set()
        self._held_back: dict[date, list[SearchWindow]] = {}

    async def run(self, days: Sequence[date]) -> AsyncGenerator[PartitionResult | Paused, None]:
        """Collect the days, which the caller has locked, and yield each as it finishes."""
        settings, remaining = self._context.settings, set(days)
        self._collected = set(days)
        with ExitStack() as stack:
            jobs: deque[_WindowJob] = deque()
            with ExitStack() as ended_days:
                for opened in self._resume_journals(stack, ended_days, remaining):
                    stack.callback(opened.journal.close)
                    self._parts.mark_cut(opened.progress.window.first, opened.progress.window.part)
                    if not opened.progress.window.is_recheck:
                        self._collected.update(opened.progress.window.days)
                    if opened.outcome is None:
                        jobs.append(_WindowJob(opened.progress, opened.journal))
                        self._history(opened.progress.window).record_density(opened.progress)
                        continue
                    ended = await self._conclude(self._session(opened), opened.outcome, opened.reason)
                    for day_result in take_results(ended.attempts, remaining, self._batches.requests):
                        yield day_result
            jobs.extend(_jobs(self._plan(remaining, [job.window for job in jobs])))
            results = run_concurrently(
                jobs, self._run_window, settings.concurrency, lambda: self._run.may_continue, self._may_open
            )
            async with aclosing(results):
                async for result in results:
                    jobs.extendleft(reversed(_jobs(result.next)))
                    jobs.extend(_jobs(result.later))
                    unfinished = [job.window for job in (*self._running, *jobs)]
                    jobs.extend(_jobs(self._bisect.next_windows(unfinished, self._batches.dead.keys())))
                    for day_result in take_results(result.attempts, remaining, self._batches.requests):
                        yield day_result
        self._run.raise_failure()
        stop = self._run.stop or self._run.backfill_stop
        if stop is not None:
            yield Paused(stop.pool, stop.reason, stop.retry_at, tuple(sorted(remaining)))

    def _resume_journals(self, stack: ExitStack, ended_days: ExitStack, missing: Set[date]) -> list[OpenJournal]:
        """Return the journals that the run resumes or ends.

        Days that it locks besides are locked until `stack` closes; those of searches that ended, until `ended_days`
        does.
        """
        settings, claimed, ended = self._context.settings, set(missing), set[date]()

        def claim(days: Collection[date], locks: ExitStack, locked: set[date]) -> bool:
            new = sorted(set(days) - claimed - ended)
            try:
                locks.enter_context(lock_partitions(settings.state, self._study.name, "videos", new))
            except PartitionBusy:
                return False
            locked.update(new)
            return True

        def claim_more(days: Collection[date]) -> bool:
            if not ended.isdisjoint(days):
                # The rest of a search that ended is resumed: its days stay locked.
                stack.enter_context(ended_days.pop_all())
                claimed.update(ended)
            return claim(days, stack, claimed)

        with lock_open_journals(settings.state, self._study.name, "videos"):
            return resume_journals(
                settings.captures,
                self._task,
                missing,
                self._is_complete,
                lambda window: self._history(window).hits_per_day,
                self._context.clock.now(),
                page_size=settings.page_size,
                claim_more=claim_more,
                claim_ended=lambda days: claim(days, ended_days, ended),
            )

    def _is_beside(self, window: SearchWindow, day: date) -> bool:
        """Return whether a window of a batch contains a complete day only because it lies between or beside its days.

        The other batches are not searched for that day, so what this one finds is no observation of it.
        """
        status = self._day_status.get(day)
        is_complete = status is not None and status.attempt.state == "complete"
        return bool(window.usernames) and is_complete and day not in self._collected

    def _is_complete(self, window: SearchWindow, day: date) -> bool:
        """Return whether a day of a window was collected by earlier runs, or the part of it that the window asks."""
        status = self._day_status.get(day)
        return (status is not None and status.attempt.state == "complete") or self._parts.is_complete(window)

    def _history(self, window: SearchWindow) -> SearchHistory:
        """Return what is known about the days of a window's username batch or part; else of the whole query."""
        key = window.usernames, window.part
        if key not in self._histories:
            settings = self._context.settings
            status = self._parts.history(window.part) if window.part else self._batches.history(window.usernames)
            self._histories[key] = SearchHistory(
                status,
                settings.window_days,
                settings.page_size,
                concurrency=max(1, settings.concurrency // self._batches.n_batches),
                # A query is only cut after it found more videos than one day's quota can read.
                query_found=bool(window.part),
                others_found=self._found_anything if window.usernames else lambda: False,
                is_sampled=self._study.is_sampled,
            )
        return self._histories[key]

    def _expected_hits(self, window: SearchWindow, days: Sequence[date]) -> float | None:
        """Return the raw hits expected for some days of a window; None if nothing is known."""
        hits = self._history(window).expected_hits(days)
        return self._parts.expected_hits(window, hits) if window.part else hits

    def _day_requests(self, last: date) -> int:
        """Return the requests that one day's quota has for a window that ends on a day."""
        settings = self._context.settings
        backfill = is_backfill(self._study, "videos", last, self._context.clock.now())
        return settings.caps[POOL] - (settings.quota_reserve if backfill else 0)

    def _found_anything(self) -> bool:
        """Return whether any search of this query found a video."""
        return any(record.max_kept for record in self._day_status.values()) or any(
            history.found_anything for history in self._histories.values()
        )

    def _available(self, last: date) -> int:
        """Return the requests that the run may still send for a window that ends on a day."""
        due = not is_backfill(self._study, "videos", last, self._context.clock.now())
        return self._run.sender.available(POOL, due=due)

    def _plan(self, missing: Collection[date], resumed: Sequence[SearchWindow]) -> list[SearchWindow]:
        """Return windows over the missing days, without what the resumed windows collect."""
        days_by_batch: dict[Usernames, list[date]] = {}
        parts: list[SearchWindow] = []
        for day in sorted(missing, reverse=True):
            parts += self._parts.missing(day, {window.part for window in resumed if day in window.days})
        in_parts = {window.first for window in parts} | {window.first for window in resumed if window.part}
        for day in sorted(set(missing) - in_parts):
            resumed_names = [window.usernames or self._batches.names for window in resumed if day in window.days]
            if resumed_names and not self._batches.names:
                continue
            for names in self._batches.missing_batches(day, {name for batch in resumed_names for name in batch}):
                days_by_batch.setdefault(names, []).append(day)
        windows = []
        for names, days in days_by_batch.items():
            running = {day for window in resumed if window.usernames == names for day in window.days}
            planned = self._history(SearchWindow(days[0], days[-1], usernames=names)).windows(
                days, running, self._available(days[-1])
            )
            windows += [replace(window, usernames=names) for window in planned]
        plan = []
        for window in sorted(windows, key=lambda window: window.last, reverse=True):
            # A quarantined day is requested for one batch first: if that fails, the day fails for all batches.
            if window.usernames and window.n_failures >= QUARANTINE_FAILURES:
                self._held_back.setdefault(window.first, []).append(window)
            else:
                plan.append(window)
        return [
            *parts,
            *plan,
            *(replace(batches.pop(0), bisect_exhausted=True) for batches in self._held_back.values()),
        ]

    def _rest_requests(self, progress: SearchProgress) -> int | None:
        """Return the requests that a search probably still needs; None if no density is known."""
        rest = [day for day in progress.window.days if day <= progress.reached_day]
        hits = self._expected_hits(progress.window, rest)
        if hits is None and progress.recent_pages:
            hits = progress.hits_per_day * len(rest)
        return None if hits is None else requests_for_hits(hits, self._context.settings.page_size)

    def _may_open(self, job: _WindowJob) -> bool:
        """Return whether a search may be opened beside those that run: what it needs fits, or none runs.

        While nothing is known about the density of a query, one search shows it. Where jumps are refused, a search that
        does not fit into today's quota is opened last, because it may have to begin again.
        """
        may_not_end = bool(job.window.part) or self._parts.jumps_refused
        opens = bool(job.window.usernames) or not (self._running or may_not_end)
        if not opens:
            committed = sum(self._rest_requests(other.progress) or 0 for other in self._running)
            needed = self._rest_requests(job.progress)
            opens = needed is not None and needed <= self._available(job.window.last) - committed
        if opens:
            self._running.add(job)
        return opens

    async def _run_window(self, job: _WindowJob) -> _WindowResult:
        self._running.add(job)
        try:
            return await self._collect_window(job)
        except LocksLost as error:
            # The other searches store the page that they wait for.
            self._run.stop_for_lost_locks(error)
            return _WindowResult()
        finally:
            self._running.discard(job)

    async def _collect_window(self, job: _WindowJob) -> _WindowResult:
        progress, window, settings, run = job.progress, job.window, self._context.settings, self._run
        history = self._history(window)
        if job.journal is None and window.part and self._parts.is_complete(window):
            return _WindowResult()
        if job.journal is None and not window.bisect_exhausted:
            expected = history.expected_hits(window.days)
            if parts := self._parts.cut_planned(window, expected, self._day_requests(window.last)):
                return _WindowResult(next=parts)
            narrower = history.narrow(window, self._batches.dead.keys(), self._available(window.last))
            if narrower is not None:
                return _WindowResult(later=narrower)
        due = not is_backfill(self._study, "videos", window.last, self._context.clock.now())
        if run.backfill_stop is not None and not due:
            return _WindowResult()
        if progress.pages:
            self._bisect.record_answer(window, progress.doubt)
        with job.journal or create_journal(self._task, self._context, window) as journal:
            session = Session(run, journal, progress, str(window))
            pager = SearchPager(
                session,
                self._study,
                self._context.clock,
                settings.page_size,
                expected_hits=self._expected_hits(window, window.days),
                available=lambda: self._available(window.last),
                on_page=lambda facts: self._bisect.record_answer(window, facts["distrust_reason"]),
            )
            canary: CanaryResult | None = None
            try:
                outcome, reason = await fetch_window(pager, due=due)
                history.record_density(progress)
                if (outcome == "failed" and run.sender.api_may_be_down) or needs_canary(progress, history):
                    canary = await self._canary.check(window.days, session.record)
            except (QuotaExhausted, ApiError) as error:
                stop = run.stop_for(error)
                assert stop is not None, "fetch_window turns all other errors into an outcome"
                return await self._pause(session, stop)
            if outcome == "failed" and canary == "error":
                run.stop = StopCondition.cool_down(
                    POOL, str(join_sentences(f"{_API_DOWN} {reason}")), self._context.clock.now()
                )
                return await self._pause(session, run.stop)
            return await self._conclude(session, outcome, reason, canary=canary)

    def _session(self, opened: OpenJournal) -> Session[SearchProgress]:
        return Session(self._run, opened.journal, opened.progress, str(opened.progress.window))

    async def _conclude(
        self,
        session: Session[SearchProgress],
        outcome: WindowOutcome,
        reason: str | None,
        *,
        canary: CanaryResult | None = None,
    ) -> _WindowResult:
        """Record how a window ended, seal its journal and publish its rows; attempts in the journal stay unchanged."""
        progress, window = session.progress, session.progress.window
        history = self._history(window)
        was_concluded = progress.outcome is not None
        if not was_concluded:
            session.record("end", {"outcome": outcome, "reason": reason})
        history.record_outcome(progress, outcome)
        conclusion = conclude(
            progress,
            outcome,
            reason,
            history,
            self._context.clock.now(),
            replacements=self._replacements(session, outcome, was_concluded=was_concluded),
            canary=canary,
        )
        if conclusion.next_windows and not history.found_anything:
            history.empty_query_checked = True
        if conclusion.stop is not None and self._run.stop is None:
            retry_at = conclusion.stop.next_try or backoff_until(self._context.clock.now(), 1)
            self._run.stop = StopCondition(POOL, str(conclusion.stop.reason), retry_at)
        day_attempts = await self._publish(session, conclusion)
        if outcome in ("failed", "refused", "lost", "doubtful") and not progress.jumps_refused:
            # Other windows show first whether the API answers at all.
            return _WindowResult(day_attempts, later=conclusion.next_windows)
        held_back = self._held_back.pop(window.first, []) if outcome == "done" else []
        return _WindowResult(day_attempts, (*conclusion.next_windows, *held_back))

    def _replacements(
        self, session: Session[SearchProgress], outcome: WindowOutcome, *, was_concluded: bool
    ) -> tuple[SearchWindow, ...] | None:
        """Return the windows that collect the open days of a window; None if there are none.

        The result is empty while it is undecided whether the days or the accounts of the window cause a failure.
        """
        progress, api_is_down = session.progress, self._run.sender.api_is_down
        if outcome in ("failed", "refused") and not (progress.pages or api_is_down or was_concluded):
            bisected = self._bisect.record_failure(progress.window)
            if bisected is not None:
                return bisected
        if api_is_down:
            return None
        if outcome == "lost" and (parts := self._parts.cut_lost(progress, self._day_requests(progress.window.last))):
            return parts
        history = self._history(progress.window)
        return history.replacement_windows(progress, outcome, self._available(progress.window.last)) or None

    async def _publish(self, session: Session[SearchProgress], conclusion: Conclusion) -> tuple[Attempt, ...]:
        """Seal the journal and publish its rows with the attempts of its days; return the attempts of whole days."""
        progress = session.progress
        batch_attempts = [
            replace(attempt, **conclusion.states[attempt.partition]._asdict())
            for attempt in progress.day_attempts(session.journal.capture)
            if attempt.partition in conclusion.states and not self._is_beside(progress.window, attempt.partition)
        ]
        attempts = []
        for attempt in batch_attempts:
            at_parts, whole = self._parts.record_attempt(progress.window, attempt)
            attempts += at_parts
            if whole is not None:
                attempts += self._batches.record_attempt(progress.window, whole)
                if progress.window.part and whole.state == "complete":
                    day_history = self._history(SearchWindow(whole.partition, whole.partition))
                    day_history.hits_per_day[whole.partition] = float(whole.offered)
        attempts = [progress.recorded_attempts.get((one.unit, one.partition), one) for one in attempts]
        new = [one for one in attempts if (one.unit, one.partition) not in progress.recorded_attempts]
        await publish_in_background(self._context.settings.raw, session.journal, new)
        return tuple(attempt for attempt in attempts if attempt.unit_kind == "day")

    async def _pause(self, session: Session[SearchProgress], stop: StopCondition) -> _WindowResult:
        """Publish the days that the search has passed, and keep a journal from which the rest is continued.

        If the search was read to its end and only a canary check is missing, its journal is kept as it is.
        """
        progress = session.progress
        if not progress.complete_days() or progress.done:
            self._write_open(session.journal, progress, stop)
            return _WindowResult()
        window = rest_window(progress)
        header = continuation_header(session.journal, progress)
        with create_journal(self._task, self._context, window, header) as rest:
            result = await self._conclude(session, "paused", "The rest is continued in another capture.")
            self._write_open(rest, SearchProgress.continued(window, progress.rest()), stop)
        return _WindowResult(result.attempts)

    def _write_open(self, journal: Journal, progress: SearchProgress, stop: StopCondition) -> None:
        """Write the open days of a journal to raw/coverage."""
        reason = f"Paused on {progress.reached_day} after page {progress.pages} of its window. {stop.reason}"
        window_attempts = [
            replace(attempt, reason=reason)
            for attempt in progress.day_attempts(journal.capture)
            if not self._is_beside(progress.window, attempt.partition)
        ]
        attempts = [
            replace(self._batches.combine(self._parts.combine(progress.window, one)), next_try=stop.retry_at)
            for one in window_attempts
        ]
        write_open_coverage(self._context.settings.raw, journal, attempts, self._context.clock.now())

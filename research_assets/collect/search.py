"""Videos of a study's days: from missing days to windows, from windows to days that are complete or say why not.

Failing windows are halved until what is dead stands alone; what a window passed before it broke is kept. One window is
one capture. Paging inside a window is `window.py`, the choice of windows `plan.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from research_assets.captures import unfinished
from research_assets.clock import midnight
from research_assets.collect.coverage import Held, State, Verdict, next_try, utc
from research_assets.collect.model import Ask, Finished, Halt, Meter, Paused, Tools, is_backfill, side_by_side
from research_assets.collect.plan import Window, halve, plan_windows, runs, spread
from research_assets.collect.publish import note_open, publish
from research_assets.collect.send import Courier
from research_assets.collect.spec import StudySpec
from research_assets.collect.window import Outcome, Trail, crawl
from research_assets.journal import Journal, JournalBusy
from research_assets.locks import claim
from research_assets.quota import QuotaSpent

MOST_TRIES_ALONE = 3
"""Failures of a single day, wider windows included, after which it is given up for now."""

MOST_TRIES = 6
"""Wider windows that failed, after which even several days are given up for now: more than halving ever needs."""

DEAD_BEFORE = MOST_TRIES - 2
"""Where days begin that were all given up before: their retry may halve twice, which caps what it costs."""

OUTAGE = 16
"""Calls failing one after the other, after which windows are no longer halved: then it is not the days."""

SURE_OF_HITS = 7.0
"""Rows a day, seen around it, from which on an empty day is suspicious: by chance it would be one in a thousand."""

NEAR = timedelta(days=15)
WIDTH_FAILURES = 2
"""Windows failing one after the other, after which wide windows are no longer tried in this run (reference §7 #3)."""


NOTHING_KNOWN = "No video, and none is known of this study at all."

Judged = tuple[State, str | None, datetime | None]
"""A unit's state, the reason, and when it is asked again."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A window to ask, or a journal to go on with."""

    window: Window
    journal: Journal | None = None
    trail: Trail | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of a job: days with their verdicts, and windows that must be asked instead."""

    verdicts: tuple[Verdict, ...] = ()
    again: tuple[Window, ...] = ()


class Search:
    """One run over the missing days of one study."""

    def __init__(self, ask: Ask, tools: Tools, held: Mapping[date, Held]) -> None:
        self._ask, self._tools, self._held = ask, tools, held
        self._study: StudySpec = ask.study
        settings = tools.settings
        self._courier = Courier(
            tools.client, tools.ledger, tools.clock, rate=settings.rate, concurrency=settings.concurrency
        )
        self._density = {
            day: float(record.verdict.offered) for day, record in held.items() if record.verdict.state == "complete"
        }
        self._most_days = settings.window_days
        self._failed_in_a_row = 0
        self._meter = Meter(ask, tools.progress)
        self._halt: Halt | None = None

    async def run(self, days: Sequence[date]) -> AsyncIterator[Finished | Paused]:
        """Ask the days, giving each as it is finished. Raises Busy if another process collects one of them."""
        settings = self._tools.settings
        left = set(days)
        with ExitStack() as stack:
            stack.enter_context(claim(settings.state, self._study.name, "videos", list(days)))
            jobs = deque(self._resumed(stack, left))
            open_days = left - {day for job in jobs for day in job.window.days}
            jobs.extend(_Job(window) for window in self._plan(sorted(open_days)))
            results = side_by_side(jobs, self._work, settings.concurrency, lambda: self._halt is None)
            async for result in results:
                jobs.extend(_Job(window) for window in result.again)
                for verdict in result.verdicts:
                    if verdict.partition in left and verdict.state != "partial":
                        left.discard(verdict.partition)
                        yield _finished(verdict)
        if self._halt is not None:
            yield Paused(self._halt.pool, self._halt.reason, self._halt.opens_at, tuple(sorted(left)))

    def _plan(self, days: Sequence[date]) -> list[Window]:
        settings = self._tools.settings
        if not days:
            return []
        around = [days[0] + timedelta(days=i) for i in range((days[-1] - days[0]).days + 1)]
        plan = plan_windows(
            days, spread(self._density, around), most_days=self._most_days, page_size=settings.page_size
        )
        dead = {day for day, record in self._held.items() if record.verdict.state == "quarantined"}
        return [replace(window, failures=DEAD_BEFORE) if dead.issuperset(window.days) else window for window in plan]

    def _resumed(self, stack: ExitStack, left: set[date]) -> Iterable[_Job]:
        """Journals that an earlier run left open, where going on costs only days that are wanted now."""
        for path in unfinished(self._tools.settings.captures, "videos", self._study.name):
            try:
                journal = Journal.resume(path)
            except JournalBusy:
                # Another process is at it, for other days: what it brings need not be waited for.
                continue
            stack.callback(journal.close)
            header = journal.start["header"]
            first, last = _day(journal.start["first"]), _day(journal.start["last"])
            trail = Trail(Window(first, last, header["failures"], header["confirms"]))
            for event in journal.events():
                trail.take(event)
            if header["query"] != _query(self._study):
                self._close(journal, trail, "lost", "The study's query has changed since.")
            elif set(trail.window.days) <= left or not trail.has_more:
                yield _Job(trail.window, journal, trail)
            else:
                journal.close()

    async def _work(self, job: _Job) -> _Result:
        window = job.window
        if job.journal is None and len(window.days) > self._most_days:
            halves = halve(window, self._density, self._tools.settings.page_size)
            return _Result(again=tuple(replace(half, failures=window.failures) for half in halves))
        trail = job.trail or Trail(window)
        with job.journal or self._begin(window) as journal:
            try:
                outcome, reason = await crawl(
                    trail,
                    self._study,
                    journal,
                    self._courier,
                    self._tools.clock,
                    page_size=self._tools.settings.page_size,
                    due=not is_backfill(self._ask, window.last, self._tools.clock.now()),
                    on_event=lambda rows: self._meter.add(str(window), rows),
                )
            except QuotaSpent as spent:
                self._halt = Halt.of(spent)
                self._note_open(journal, trail, self._halt)
                return _Result()
            return await asyncio.to_thread(self._close, journal, trail, outcome, reason)

    def _begin(self, window: Window) -> Journal:
        return Journal.create(
            self._tools.settings.captures,
            entity="videos",
            study=self._study.name,
            first=window.first,
            last=window.last,
            now=self._tools.clock.now(),
            origin=self._tools.settings.origin,
            header={"failures": window.failures, "confirms": window.confirms, "query": _query(self._study)},
        )

    def _close(self, journal: Journal, trail: Trail, outcome: Outcome, reason: str | None) -> _Result:
        """Judge the window, seal it, publish its rows. A journal whose verdicts stand already is only published."""
        complete = set(trail.complete_days())
        for day in complete:
            self._density[day] = float(trail.offered[day])
        self._learn(outcome, trail)
        again = self._again(trail, outcome)
        verdicts, empty = [], []
        for verdict in trail.verdicts(journal.capture):
            day = verdict.partition
            if day not in complete:
                judged = self._incomplete(day, outcome, reason, goes_on=bool(again))
            elif verdict.kept or not (mean := self._unlikely(day)):
                judged = ("complete", None, None)
            elif trail.window.confirms:
                judged = self._still_empty(day, mean)
            else:
                empty.append(day)
                judged = ("partial", "Empty where it should not be; asked once more.", None)
            state, why, when = judged
            verdicts.append(replace(verdict, state=state, reason=why, next_try=when))
        publish(self._tools.settings.raw, journal, () if trail.settled else verdicts)
        return _Result(tuple(verdicts), (*again, *(Window(*stretch, confirms=True) for stretch in runs(empty))))

    def _incomplete(self, day: date, outcome: Outcome, reason: str | None, *, goes_on: bool) -> Judged:
        if goes_on:
            return "partial", f"{reason} The rest is asked again in other windows.", None
        held = self._held.get(day)
        if outcome == "doubtful":
            return "suspicious", reason, next_try(self._tools.clock.now(), (held.suspicions if held else 0) + 1)
        return "quarantined", reason, next_try(self._tools.clock.now(), (held.quarantines if held else 0) + 1)

    def _unlikely(self, day: date) -> str | None:
        """Why an empty day is a claim to be checked, if it is: its neighbours have many videos, or nothing is known."""
        near = [hits for other, hits in self._density.items() if other != day and abs(other - day) <= NEAR]
        mean = sum(near) / len(near) if near else 0.0
        if mean >= SURE_OF_HITS:
            return f"No video, where {len(near)} days around it have {mean:.0f} on average."
        return None if any(self._density.values()) else NOTHING_KNOWN

    def _still_empty(self, day: date, why: str) -> Judged:
        """An empty day asked again: believed if nothing speaks against it, or if it was empty on another day too."""
        held = self._held.get(day)
        if why == NOTHING_KNOWN:
            return "complete", None, None
        if held and held.suspicions:
            return "complete", "Empty each time it was asked, on different days.", None
        return "suspicious", why, next_try(self._tools.clock.now(), 1)

    def _again(self, trail: Trail, outcome: Outcome) -> tuple[Window, ...]:
        """The windows that replace what a window did not bring; none if it brought all, or if its day is given up."""
        missing = sorted(set(trail.window.days) - set(trail.complete_days()))
        if not missing or outcome == "done" or self._courier.failures >= OUTAGE:
            return ()
        rest = Window(missing[0], missing[-1], trail.window.failures)
        passed = len(missing) < len(trail.window.days)
        if len(missing) == 1:
            failures = rest.failures + 1
            dead = outcome == "failed" and not trail.pages
            return () if dead or failures >= MOST_TRIES_ALONE else (Window(rest.first, rest.last, failures),)
        if rest.failures >= MOST_TRIES:
            return ()
        if outcome == "lost" and (passed or not trail.window.failures):
            return (Window(rest.first, rest.last, rest.failures + (not passed)),)
        return halve(rest, self._density, self._tools.settings.page_size)

    def _learn(self, outcome: Outcome, trail: Trail) -> None:
        """Wide windows are given up while they keep failing, and tried again as soon as they work."""
        if outcome == "failed" and not trail.window.failures:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= WIDTH_FAILURES:
                self._most_days = max(1, len(trail.window.days) // 2)
        elif outcome == "done":
            self._failed_in_a_row = 0
            self._most_days = min(self._tools.settings.window_days, max(self._most_days, 2 * len(trail.window.days)))

    def _note_open(self, journal: Journal, trail: Trail, halt: Halt) -> None:
        reason = f"Paused after page {trail.pages} of its window. {halt.reason}"
        verdicts = [replace(v, reason=reason, next_try=halt.opens_at) for v in trail.verdicts(journal.capture)]
        note_open(self._tools.settings.raw, journal, verdicts, self._tools.clock.now())


def _query(study: StudySpec) -> dict[str, list[dict[str, object]]]:
    return {group: [dict(condition) for condition in conditions] for group, conditions in study.query.items()}


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _finished(verdict: Verdict) -> Finished:
    return Finished(
        partition=verdict.partition,
        state=verdict.state,
        asked=verdict.asked,
        offered=verdict.offered,
        kept=verdict.kept,
        requests=verdict.requests,
        units={verdict.state: 1},
        reason=verdict.reason,
        next_try=verdict.next_try,
    )


def too_fresh(study: StudySpec, day: date, now: datetime) -> Finished | None:
    """The refusal to ask a day that has not settled yet (new videos lag up to 48 hours); None if it has."""
    due = midnight(day) + timedelta(days=1 + study.settle_days)
    if now >= due:
        return None
    reason = f"The day settles on {utc(due)} (settle_days: {study.settle_days}); asked earlier it would be incomplete."
    return Finished(partition=day, state="too_fresh", units={"too_fresh": 1}, reason=reason, next_try=due)

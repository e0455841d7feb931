"""Units of a partition, side by side, on one journal: comments of a day's videos, observations of a period's accounts.

One refusal never stops the rest. A unit that is settled is not asked again, nor is an account that another study has
asked in the same period: its pages are taken over.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from datetime import date
from typing import Any

from research_assets.collect.lists.inputs import UnitReuse, attempt_without_request
from research_assets.collect.lists.pager import ListProgress, fetch_list
from research_assets.collect.publish import publish_capture, publish_in_background, write_open_coverage
from research_assets.collect.sender import RequestSender, summarize_error
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    RunCounter,
    StopCondition,
    run_concurrently,
)
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal, JournalBusy, list_open_journals
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError, RateLimited
from research_assets.units.coverage import (
    SETTLED,
    Attempt,
    UnitState,
    UnitStatus,
    attempt_from_event,
    count_states,
    worst_state,
)
from research_assets.units.periods import is_backfill
from research_assets.units.targets import Target, reply_target, reply_targets


class ListPartitionRun:
    """One partition's units: what is settled, what is asked now, what came of it."""

    def __init__(
        self,
        task: CollectionTask,
        context: CollectorContext,
        sender: RequestSender,
        counter: RunCounter,
        partition: date,
        status: Mapping[str, UnitStatus],
        elsewhere: Mapping[str, UnitStatus],
    ) -> None:
        """`held` are the units of this partition, `elsewhere` what other studies or periods know of the same ones."""
        self._task, self._context, self._sender, self._counter = task, context, sender, counter
        self._partition, self._status, self._elsewhere = partition, status, elsewhere
        self._pool, self._recollect = BY_ENTITY[task.entity].pool, task.recollect
        self._wanted: dict[str, Target] = {}
        self._visits: dict[str, ListProgress] = {}
        self._attempts: dict[str, Attempt] = {}
        self.halt: StopCondition | None = None

    async def run(self, targets: Sequence[Target]) -> PartitionResult | Paused:
        """Ask what is not settled; gives the partition, or the pause with what is left to do."""
        settings = self._context.settings
        self._wanted = {target.unit: target for target in targets}
        with ExitStack() as stack:
            journal = self._resume_journal()
            self._wanted |= {target.unit: target for target in self._open_replies()}
            self._visits = {unit: progress for unit, progress in self._visits.items() if unit not in self._attempts}
            jobs = deque(target for target in self._wanted.values() if self._is_open(target))
            if journal is None and not jobs:
                return self._result(was_complete=True)
            journal = stack.enter_context(journal or self._create_journal())
            known = UnitReuse(self._context, self._task, self._partition, self._elsewhere, self._visits)
            for needless in known.attempts(journal, jobs):
                self._record_attempt(journal, needless)
            jobs = deque(target for target in jobs if target.unit not in self._attempts)
            results = run_concurrently(
                jobs,
                lambda target: self._collect_unit(journal, target),
                settings.concurrency,
                lambda: self.halt is None,
            )
            try:
                async with aclosing(results):
                    async for target, attempt in results:
                        if attempt is not None:
                            self._record_attempt(journal, attempt)
                            jobs.extend(self._replies_of(target))
            except ApiError as error:
                self._write_remaining(
                    journal, StopCondition(self._pool, summarize_error(error), self._context.clock.now())
                )
                raise
            if self.halt is not None:
                self._write_remaining(journal, self.halt)
                return Paused(self.halt.pool, self.halt.reason, self.halt.retry_at, (self._partition,))
            await publish_in_background(settings.raw, journal)
        return self._result(was_complete=False)

    async def _collect_unit(self, journal: Journal, target: Target) -> tuple[Target, Attempt | None]:
        settings = self._context.settings
        progress = self._visits.setdefault(target.unit, ListProgress())

        def note(event: str, facts: dict[str, Any], answer: bytes | None) -> None:
            journal.append(event, facts, answer)
            self._counter.add(self._partition.isoformat(), facts.get("rows", 0))

        try:
            attempt = await fetch_list(
                progress,
                target,
                self._task.study,
                self._sender,
                self._context.clock,
                note,
                partition=self._partition,
                page_size=settings.page_size,
                ceiling=settings.comment_limit,
                due=not is_backfill(self._task, self._partition, self._context.clock.now()),
                previous=self._elsewhere.get(target.unit) or self._status.get(target.unit),
            )
        except QuotaExhausted as spent:
            self.halt = StopCondition.from_quota(spent)
            return target, None
        except RateLimited as error:
            why = f"The API refuses requests as too fast, however slowly they come: {summarize_error(error)}."
            self.halt = StopCondition.cool_down(self._pool, why, self._context.clock.now())
            return target, None
        if self._sender.api_is_down:
            why = f"The API answered {self._sender.consecutive_failures} calls in a row with errors: {attempt.reason}."
            self.halt = StopCondition.cool_down(self._pool, why, self._context.clock.now())
        return target, attempt

    def _resume_journal(self) -> Journal | None:
        """The journal that an earlier run left open, with its visits and verdicts folded."""
        for path in list_open_journals(self._context.settings.captures, self._task.entity, self._task.study.name):
            if path.parent.name != self._partition.isoformat():
                continue
            journal = Journal.resume(path)
            self._recollect = self._recollect or journal.start["header"].get("recollect", False)
            replay_journal(journal, self._visits, self._attempts)
            return journal
        return None

    def _create_journal(self) -> Journal:
        return Journal.create(
            self._context.settings.captures,
            entity=self._task.entity,
            study=self._task.study.name,
            first=self._partition,
            last=self._partition,
            now=self._context.clock.now(),
            origin=self._context.settings.origin,
            header={"recollect": self._task.recollect},
        )

    def _record_attempt(self, journal: Journal, attempt: Attempt) -> None:
        journal.append("unit", attempt.to_event() | {"capture": attempt.capture or journal.capture})
        self._attempts[attempt.unit] = attempt

    def _is_open(self, target: Target) -> bool:
        """Whether a unit is to be asked in this run."""
        if target.unit in self._attempts:
            return False
        status = self._status.get(target.unit)
        if status is None:
            return True
        old = status.attempt
        if old.state in SETTLED:
            # Comments that did not grow since the last look are not worth a request.
            grown = target.expected is None or old.expected is None or target.expected > old.expected
            return self._recollect and (grown or self._task.entity != "comments") and old.state == "complete"
        resting = old.next_try is not None and old.next_try > self._context.clock.now() and old.state != "partial"
        return self._task.retry_now or not resting

    def _write_remaining(self, journal: Journal, stop: StopCondition) -> None:
        """Make what is left visible in raw/coverage."""
        now = self._context.clock.now()
        left = []
        for target in self._wanted.values():
            if self._is_open(target):
                progress = self._visits.get(target.unit)
                state: UnitState = "partial" if progress and progress.pages else "not_asked"
                left.append(
                    attempt_without_request(
                        target, self._partition, state, f"Paused: {stop.reason}", stop.retry_at, now
                    )
                )
        write_open_coverage(self._context.settings.raw, journal, left, now)

    def _open_replies(self) -> Iterable[Target]:
        """Replies that earlier runs, or the journal, know of and that are not held."""
        if self._task.entity != "comments" or self._task.study.comments.replies == "none":
            return
        for target in reply_targets(self._context.settings.raw, self._task.study, self._partition):
            status = self._status.get(target.unit)
            if (
                status is None
                or status.attempt.state not in SETTLED
                or (status.attempt.expected or 0) < (target.expected or 0)
            ):
                yield target
        for unit, progress in self._visits.items():
            if unit in self._attempts:
                yield from self._threads(int(unit), progress)

    def _replies_of(self, target: Target) -> list[Target]:
        """The replies that a list told of, which are wanted from now on; what was seen of it is let go."""
        progress = self._visits.pop(target.unit, None)
        if progress is None or target.kind != "video" or self._task.study.comments.replies == "none":
            return []
        more = [reply for reply in self._threads(int(target.unit), progress) if self._is_open(reply)]
        self._wanted |= {reply.unit: reply for reply in more}
        return more

    def _threads(self, video: int, progress: ListProgress) -> Iterable[Target]:
        for comment, replies in progress.reply_counts.items():
            yield reply_target(video, int(comment), replies)

    def _result(self, *, was_complete: bool) -> PartitionResult:
        known = {unit: record.attempt for unit, record in self._status.items()} | self._attempts
        # What the study does not want any more holds nothing up, but what it brought still counts.
        present = [attempt for unit, attempt in known.items() if attempt.state in SETTLED or unit in self._wanted]
        states = [attempt.state for attempt in present]
        speaking = worst_state("complete" if state in SETTLED else state for state in states)
        waiting = [attempt for attempt in present if attempt.state not in SETTLED]
        resting = [attempt.next_try for attempt in waiting if attempt.next_try]
        return PartitionResult(
            partition=self._partition,
            state=speaking,
            asked=sum(attempt.asked for attempt in present),
            offered=sum(attempt.offered for attempt in present),
            kept=sum(attempt.kept for attempt in present),
            requests=sum(attempt.requests for attempt in present),
            units=count_states(states),
            reason=f"{len(waiting)} units wait, such as {waiting[0].unit}: {waiting[0].reason}" if waiting else None,
            next_try=min(resting, default=None),
            was_complete=was_complete,
        )


def replay_journal(journal: Journal, visits: dict[str, ListProgress], attempts: dict[str, Attempt]) -> None:
    """Read a journal back: visits under way with what they saw, settled ones with no more than their threads."""
    for event in journal.events():
        if event["event"] == "unit":
            attempts[event["unit"]] = attempt_from_event(event)
            if progress := visits.get(event["unit"]):
                progress.seen.clear()
        elif event["event"] in ("page", "fail"):
            visits.setdefault(event["unit"], ListProgress()).apply(event)


def close_past_periods(task: CollectionTask, context: CollectorContext) -> None:
    """Publish what journals of past periods hold: nobody can go on with them, because the API knows only now."""
    settings, now = context.settings, context.clock.now()
    for path in list_open_journals(settings.captures, task.entity, task.study.name):
        period = date.fromisoformat(path.parent.name)
        if period in task.partitions:
            continue
        try:
            journal = Journal.resume(path)
        except JournalBusy:
            continue
        with journal:
            visits: dict[str, ListProgress] = {}
            attempts: dict[str, Attempt] = {}
            replay_journal(journal, visits, attempts)
            targets = [Target(task.entity, "account", unit) for unit in visits if unit not in attempts]
            reason = "The period ended before the rest was asked."
            publish_capture(
                settings.raw,
                journal,
                [visits[t.unit].attempt(t, period, now, "partial", reason) for t in targets],
            )

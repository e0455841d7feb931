"""Collection of the units of one list partition, concurrently and on one journal.

A partition is the comments of a day's videos, or an observation of the accounts of a period. A refused unit does not
stop the others. A settled unit is not requested again, unless a newer count reopens it. An account that another study
collected in the same period is not requested either: its pages are copied.

Not here: paging inside a list (see pager.py); the targets of a partition (see inputs.py).
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from datetime import date

from research_assets.collect.lists.inputs import UnitReuse, attempt_without_request
from research_assets.collect.lists.pager import ListOutcome, ListPager, ListProgress, fetch_list
from research_assets.collect.publish import publish_capture, publish_in_background, write_open_coverage
from research_assets.collect.session import RunState, Session
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    StopCondition,
    run_concurrently,
)
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal, JournalBusy, list_open_journals
from research_assets.storage.lock_errors import LocksLost
from research_assets.tiktok.errors import ApiError
from research_assets.units.comment_counts import has_new_replies, is_reopened, retry_due_at, waits_for_confirmation
from research_assets.units.coverage import (
    SETTLED,
    Attempt,
    UnitState,
    UnitStatus,
    attempt_from_event,
    count_states,
    is_waiting,
    worst_state,
)
from research_assets.units.periods import is_backfill
from research_assets.units.targets import Target, observed_kind, reply_target, reply_targets


class ListPartitionRun:
    """One run over the open units of a partition."""

    def __init__(
        self,
        task: CollectionTask,
        run: RunState,
        partition: date,
        status: Mapping[str, UnitStatus],
        elsewhere: Mapping[str, UnitStatus],
        earlier_ends: Mapping[str, int],
    ) -> None:
        """`status` is the study's status of the units, `elsewhere` that from other studies and periods.

        `earlier_ends` are those of `ListInputs`.
        """
        self._task, self._run, self._context = task, run, run.context
        self._partition, self._status, self._elsewhere = partition, status, elsewhere
        self._earlier_ends = earlier_ends
        self._without_proof: list[ListOutcome] = []
        self._recollect = task.recollect
        self._is_due = not is_backfill(task.study, task.entity, partition, run.context.clock.now())
        self._targets: dict[str, Target] = {}
        self._progress_by_unit: dict[str, ListProgress] = {}
        self._attempts: dict[str, Attempt] = {}

    async def run(self, targets: Sequence[Target]) -> PartitionResult | Paused:
        """Collect the open units; return the result of the partition, or the pause."""
        settings = self._context.settings
        self._targets = {target.unit: target for target in targets}
        with ExitStack() as stack:
            journal = self._resume_journal()
            self._targets |= {target.unit: target for target in self._open_replies()}
            self._progress_by_unit = {
                unit: progress for unit, progress in self._progress_by_unit.items() if unit not in self._attempts
            }
            jobs = deque(target for target in self._targets.values() if self._is_open(target))
            if journal is None and not jobs:
                return self._result(was_complete=True)
            journal = stack.enter_context(journal or self._create_journal())
            jobs = deque(self._settle_without_request(journal, jobs))
            results = run_concurrently(
                jobs,
                lambda target: self._collect_unit(journal, target),
                settings.concurrency,
                lambda: self._stop is None,
            )
            async with aclosing(results):
                async for target, outcome in results:
                    if outcome is not None and outcome.beside_rows:
                        self._without_proof.append(outcome)
                    elif outcome is not None:
                        self._record_attempt(journal, outcome.attempt)
                        jobs.extend(self._replies_of(target))
            self._run.raise_lost_locks()
            if (stop := self._stop) is not None:
                self._write_remaining(journal, stop)
                return Paused(stop.pool, stop.reason, stop.retry_at, (self._partition,))
            self._record_empty_lists(journal)
            await publish_in_background(settings.raw, journal)
        return self._result(was_complete=False)

    def _settle_without_request(self, journal: Journal, targets: Collection[Target]) -> list[Target]:
        """Record the units that need no request; return the other units, and the open replies to copied comments."""
        reuse = UnitReuse(self._context, self._task, self._partition, self._elsewhere, self._progress_by_unit)
        for attempt in reuse.attempts(journal, targets):
            self._record_attempt(journal, attempt)
        replies = [reply for target in targets if target.unit in self._attempts for reply in self._replies_of(target)]
        rest = [target for target in targets if target.unit not in self._attempts]
        return [*rest, *(self._settle_without_request(journal, replies) if replies else ())]

    def _record_empty_lists(self, journal: Journal) -> None:
        """Record the lists that are empty without a proof, once it is known whether another list of the run has rows.

        A pause comes before: then they are read again from the journal, without a request.
        """
        has_rows = any(attempt.kept and attempt.requests for attempt in self._attempts.values())
        for outcome in self._without_proof:
            self._record_attempt(journal, outcome.beside_rows if has_rows and outcome.beside_rows else outcome.attempt)

    @property
    def _stop(self) -> StopCondition | None:
        """The stop condition that ends the run for this partition, else None."""
        return self._run.stop or (None if self._is_due else self._run.backfill_stop)

    async def _collect_unit(self, journal: Journal, target: Target) -> tuple[Target, ListOutcome | None]:
        settings, clock, study = self._context.settings, self._context.clock, self._task.study
        progress = self._progress_by_unit.setdefault(target.unit, ListProgress())
        session = Session(self._run, journal, progress, self._partition.isoformat())
        pager = ListPager(progress, target, study, clock, self._partition, settings.page_size, settings.comment_limit)
        try:
            outcome = await fetch_list(
                session,
                pager,
                due=self._is_due,
                previous=self._previous(target.unit),
                earlier_end=self._earlier_ends.get(target.unit),
            )
        except LocksLost as error:
            # The other lists store the page that they wait for.
            self._run.stop_for_lost_locks(error)
            return target, None
        except (QuotaExhausted, ApiError) as error:
            self._run.stop_for(error)
            return target, None
        if self._run.sender.api_is_down:
            self._run.stop_for_outage(str(outcome.attempt.reason))
        return target, outcome

    def _previous(self, unit: str) -> UnitStatus | None:
        """Return the status of a unit before this run: of a failed account from all periods, else from its own."""
        other, own = self._elsewhere.get(unit), self._status.get(unit)
        return other if other is not None and other.attempt.state != "complete" else own

    def _resume_journal(self) -> Journal | None:
        """Return the journal that an earlier run left open, after applying its events."""
        for path in list_open_journals(self._context.settings.captures, self._task.entity, self._task.study.name):
            if path.parent.name != self._partition.isoformat():
                continue
            journal = Journal.resume(path)
            self._recollect = self._recollect or journal.start["header"].get("recollect", False)
            replay_journal(journal, self._progress_by_unit, self._attempts)
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
        """Return whether this run collects a unit."""
        if target.unit in self._attempts:
            return False
        status = self._status.get(target.unit)
        if status is None:
            return True
        old = status.attempt
        if old.state == "too_fresh":
            return not waits_for_confirmation(target, status)
        if is_reopened(target, status, self._context.settings.comment_limit):
            retry_at = retry_due_at(status)
            if self._task.retry_now or retry_at is None or retry_at <= self._context.clock.now():
                return True
        if old.state in SETTLED:
            # A comment count that has not grown since the last observation is not worth a request.
            grown = target.expected is None or old.expected is None or target.expected > old.expected
            return self._recollect and (grown or self._task.entity != "comments") and old.state == "complete"
        backing_off = is_waiting(old.next_try, self._context.clock.now()) and old.state != "partial"
        return self._task.retry_now or not backing_off

    def _write_remaining(self, journal: Journal, stop: StopCondition) -> None:
        """Write the open units to raw/coverage."""
        now = self._context.clock.now()
        remaining = []
        for target in self._targets.values():
            if self._is_open(target):
                progress = self._progress_by_unit.get(target.unit)
                state: UnitState = "partial" if progress and progress.pages else "not_asked"
                remaining.append(
                    attempt_without_request(
                        target, self._partition, state, f"Paused: {stop.reason}", stop.retry_at, now
                    )
                )
        write_open_coverage(self._context.settings.raw, journal, remaining, now)

    def _open_replies(self) -> Iterable[Target]:
        """Yield targets for uncollected replies to the comments of earlier runs and of the journal."""
        if self._task.entity != "comments" or self._task.study.comments.replies == "none":
            return
        for target in reply_targets(self._context.settings.raw, self._task.study, self._partition):
            if has_new_replies(target, self._status.get(target.unit)):
                video, comment = target.context["asked_video_id"], target.context["asked_comment_id"]
                yield reply_target(video, comment, target.expected or 0, self._targets.get(str(video)))
        for unit, progress in self._progress_by_unit.items():
            if unit in self._attempts:
                yield from self._reply_targets(int(unit), progress)

    def _replies_of(self, target: Target) -> list[Target]:
        """Return targets for the replies of a finished list of comments, and drop its progress to free memory."""
        progress = self._progress_by_unit.pop(target.unit, None)
        if progress is None or target.kind != "video" or self._task.study.comments.replies == "none":
            return []
        replies = [reply for reply in self._reply_targets(int(target.unit), progress) if self._is_open(reply)]
        self._targets |= {reply.unit: reply for reply in replies}
        return replies

    def _reply_targets(self, video: int, progress: ListProgress) -> Iterable[Target]:
        for comment, replies in progress.reply_counts.items():
            yield reply_target(video, int(comment), replies, self._targets.get(str(video)))

    def _result(self, *, was_complete: bool) -> PartitionResult:
        attempts = {unit: status.attempt for unit, status in self._status.items()} | self._attempts
        # Open units that are no targets any more are left out; their settled rows still count.
        counted = [attempt for unit, attempt in attempts.items() if attempt.state in SETTLED or unit in self._targets]
        states = [attempt.state for attempt in counted]
        not_settled = [attempt for attempt in counted if attempt.state not in SETTLED]
        next_tries = [attempt.next_try for attempt in not_settled if attempt.next_try]
        reason = None
        if not_settled:
            example = not_settled[0]
            reason = f"{len(not_settled)} units are open, for example {example.unit}: {example.reason}"
        return PartitionResult(
            partition=self._partition,
            state=worst_state("complete" if state in SETTLED else state for state in states),
            asked=sum(attempt.asked for attempt in counted),
            offered=sum(attempt.offered for attempt in counted),
            kept=sum(attempt.kept for attempt in counted),
            requests=sum(attempt.requests for attempt in counted),
            units=count_states(states),
            reason=reason,
            next_try=min(next_tries, default=None),
            was_complete=was_complete,
        )


def replay_journal(journal: Journal, progress_by_unit: dict[str, ListProgress], attempts: dict[str, Attempt]) -> None:
    """Apply the events of a journal to `progress_by_unit` and `attempts`; finished units keep only reply counts."""
    for event in journal.events():
        if event["event"] == "unit":
            attempts[event["unit"]] = attempt_from_event(event)
            if progress := progress_by_unit.get(event["unit"]):
                progress.seen.clear()
        elif event["event"] in ("page", "fail"):
            progress_by_unit.setdefault(event["unit"], ListProgress()).apply(event)


def close_past_periods(task: CollectionTask, context: CollectorContext) -> None:
    """Publish open journals of past periods, which cannot be resumed because the API returns current values only."""
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
            progress_by_unit: dict[str, ListProgress] = {}
            attempts: dict[str, Attempt] = {}
            replay_journal(journal, progress_by_unit, attempts)
            targets = [
                Target(task.entity, observed_kind(task.entity), unit)
                for unit in progress_by_unit
                if unit not in attempts
            ]
            reason = "The period ended before the list was complete."
            publish_capture(
                settings.raw,
                journal,
                [progress_by_unit[t.unit].attempt(t, period, now, "partial", reason) for t in targets],
            )

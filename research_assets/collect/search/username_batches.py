"""Username batches of one study's search: which are missing for a day, and what they add up to.

Not here: how usernames are batched (see units/usernames.py); which account makes a search fail (see bisect.py).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime

from research_assets.study.spec import QueryGroups
from research_assets.units.coverage import (
    STATES_WORST_FIRST,
    USERNAME_SEPARATOR,
    Attempt,
    UnitStatus,
    is_newer_observation,
    is_waiting,
    join_sentences,
    sum_counts,
)
from research_assets.units.usernames import (
    ISOLATED_REASON,
    Usernames,
    batch_usernames,
    batchable_usernames,
    isolated_usernames,
)
from research_assets.units.windows import SearchWindow


class UsernameBatches:
    """The username batches of one study's search in one run. A query that is not batched counts as one batch.

    `names` are all accounts of the query; empty if it is not batched. `isolated` are the accounts that are searched
    separately, each with its newest attempt, `dead` the days on which a batch failed although its accounts are not the
    cause, and `requests` the requests of this run by day.
    """

    def __init__(
        self,
        query: QueryGroups,
        records: Sequence[UnitStatus],
        now: datetime,
        *,
        batch_size: int,
        recollect: bool,
        retry_now: bool,
        has_same_query: Callable[[Attempt], bool],
    ) -> None:
        """`records` are the unit status of the study's videos.

        `has_same_query` returns whether an attempt was collected with the study's current query and fields.
        """
        self.names = batchable_usernames(query)
        self._batches = batch_usernames(self.names, batch_size)
        self._days = {r.attempt.partition: r for r in records if r.attempt.unit_kind == "day"}
        self._batch_status: dict[tuple[Usernames, date], UnitStatus] = {}
        self._complete: dict[date, dict[Usernames, Attempt]] = defaultdict(dict)
        self._failed: dict[date, dict[Usernames, Attempt]] = defaultdict(dict)
        self.requests: dict[date, float] = defaultdict(float)
        self.dead: dict[date, Attempt] = {}
        missing: dict[date, set[str]] = defaultdict(set)
        for record in records if self.names else ():
            attempt = record.attempt
            if attempt.unit_kind != "account":
                continue
            names = tuple(attempt.unit.split(USERNAME_SEPARATOR))
            self._batch_status[names, attempt.partition] = record
            if attempt.state != "complete" and len(names) == 1 and names[0] in self.names:
                missing[attempt.partition].add(names[0])
            day_attempt = self._last_complete_attempt(attempt.partition)
            is_current = is_newer_observation(attempt, day_attempt, now, recollect=recollect)
            if attempt.state == "complete" and is_current and has_same_query(attempt):
                self._complete[attempt.partition][names] = attempt
        self.isolated = isolated_usernames(self.names, records)
        self._backing_off = {
            name: attempt
            for name, attempt in self.isolated.items()
            if attempt.state != "complete" and not retry_now and is_waiting(attempt.next_try, now)
        }
        if not recollect:
            for day, record in self._days.items():
                if record.attempt.state == "complete":
                    self._complete[day] = {tuple(n for n in self.names if n not in missing[day]): record.attempt}

    @property
    def n_batches(self) -> int:
        """The number of batches of a day; 1 if the query does not restrict the usernames."""
        return max(1, len(self._batches))

    def _last_complete_attempt(self, day: date) -> Attempt | None:
        """Return the newest attempt that completed a day."""
        record = self._days.get(day)
        return record.attempt if record and record.attempt.state == "complete" else None

    def missing_batches(self, day: date, running: Set[str]) -> list[Usernames]:
        """Return the batches to search for the missing accounts of a day. `running` accounts are in other windows."""
        if not self.names:
            return [()]
        done = self._completed_usernames(day) | running
        rest = [name for name in self.names if name not in done and name not in self._backing_off]
        if not rest and not running:
            # A day that misses only accounts in backoff was requested for the sake of these accounts.
            rest = [name for name in self.names if name not in done]
        batches = [tuple(n for n in batch if n in rest and n not in self.isolated) for batch in self._batches]
        batches = [batch for batch in (*batches, *((n,) for n in rest if n in self.isolated)) if batch]
        if not batches and not running:
            # Every batch is complete, but the day is not: collect it again from scratch.
            batches = self._batches
        return [()] if batches == [self.names] else batches

    def answered_windows(self) -> list[SearchWindow]:
        """Return the days that were answered for some accounts; if they fail now, the other accounts are the cause."""
        return [
            SearchWindow(day, day, usernames=names)
            for day, batches in self._complete.items()
            for names in batches
            if names
        ]

    def history(self, names: Usernames) -> Mapping[date, UnitStatus]:
        """Return the status of a batch by day: its own if it has one, else the failures of the whole day."""
        if not names:
            return self._days
        status = {}
        for day, record in self._days.items():
            attempt = record.attempt
            state = "partial" if attempt.state == "complete" else attempt.state
            # A day that is suspicious for this batch had hits for other batches.
            status[day] = replace(
                record, attempt=replace(attempt, state=state), max_kept=0, n_empty=record.n_suspicious
            )
        return status | {day: record for (batch, day), record in self._batch_status.items() if batch == names}

    def record_attempt(self, window: SearchWindow, batch_attempt: Attempt) -> list[Attempt]:
        """Record the result of a window for one of its days; return the attempts to store, the day's own last."""
        day, names = batch_attempt.partition, window.usernames
        self.requests[day] += batch_attempt.requests
        if not self.names or (not names and batch_attempt.state in ("complete", "partial")):
            return [batch_attempt]
        names = names or self.names
        own = replace(batch_attempt, unit_kind="account", unit=USERNAME_SEPARATOR.join(names), requests=0.0)
        attempts = []
        if batch_attempt.state == "complete":
            if len(names) == 1 and (window.days_answer or names[0] in self.isolated):
                self.isolated[names[0]] = own = replace(own, reason=ISOLATED_REASON)
            self._complete[day][names] = own
            attempts = [own]
        elif batch_attempt.state != "partial":
            self._failed[day][names] = own
            if batch_attempt.state == "quarantined" and not window.days_answer:
                self.dead[day] = batch_attempt
            if window.days_answer and len(names) == 1 and batch_attempt.state != "suspicious":
                own = replace(own, reason=f"Every search with this account fails: {batch_attempt.reason}")
                self._failed[day][names] = own
                self.isolated[names[0]] = self._backing_off[names[0]] = own
                attempts = [own]
        day_attempt = self.combine(batch_attempt)
        if day_attempt.state == "complete":
            attempts += self._skipped_usernames(day_attempt)
        return [*attempts, day_attempt]

    def combine(self, batch_attempt: Attempt) -> Attempt:
        """Return the attempt of the whole day: the counts of all its batches, and the state that follows from them."""
        if not self.names:
            return batch_attempt
        day = batch_attempt.partition
        attempts = list(self._complete[day].values())
        if batch_attempt.state != "complete":
            attempts.append(batch_attempt)
        done, failed = self._completed_usernames(day), self._failed[day]
        failing = {name for names in failed for name in names if len(names) > 1 or name not in self._backing_off}
        skipped = [
            name for name in self.names if name not in done and name not in failing and name in self._backing_off
        ]
        n_open = len(self.names) - len(done | failing | set(skipped))
        day_attempt = sum_counts(batch_attempt, attempts)
        if (complete := self._last_complete_attempt(day)) in attempts and complete is not None:
            # Only missing accounts were requested. The day stays complete, as of the last observation of the others.
            missing = [name for name in self.names if name not in done]
            return replace(
                day_attempt,
                state="complete",
                reason=_missing_accounts_text(missing),
                next_try=None,
                last_at=complete.last_at,
            )
        if day in self.dead:
            # A day that failed for one batch, although its accounts are not the cause, fails for the others too.
            dead = self.dead[day]
            return replace(day_attempt, state=dead.state, reason=dead.reason, next_try=dead.next_try)
        if n_open or batch_attempt.state == "partial":
            reason = f"Collected for {len(done)} of {len(self.names)} accounts."
            if batch_attempt.state == "partial" and batch_attempt.reason:
                reason = f"{reason} {batch_attempt.reason}"
            return replace(day_attempt, state="partial", reason=reason, next_try=None)
        failures = [attempt for names, attempt in failed.items() if set(names) & failing]
        if failures:
            worst = min(failures, key=lambda attempt: STATES_WORST_FIRST.index(attempt.state))
            return replace(day_attempt, state=worst.state, reason=worst.reason, next_try=worst.next_try)
        notes = Counter(one.reason for one in attempts if one.reason and one.reason != ISOLATED_REASON)
        texts = [note if count == 1 else f"In each of {count} searches: {note}" for note, count in notes.items()]
        complete_reason = join_sentences(_missing_accounts_text(skipped), *texts)
        return replace(day_attempt, state="complete", reason=complete_reason, next_try=None)

    def _skipped_usernames(self, day_attempt: Attempt) -> list[Attempt]:
        """Return attempts for the accounts in backoff, which were not requested for this day."""
        day = day_attempt.partition
        done, failed = self._completed_usernames(day), self._failed[day]
        return [
            replace(attempt, partition=day, asked=0, offered=0, kept=0, capture=day_attempt.capture)
            for name, attempt in self._backing_off.items()
            if name not in done and (name,) not in failed
        ]

    def _completed_usernames(self, day: date) -> set[str]:
        return {name for names in self._complete[day] for name in names}


def _missing_accounts_text(names: Sequence[str]) -> str | None:
    """Return the reason of a complete day that misses some accounts."""
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Without {some}: searches with such a name fail." if names else None

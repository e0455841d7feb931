"""TODO charter."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime

from research_assets.study.spec import QueryGroups
from research_assets.units.coverage import (
    MAX_REOBSERVATION_AGE,
    STATES_WORST_FIRST,
    USERNAME_SEPARATOR,
    Attempt,
    UnitStatus,
)
from research_assets.units.usernames import (
    _ISOLATED_REASON,
    Usernames,
    _last_at,
    batch_usernames,
    batchable_usernames,
    isolated_usernames,
)
from research_assets.units.windows import SearchWindow


class UsernameBatches:
    """The parts of one study's search in one run. For a query that has no parts there is one, the whole."""

    def __init__(
        self,
        query: QueryGroups,
        records: Sequence[UnitStatus],
        now: datetime,
        *,
        most: int,
        recollect: bool,
        retry: bool,
        same: Callable[[Attempt], bool],
    ) -> None:
        """`records` are what is held of the study's videos; `same` says whether a part was asked as it would be now."""
        self.names = batchable_usernames(query)
        self._batches = batch_usernames(self.names, most)
        self._days = {r.attempt.partition: r for r in records if r.attempt.unit_kind == "day"}
        self._parts: dict[tuple[Usernames, date], UnitStatus] = {}
        self._pieces: dict[date, dict[Usernames, Attempt]] = defaultdict(dict)
        self._ended: dict[date, dict[Usernames, Attempt]] = defaultdict(dict)
        self.spent: dict[date, float] = defaultdict(float)
        self.dead: dict[date, Attempt] = {}
        broken: dict[date, set[str]] = defaultdict(set)
        for record in records if self.names else ():
            attempt = record.attempt
            if attempt.unit_kind != "account":
                continue
            names = tuple(attempt.unit.split(USERNAME_SEPARATOR))
            self._parts[names, attempt.partition] = record
            if attempt.state != "complete" and len(names) == 1 and names[0] in self.names:
                broken[attempt.partition].add(names[0])
            full = self._last_complete_attempt(attempt.partition)
            fresh = _last_at(attempt) > _last_at(full) and not (
                recollect and now - _last_at(attempt) > MAX_REOBSERVATION_AGE
            )
            if attempt.state == "complete" and fresh and same(attempt):
                self._pieces[attempt.partition][names] = attempt
        self.alone = isolated_usernames(self.names, records)
        self._resting = {
            name: attempt
            for name, attempt in self.alone.items()
            if attempt.state != "complete" and not retry and attempt.next_try is not None and attempt.next_try > now
        }
        if not recollect:
            for day, record in self._days.items():
                if record.attempt.state == "complete":
                    self._pieces[day] = {tuple(n for n in self.names if n not in broken[day]): record.attempt}

    def _last_complete_attempt(self, day: date) -> Attempt | None:
        """The newest look that saw all of a day."""
        record = self._days.get(day)
        return record.attempt if record and record.attempt.state == "complete" else None

    def missing_batches(self, day: date, taken: Set[str]) -> list[Usernames]:
        """The parts in which what is missing of a day is asked. `taken` are accounts that are under way."""
        if not self.names:
            return [()]
        done = self._completed_usernames(day) | taken
        rest = [name for name in self.names if name not in done and name not in self._resting]
        if not rest and not taken:
            # A day that lacks nothing but what is resting is only asked because somebody wants just that.
            rest = [name for name in self.names if name not in done]
        parts = [tuple(n for n in batch if n in rest and n not in self.alone) for batch in self._batches]
        parts = [part for part in (*parts, *((n,) for n in rest if n in self.alone)) if part]
        if not parts and not taken:
            # All parts are held, but not the day that they make: it is asked anew.
            parts = self._batches
        return [()] if parts == [self.names] else parts

    def answered_windows(self) -> list[SearchWindow]:
        """Days that were answered for a part of the accounts before: what fails there now is the others' fault."""
        return [
            SearchWindow(day, day, usernames=names) for day, parts in self._pieces.items() for names in parts if names
        ]

    def history(self, names: Usernames) -> Mapping[date, UnitStatus]:
        """What is held of a part, by day: of its videos what it brought itself, of its failures what the day knows."""
        if not names:
            return self._days
        known = {}
        for day, record in self._days.items():
            attempt = record.attempt
            state = "partial" if attempt.state == "complete" else attempt.state
            # Other parts had hits on a day that was suspicious for this one.
            known[day] = replace(record, attempt=replace(attempt, state=state), max_kept=0, n_empty=record.n_suspicious)
        return known | {day: record for (part, day), record in self._parts.items() if part == names}

    def record_attempt(self, window: SearchWindow, piece: Attempt) -> list[Attempt]:
        """Take in how a window ended for one of its days; gives the rows that say so, the day's own last."""
        day, names = piece.partition, window.usernames
        self.spent[day] += piece.requests
        if not self.names or (not names and piece.state in ("complete", "partial")):
            return [piece]
        names = names or self.names
        own = replace(piece, unit_kind="account", unit=USERNAME_SEPARATOR.join(names), requests=0.0)
        rows = []
        if piece.state == "complete":
            if len(names) == 1 and (window.days_answer or names[0] in self.alone):
                self.alone[names[0]] = own = replace(own, reason=_ISOLATED_REASON)
            self._pieces[day][names] = own
            rows = [own]
        elif piece.state != "partial":
            self._ended[day][names] = own
            if piece.state == "quarantined" and not window.days_answer:
                self.dead[day] = piece
            if window.days_answer and len(names) == 1:
                own = replace(own, reason=f"No search with this account is answered: {piece.reason}")
                self._ended[day][names] = own
                self.alone[names[0]] = self._resting[names[0]] = own
                rows = [own]
        found = self.combine(piece)
        if found.state == "complete":
            rows += self._skipped_usernames(found)
        return [*rows, found]

    def combine(self, piece: Attempt) -> Attempt:
        """The day of a verdict as all its parts make it: their counts, and the state in which they leave it."""
        if not self.names:
            return piece
        day = piece.partition
        pieces = list(self._pieces[day].values())
        if piece.state != "complete":
            pieces.append(piece)
        done, ended = self._completed_usernames(day), self._ended[day]
        given_up = {name for names in ended for name in names if len(names) > 1 or name not in self._resting}
        broken = [name for name in self.names if name not in done and name not in given_up and name in self._resting]
        pending = len(self.names) - len(done | given_up | set(broken))
        found = replace(
            piece,
            asked=sum(one.asked for one in pieces),
            offered=sum(one.offered for one in pieces),
            kept=sum(one.kept for one in pieces),
            first_at=min((one.first_at for one in pieces if one.first_at), default=piece.first_at),
            # Parts end in any order: what is said of the day last must not look older than what was said before.
            last_at=max((one.last_at for one in pieces if one.last_at), default=piece.last_at),
        )
        if (seen := self._last_complete_attempt(day)) in pieces and seen is not None:
            # An account that was missing is asked: the others were last seen when they were, the day stays complete.
            lacking = [name for name in self.names if name not in done]
            return replace(
                found, state="complete", reason=_missing_accounts_text(lacking), next_try=None, last_at=seen.last_at
            )
        if day in self.dead:
            # What fails for one part of the accounts for no fault of theirs is not asked for the others.
            dead = self.dead[day]
            return replace(found, state=dead.state, reason=dead.reason, next_try=dead.next_try)
        if pending or piece.state == "partial":
            held = f"Held for {len(done)} of {len(self.names)} accounts."
            why = held if piece.state != "partial" or not piece.reason else f"{held} {piece.reason}"
            return replace(found, state="partial", reason=why, next_try=None)
        bad = [attempt for names, attempt in ended.items() if set(names) & given_up]
        if bad:
            speaks = min(bad, key=lambda attempt: STATES_WORST_FIRST.index(attempt.state))
            return replace(found, state=speaks.state, reason=speaks.reason, next_try=speaks.next_try)
        return replace(found, state="complete", reason=_missing_accounts_text(broken), next_try=None)

    def _skipped_usernames(self, found: Attempt) -> list[Attempt]:
        """Rows of the accounts that were not asked for a day because no search with them was answered lately."""
        done, ended = self._completed_usernames(found.partition), self._ended[found.partition]
        return [
            replace(attempt, partition=found.partition, asked=0, offered=0, kept=0, capture=found.capture)
            for name, attempt in self._resting.items()
            if name not in done and (name,) not in ended
        ]

    def _completed_usernames(self, day: date) -> set[str]:
        return {name for names in self._pieces[day] for name in names}


def _missing_accounts_text(names: Sequence[str]) -> str | None:
    """What a complete day lacks, in words."""
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Without {some}: no search with such a name is answered." if names else None

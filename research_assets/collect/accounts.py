"""A search by accounts in parts: which accounts are asked together, and which are held for which day.

A query that names many accounts fails, and one name can break it for all others (reference 3.1.1, §7 #24). Here is what
a part of such a query is and what its parts add up to. Which of them fails a search is found out in `blame.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from research_assets.collect.coverage import BETWEEN_NAMES, STALE, WORST_FIRST, Held, Verdict
from research_assets.collect.observing import SEVERAL
from research_assets.collect.plan import Window
from research_assets.collect.spec import QueryGroups

Names = tuple[str, ...]
"""The accounts of a part; none stands for the whole query."""

_ALONE = "Asked by itself: a search for it and others was not answered."


def named(query: QueryGroups) -> Names:
    """The accounts by which a query can be asked in parts: none if it names one at most, or not as a condition for all.

    A hit must satisfy each condition of `and`, and a lone condition of `or`; so each hit is in exactly one part.
    """
    condition = _condition(query)
    return tuple(dict.fromkeys(condition[1]["field_values"])) if condition else ()


def narrowed(query: QueryGroups, names: Names) -> QueryGroups:
    """The query for some of its accounts; for none of them named, the query itself."""
    condition = _condition(query)
    if not names or condition is None:
        return query
    group, whole = condition
    part = {**whole, "field_values": list(names)}
    return {**query, group: tuple(part if one is whole else one for one in query[group])}


def batches(names: Names, most: int) -> list[Names]:
    """Accounts in as few batches of `most` as they need, all about as large."""
    number = -(-len(names) // most)
    cuts = [len(names) * i // number for i in range(number + 1)] if number else [0]
    return [names[begin:end] for begin, end in pairwise(cuts)]


def _condition(query: QueryGroups) -> tuple[str, Mapping[str, Any]] | None:
    for group in ("and", "or"):
        conditions = query.get(group, ())
        if group == "or" and len(conditions) != 1:
            continue
        for condition in conditions:
            if condition["field_name"] == "username" and len(condition["field_values"]) > 1:
                return group, condition
    return None


def asked_alone(names: Names, records: Iterable[Held]) -> dict[str, Verdict]:
    """Accounts that are asked by themselves since a search for them and others failed, each with its newest verdict."""
    wanted, newest = set(names), dict[str, Verdict]()
    for record in records:
        verdict = record.verdict
        if verdict.unit_kind == "account" and verdict.unit in wanted:
            newest[verdict.unit] = max(newest.get(verdict.unit, verdict), verdict, key=_moment)
    return {name: one for name, one in newest.items() if one.state != "complete" or one.reason == _ALONE}


def with_most(authors: Iterable[str], alone: Mapping[str, Verdict], most: int, enough: int | None = None) -> Names:
    """The accounts by which some of the videos with these `authors` are found in one search: those with most of them.

    They are `most` at most, and no more than have `enough` videos. One that is asked by itself is taken only where the
    others have fewer than `SEVERAL` and it has more; one that no search finds is never.
    """
    found = Counter(authors)
    ranked = [name for name, _ in found.most_common()]
    chosen: list[str] = []
    videos = 0
    for name in ranked:
        if len(chosen) == most or (enough is not None and videos >= enough):
            break
        if name not in alone:
            chosen.append(name)
            videos += found[name]
    single = next((name for name in ranked if name in alone and alone[name].state == "complete"), None)
    return (single,) if single and videos < min(SEVERAL, found[single]) else tuple(chosen)


def lacking(query: QueryGroups, records: Iterable[Held], now: datetime, *, retry: bool) -> set[date]:
    """Days that lack an account whose next try has come; with `retry`, whether it has come or not."""
    names = set(named(query))
    return {
        record.verdict.partition
        for record in records
        if record.verdict.unit in names
        and record.verdict.state == "quarantined"
        and (retry or record.verdict.next_try is None or record.verdict.next_try <= now)
    }


class Accounts:
    """The parts of one study's search in one run. For a query that has no parts there is one, the whole."""

    def __init__(
        self,
        query: QueryGroups,
        records: Sequence[Held],
        now: datetime,
        *,
        most: int,
        again: bool,
        retry: bool,
        same: Callable[[Verdict], bool],
    ) -> None:
        """`records` are what is held of the study's videos; `same` says whether a part was asked as it would be now."""
        self.names = named(query)
        self._batches = batches(self.names, most)
        self._days = {r.verdict.partition: r for r in records if r.verdict.unit_kind == "day"}
        self._parts: dict[tuple[Names, date], Held] = {}
        self._pieces: dict[date, dict[Names, Verdict]] = defaultdict(dict)
        self._ended: dict[date, dict[Names, Verdict]] = defaultdict(dict)
        self.spent: dict[date, float] = defaultdict(float)
        self.dead: dict[date, Verdict] = {}
        broken: dict[date, set[str]] = defaultdict(set)
        for record in records if self.names else ():
            verdict = record.verdict
            if verdict.unit_kind != "account":
                continue
            names = tuple(verdict.unit.split(BETWEEN_NAMES))
            self._parts[names, verdict.partition] = record
            if verdict.state != "complete" and len(names) == 1 and names[0] in self.names:
                broken[verdict.partition].add(names[0])
            full = self._look(verdict.partition)
            fresh = _moment(verdict) > _moment(full) and not (again and now - _moment(verdict) > STALE)
            if verdict.state == "complete" and fresh and same(verdict):
                self._pieces[verdict.partition][names] = verdict
        self.alone = asked_alone(self.names, records)
        self._resting = {
            name: verdict
            for name, verdict in self.alone.items()
            if verdict.state != "complete" and not retry and verdict.next_try is not None and verdict.next_try > now
        }
        if not again:
            for day, record in self._days.items():
                if record.verdict.state == "complete":
                    self._pieces[day] = {tuple(n for n in self.names if n not in broken[day]): record.verdict}

    def _look(self, day: date) -> Verdict | None:
        """The newest look that saw all of a day."""
        record = self._days.get(day)
        return record.verdict if record and record.verdict.state == "complete" else None

    def missing(self, day: date, taken: Set[str]) -> list[Names]:
        """The parts in which what is missing of a day is asked. `taken` are accounts that are under way."""
        if not self.names:
            return [()]
        done = self._done(day) | taken
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

    def evidence(self) -> list[Window]:
        """Days that were answered for a part of the accounts before: what fails there now is the others' fault."""
        return [Window(day, day, names=names) for day, parts in self._pieces.items() for names in parts if names]

    def history(self, names: Names) -> Mapping[date, Held]:
        """What is held of a part, by day: of its videos what it brought itself, of its failures what the day knows."""
        if not names:
            return self._days
        known = {}
        for day, record in self._days.items():
            verdict = record.verdict
            state = "partial" if verdict.state == "complete" else verdict.state
            # Other parts had hits on a day that was suspicious for this one.
            known[day] = replace(record, verdict=replace(verdict, state=state), most=0, empty_looks=record.suspicions)
        return known | {day: record for (part, day), record in self._parts.items() if part == names}

    def add(self, window: Window, piece: Verdict) -> list[Verdict]:
        """Take in how a window ended for one of its days; gives the rows that say so, the day's own last."""
        day, names = piece.partition, window.names
        self.spent[day] += piece.requests
        if not self.names or (not names and piece.state in ("complete", "partial")):
            return [piece]
        names = names or self.names
        own = replace(piece, unit_kind="account", unit=BETWEEN_NAMES.join(names), requests=0.0)
        rows = []
        if piece.state == "complete":
            if len(names) == 1 and (window.answers or names[0] in self.alone):
                self.alone[names[0]] = own = replace(own, reason=_ALONE)
            self._pieces[day][names] = own
            rows = [own]
        elif piece.state != "partial":
            self._ended[day][names] = own
            if piece.state == "quarantined" and not window.answers:
                self.dead[day] = piece
            if window.answers and len(names) == 1:
                own = replace(own, reason=f"No search with this account is answered: {piece.reason}")
                self._ended[day][names] = own
                self.alone[names[0]] = self._resting[names[0]] = own
                rows = [own]
        found = self.whole(piece)
        if found.state == "complete":
            rows += self._left_out(found)
        return [*rows, found]

    def whole(self, piece: Verdict) -> Verdict:
        """The day of a verdict as all its parts make it: their counts, and the state in which they leave it."""
        if not self.names:
            return piece
        day = piece.partition
        pieces = list(self._pieces[day].values())
        if piece.state != "complete":
            pieces.append(piece)
        done, ended = self._done(day), self._ended[day]
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
        if (seen := self._look(day)) in pieces and seen is not None:
            # An account that was missing is asked: the others were last seen when they were, the day stays complete.
            lacking = [name for name in self.names if name not in done]
            return replace(found, state="complete", reason=_without(lacking), next_try=None, last_at=seen.last_at)
        if day in self.dead:
            # What fails for one part of the accounts for no fault of theirs is not asked for the others.
            dead = self.dead[day]
            return replace(found, state=dead.state, reason=dead.reason, next_try=dead.next_try)
        if pending or piece.state == "partial":
            held = f"Held for {len(done)} of {len(self.names)} accounts."
            why = held if piece.state != "partial" or not piece.reason else f"{held} {piece.reason}"
            return replace(found, state="partial", reason=why, next_try=None)
        bad = [verdict for names, verdict in ended.items() if set(names) & given_up]
        if bad:
            speaks = min(bad, key=lambda verdict: WORST_FIRST.index(verdict.state))
            return replace(found, state=speaks.state, reason=speaks.reason, next_try=speaks.next_try)
        return replace(found, state="complete", reason=_without(broken), next_try=None)

    def _left_out(self, found: Verdict) -> list[Verdict]:
        """Rows of the accounts that were not asked for a day because no search with them was answered lately."""
        done, ended = self._done(found.partition), self._ended[found.partition]
        return [
            replace(verdict, partition=found.partition, asked=0, offered=0, kept=0, capture=found.capture)
            for name, verdict in self._resting.items()
            if name not in done and (name,) not in ended
        ]

    def _done(self, day: date) -> set[str]:
        return {name for names in self._pieces[day] for name in names}


def _without(names: Sequence[str]) -> str | None:
    """What a complete day lacks, in words."""
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Without {some}: no search with such a name is answered." if names else None


def _moment(verdict: Verdict | None) -> datetime:
    return (verdict and verdict.last_at) or datetime.min.replace(tzinfo=UTC)

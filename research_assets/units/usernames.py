"""A search by accounts in parts: which accounts are asked together, and which are held for which day.

A query that names many accounts fails, and one name can break it for all others (reference 3.1.1, §7 #24). Here is what
a part of such a query is and what its parts add up to. Which of them fails a search is found out in `blame.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from research_assets.study.spec import QueryGroups
from research_assets.units.coverage import Attempt, UnitStatus
from research_assets.units.periods import MIN_CANARY_VIDEOS

Usernames = tuple[str, ...]
"""The accounts of a part; none stands for the whole query."""

_ISOLATED_REASON = "Asked by itself: a search for it and others was not answered."


def batchable_usernames(query: QueryGroups) -> Usernames:
    """The accounts by which a query can be asked in parts: none if it names one at most, or not as a condition for all.

    A hit must satisfy each condition of `and`, and a lone condition of `or`; so each hit is in exactly one part.
    """
    condition = _condition(query)
    return tuple(dict.fromkeys(condition[1]["field_values"])) if condition else ()


def restrict_query(query: QueryGroups, names: Usernames) -> QueryGroups:
    """The query for some of its accounts; for none of them named, the query itself."""
    condition = _condition(query)
    if not names or condition is None:
        return query
    group, whole = condition
    part = {**whole, "field_values": list(names)}
    return {**query, group: tuple(part if one is whole else one for one in query[group])}


def batch_usernames(names: Usernames, most: int) -> list[Usernames]:
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


def isolated_usernames(names: Usernames, records: Iterable[UnitStatus]) -> dict[str, Attempt]:
    """Accounts that are asked by themselves since a search for them and others failed, each with its newest verdict."""
    wanted, newest = set(names), dict[str, Attempt]()
    for record in records:
        attempt = record.attempt
        if attempt.unit_kind == "account" and attempt.unit in wanted:
            newest[attempt.unit] = max(newest.get(attempt.unit, attempt), attempt, key=_last_at)
    return {name: one for name, one in newest.items() if one.state != "complete" or one.reason == _ISOLATED_REASON}


def most_frequent_usernames(
    authors: Iterable[str], alone: Mapping[str, Attempt], most: int, enough: int | None = None
) -> Usernames:
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
    return (single,) if single and videos < min(MIN_CANARY_VIDEOS, found[single]) else tuple(chosen)


def days_missing_accounts(
    query: QueryGroups, records: Iterable[UnitStatus], now: datetime, *, retry: bool
) -> set[date]:
    """Days that lack an account whose next try has come; with `retry`, whether it has come or not."""
    names = set(batchable_usernames(query))
    return {
        record.attempt.partition
        for record in records
        if record.attempt.unit in names
        and record.attempt.state == "quarantined"
        and (retry or record.attempt.next_try is None or record.attempt.next_try <= now)
    }


def _last_at(attempt: Attempt | None) -> datetime:
    return (attempt and attempt.last_at) or datetime.min.replace(tzinfo=UTC)

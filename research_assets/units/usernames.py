"""Batches of the usernames in a query, and the usernames that are searched separately.

A query that names many accounts fails, and one name can make it fail for all others (reference 3.1.1, §7 #24). Not
here: which username makes a search fail (see collect/search/bisect.py); the progress of the batches (see
collect/search/username_batches.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from research_assets.study.spec import QueryGroups
from research_assets.units.coverage import Attempt, UnitStatus, attempt_time
from research_assets.units.periods import MIN_CANARY_VIDEOS

Usernames = tuple[str, ...]
"""The usernames of one batch; an empty tuple stands for the whole query."""

ISOLATED_REASON = "Searched separately: the API did not answer a search with other usernames."
"""Reason of the attempt at a username that has been taken out of its batch."""


def batchable_usernames(query: QueryGroups) -> Usernames:
    """Return the usernames by which a query can be divided into batches.

    The result is empty if the query names one username at most, or if its username condition does not apply to all
    hits. It applies to all hits as a condition of `and` or as the only condition of `or`; each hit is then in exactly
    one batch.
    """
    condition = _condition(query)
    return tuple(dict.fromkeys(condition[1]["field_values"])) if condition else ()


def restrict_query(query: QueryGroups, names: Usernames) -> QueryGroups:
    """Return the query restricted to some of its usernames; the query itself if `names` is empty."""
    condition = _condition(query)
    if not names or condition is None:
        return query
    group, original = condition
    restricted = {**original, "field_values": list(names)}
    return {**query, group: tuple(restricted if other is original else other for other in query[group])}


def batch_usernames(names: Usernames, max_size: int) -> list[Usernames]:
    """Return the usernames in as few batches of at most `max_size` as possible, all of about the same size."""
    n_batches = -(-len(names) // max_size)
    bounds = [len(names) * i // n_batches for i in range(n_batches + 1)] if n_batches else [0]
    return [names[begin:end] for begin, end in pairwise(bounds)]


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
    """Return the usernames that are searched separately since a batch with them failed, with their newest attempts."""
    requested, newest = set(names), dict[str, Attempt]()
    for record in records:
        attempt = record.attempt
        if attempt.unit_kind == "account" and attempt.unit in requested:
            newest[attempt.unit] = max(newest.get(attempt.unit, attempt), attempt, key=attempt_time)
    return {
        name: attempt
        for name, attempt in newest.items()
        if attempt.state != "complete" or attempt.reason == ISOLATED_REASON
    }


def most_frequent_usernames(
    authors: Iterable[str], isolated: Mapping[str, Attempt], max_usernames: int, max_videos: int | None = None
) -> Usernames:
    """Return the usernames with most of the videos that have these `authors`, for one search that finds the videos.

    There are at most `max_usernames`; a further one is added only while they have fewer than `max_videos` videos. One
    of the `isolated` usernames is returned, alone, if the others have fewer than `MIN_CANARY_VIDEOS` videos and it has
    more. An isolated username without a complete search is never returned.
    """
    n_videos = Counter(authors)
    ranked = [name for name, _ in n_videos.most_common()]
    chosen: list[str] = []
    total = 0
    for name in ranked:
        if len(chosen) == max_usernames or (max_videos is not None and total >= max_videos):
            break
        if name not in isolated:
            chosen.append(name)
            total += n_videos[name]
    single = next((name for name in ranked if name in isolated and isolated[name].state == "complete"), None)
    return (single,) if single and total < min(MIN_CANARY_VIDEOS, n_videos[single]) else tuple(chosen)


def days_missing_accounts(
    query: QueryGroups, records: Iterable[UnitStatus], now: datetime, *, retry: bool
) -> set[date]:
    """Return the days that miss a quarantined account whose next try is due; with `retry`, whether it is due or not."""
    names = set(batchable_usernames(query))
    return {
        record.attempt.partition
        for record in records
        if record.attempt.unit in names
        and record.attempt.state == "quarantined"
        and (retry or record.attempt.next_try is None or record.attempt.next_try <= now)
    }

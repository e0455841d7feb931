"""The items of the next tasks: pure functions of the numbers of due items and the items in order of age.

Not here: reading them (see held.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from research_assets.collect.id_lists.batches import IdBatch
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.settings import Settings
from research_assets.tiktok.compliance import MAX_IDS
from research_assets.tiktok.requests import MAX_COUNT

MAX_CANARIES = 20
"""Canaries of a task, half at the beginning and half at the end of its file."""

CAPACITY = MAX_IDS - MAX_CANARIES
"""Ids of a task besides its canaries."""


def interval(settings: Settings) -> timedelta:
    """Return the time after which an id must be verified again."""
    return timedelta(days=settings.verify_days)


def lead(settings: Settings) -> timedelta:
    """Return the time before the due time at which ids are sent: at most half of the interval."""
    return min(timedelta(days=settings.verify_lead_days), interval(settings) / 2)


def last_due(settings: Settings, now: datetime) -> datetime:
    """Return the last verification until which items fall due within the lead time."""
    return now - interval(settings) + lead(settings)


def ids_to_send(n_due: int) -> int:
    """Return how many of the oldest ids to send: those due, and as many as fill the last task."""
    return -(-n_due // CAPACITY) * CAPACITY


def next_check(earliest: datetime | None, settings: Settings, now: datetime) -> datetime:
    """Return when ids next fall due within the lead time. `earliest` is the oldest verification of an id.

    Ids that are collected later fall due later, so nothing needs to be computed before.
    """
    return (earliest or now) + interval(settings) - lead(settings)


def split_into_tasks(ids: Sequence[int], canaries: Sequence[int]) -> list[tuple[list[int], int]]:
    """Return the ids of each task in the order of its file, with the number of canaries in front and at its end.

    `canaries` are the ids that were verified most recently, so they are known to exist. They are ids of their own or,
    if everything is sent, sent ones.
    """
    tasks = []
    for start in range(0, len(ids), CAPACITY):
        chunk = ids[start : start + CAPACITY]
        own = list(dict.fromkeys(canaries))[:MAX_CANARIES]
        half = len(own) // 2
        others = [one for one in chunk if one not in set(own)]
        tasks.append(([*own[:half], *others, *own[half:]], len(own)))
    return tasks


def canary_groups(ids: Sequence[int], n_canaries: int) -> list[Sequence[int]]:
    """Return the groups of canaries in a file that `split_into_tasks` made."""
    half = n_canaries // 2
    groups = [ids[:half], ids[len(ids) - (n_canaries - half) :]]
    return [group for group in groups if group]


PLANNING_INTERVAL = timedelta(days=1)
"""Time between two plans of look-ups. A plan contains all items that fall due until the next one."""


def lookups_per_day(settings: Settings) -> int:
    """Return the requests that look-ups may use on a UTC day: their share of the quota, at least one."""
    return max(1, int(settings.research_cap * settings.verify_lookup_share / 100))


def items_to_look_up(by_day: Mapping[int, int], per_day: int) -> int:
    """Return how many of the oldest items to look up today, at most `per_day`.

    `by_day` are the numbers of items that must be looked up within the next n days, by n from 0. Today's number is
    the smallest with which no item is late, if `per_day` are looked up on each following day.
    """
    needed = total = 0
    for day in sorted(by_day):
        total += by_day[day]
        needed = max(needed, total - per_day * max(0, day - 1))
    return min(needed, per_day)


def days_until_needed(by_day: Mapping[int, int], per_day: int) -> int:
    """Return after how many days `items_to_look_up` is first above 0, if nothing is looked up until then."""
    for days in range(max(by_day, default=0) + 1):
        if items_to_look_up(_later(by_day, days), per_day):
            return days
    return max(by_day, default=0)


def _later(by_day: Mapping[int, int], days: int) -> dict[int, int]:
    """Return the numbers of items by the days that are left after some days."""
    left: dict[int, int] = {}
    for day, number in by_day.items():
        left[max(0, day - days)] = left.get(max(0, day - days), 0) + number
    return left


def search_window(batch: IdBatch, window_days: int, today: date) -> tuple[date, date]:
    """Return the longest window of a search that begins with a batch."""
    return batch.first, max(batch.last, min(batch.first + timedelta(days=window_days - 1), today))


def fill_batches(batches: Sequence[IdBatch], others: Sequence[Sequence[ListedVideo]]) -> list[int]:
    """Return the ids that fill batches, which costs no request.

    `others` are the videos in the window of each batch, those that fall due first at the beginning.
    """
    found: dict[int, None] = {}
    for batch, candidates in zip(batches, others, strict=True):
        room = MAX_COUNT - len(batch.ids)
        found.update(dict.fromkeys([one.id for one in candidates if one.id not in found][:room]))
    return list(found)


def add_controls(
    batch: IdBatch, window: tuple[date, date], candidates: Iterable[ListedVideo], number: int
) -> tuple[IdBatch, tuple[int, ...]]:
    """Return a batch with up to `number` controls in its free places, and the controls, those of the window."""
    room = min(number, MAX_COUNT - len(batch.ids))
    inside = [one for one in candidates if one.day is not None and window[0] <= one.day <= window[1]]
    added = [one for one in inside if one.id not in batch.ids][:room]
    ids = tuple(one.id for one in added)
    last = max([batch.last, *(one.day for one in added if one.day is not None)])
    return replace(batch, ids=(*batch.ids, *ids), last=last), ids


def is_proven(returned: Collection[int], controls: Collection[int], others: Collection[int]) -> bool:
    """Return whether a response shows that the search by id works: at least half of its controls were returned.

    Without controls, the `others` count, ids of the request that were not missing before.
    """
    group = controls or others
    return bool(group) and 2 * sum(one in returned for one in group) >= len(group)

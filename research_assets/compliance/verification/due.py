"""The ids of the next tasks: pure functions of the number of due ids and the ids in order of age.

Not here: reading them (see held.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from research_assets.settings import Settings
from research_assets.tiktok.compliance import MAX_IDS

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

"""In which periods and how long a study is observed, and when it looks for videos known from before. Pure.

Accounts are observed period after period while a study goes on, and once more when it is over.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from research_assets.clock import midnight
from research_assets.fields import ENTITIES
from research_assets.study.spec import StudySpec

if TYPE_CHECKING:
    pass
import hashlib
from collections.abc import Sequence

from research_assets.clock import week_of
from research_assets.collect.types import CollectionTask
from research_assets.units.partition_status import PartitionStatus


def is_backfill(task: CollectionTask, day: date, now: datetime) -> bool:
    """Whether a day was due before yesterday: the quota's reserve for what is due today is closed to it."""
    if ENTITIES[task.entity].time_axis == "observation":
        return False
    return now - midnight(day) > timedelta(days=2 + task.study.settle_days)


CANARY_INTERVAL = timedelta(days=7)
"""Between two looks for known videos, and the time after which a day's videos count as known from before."""

MIN_CANARY_VIDEOS = 3
"""Videos of a day that must be known, because a single one may have been withdrawn."""


def period_length(study: StudySpec) -> timedelta:
    """How long a period is in which a study's accounts are observed once."""
    return timedelta(days=1 if study.observe == "daily" else 7)


def current_period(study: StudySpec, now: datetime) -> date:
    """The partition in which a study's accounts are observed now: the UTC day, or the Monday of its week."""
    return now.date() if study.observe == "daily" else week_of(now.date())


def study_ends_at(study: StudySpec) -> datetime | None:
    """When a study's last day reaches the last of its ages; None for a study without end."""
    if study.end is None:
        return None
    return midnight(study.end) + timedelta(days=1 + max(study.settle_days, *study.reobserve_days, 0))


def should_observe(
    study: StudySpec, days: Mapping[date, PartitionStatus], seen_at: datetime | None, now: datetime
) -> bool:
    """Whether a new period of a study's accounts begins by itself; `seen_at` is the last moment of earlier periods.

    A study is under way until it is over, see `over_at`. `days` are those whose videos name the accounts, none for a
    panel: as long as some are missing, not all accounts are known. After that comes one period more.
    """
    over = study_ends_at(study)
    if study.end is None or over is None or now < over or seen_at is None:
        return True
    number = (study.end - study.start).days + 1
    for offset in range(number if days else 0):
        status = days.get(study.start + timedelta(days=offset))
        if status is None or status.open_units:
            return True
        if status.last_complete_at is not None:
            over = max(over, status.last_complete_at)
    return seen_at < over


def canary_day(
    study: StudySpec, days: Sequence[date], last: datetime | None, waits_until: datetime | None, now: datetime
) -> date | None:
    """The day whose videos are looked for now; None if no look is due.

    `days` are held for `EVERY` at least and have `SEVERAL` videos or more, `last` is when the study last looked,
    `waits_until` the next try that a look without any answer set. Which day it is changes with the week, by lot.
    """
    if not days or not should_observe(study, {}, last, now):
        return None
    if last is not None and now < (waits_until or last + CANARY_INTERVAL):
        return None
    week = now.date().toordinal() // CANARY_INTERVAL.days
    group = hashlib.blake2b(f"{study.name}:{week}".encode(), digest_size=8).digest()
    return sorted(days)[int.from_bytes(group) % len(days)]


def remaining_canary_checks(study: StudySpec, last: datetime | None, now: datetime) -> int | None:
    """How many looks for known videos are still to come, one each `EVERY`; None for a study without end.

    `last` is when the study last looked. The first look comes when its first day may have been held for `EVERY`.
    """
    if study.end is None:
        return None
    first = midnight(study.start) + timedelta(days=1 + study.settle_days) + CANARY_INTERVAL
    at = max(now, last + CANARY_INTERVAL if last else first)
    number = 0
    while should_observe(study, {}, last, at):
        number, last, at = number + 1, at, at + CANARY_INTERVAL
    return number

"""The times at which a study is observed: backfill, periods of accounts, and canary checks. Pure functions.

Accounts are observed once per period up to `observe_until`, or else until the study ends, and in one more period after
that. A past period can never be collected, so only periods that were observed and the running one are partitions. Not
here: when a day
settles or is due for re-observation (see study/spec.py); how a canary check is made (see collect/search/canary.py).
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from research_assets.clock import week_of
from research_assets.fields import ENTITIES
from research_assets.study.spec import StudySpec
from research_assets.units.partition_status import PartitionStatus

CANARY_INTERVAL = timedelta(days=7)
"""Time between two canary checks, and the age from which a collected video is used in one."""

MIN_CANARY_VIDEOS = 3
"""Videos that a day needs for a canary check, because a single one may have been withdrawn."""


def is_backfill(study: StudySpec, entity: str, day: date, now: datetime) -> bool:
    """Return whether a day settled more than a day ago. Backfill must not use the reserve of the quota."""
    if ENTITIES[entity].time_axis == "observation":
        return False
    return now > study.settles_at(day) + timedelta(days=1)


def period_length(study: StudySpec) -> timedelta:
    """Return the length of a period; a study observes each account once per period."""
    return timedelta(days=1 if study.observe == "daily" else 7)


def period_of(study: StudySpec, day: date) -> date:
    """Return the partition of accounts observed on a UTC day: the day, or the Monday of its week."""
    return day if study.observe == "daily" else week_of(day)


def current_period(study: StudySpec, now: datetime) -> date:
    """Return the partition of accounts observed at `now`."""
    return period_of(study, now.date())


def should_observe(
    study: StudySpec,
    days: Mapping[date, PartitionStatus],
    last_observed_at: datetime | None,
    now: datetime,
    period: date | None = None,
) -> bool:
    """Return whether accounts are due in a period of a study, at `now`; by default in the period of `now`.

    That is the case up to the period of `observe_until`. Without it, `last_observed_at` is the newest observation in
    earlier periods, and `days` are the days whose videos name the accounts; none for a panel. Periods then start until
    the last day of the study reached its last age and every one of `days` is complete, because until then accounts may
    be missing. One more period follows after that.
    """
    if study.observe_until is not None:
        return (period or current_period(study, now)) <= study.observe_until
    return _is_unfinished(study, days, last_observed_at, now)


def _is_unfinished(
    study: StudySpec, days: Mapping[date, PartitionStatus], last_observed_at: datetime | None, now: datetime
) -> bool:
    """Return whether a study is observed at `now` by the rule for studies without `observe_until`."""
    ends_at = study.last_observation_due_at()
    if study.end is None or ends_at is None or now < ends_at or last_observed_at is None:
        return True
    for day in study.days_to(study.end) if days else ():
        status = days.get(day)
        if status is None or status.open_units:
            return True
        if status.last_complete_at is not None:
            ends_at = max(ends_at, status.last_complete_at)
    return last_observed_at < ends_at


@dataclass(frozen=True, slots=True)
class ObservedPeriods:
    """The partitions of an observed entity: from `first` to `last`, without `never_observed`; None: without an end."""

    first: date
    last: date | None = None
    never_observed: tuple[date, ...] = ()

    def contains(self, period: date) -> bool:
        """Return whether a period is a partition."""
        is_between = self.first <= period and (self.last is None or period <= self.last)
        return is_between and period not in self.never_observed


def observed_periods(
    study: StudySpec,
    observed: Collection[date],
    days: Mapping[date, PartitionStatus],
    last_observed_at: datetime | None,
    now: datetime,
) -> ObservedPeriods:
    """Return the periods of an entity that hold data or can still hold some, as known at `now`.

    `observed` are the periods with data, and `last_observed_at` is the newest observation in any of them. `days` are
    those of `should_observe`. The partitions begin with the first period with data or with the running one. They end
    with the period of `observe_until`, or else with the last one with data, once no later period will be due.
    """
    running, step = current_period(study, now), period_length(study)
    begun = sorted(observed)
    first = min([*begun, running])
    last: date | None = None
    if study.observe_until is not None:
        last = max([period_of(study, study.observe_until), *(begun or [running])])
    elif begun and not _is_unfinished(study, days, last_observed_at, now) and not _is_missing_days(study, days, now):
        last = begun[-1]
    missed, period = [], first
    while period < running:
        if period not in begun and (last is None or period <= last):
            missed.append(period)
        period += step
    return ObservedPeriods(first, last, tuple(missed))


def _is_missing_days(study: StudySpec, days: Mapping[date, PartitionStatus], now: datetime) -> bool:
    """Return whether a settled day is incomplete: its videos may name further accounts. `days` is empty for a panel."""
    statuses = [days.get(day) for day in study.days_to(study.last_settled_day(now))] if days else []
    return any(status is None or status.open_units or status.waiting_units for status in statuses)


def canary_day(
    study: StudySpec, days: Sequence[date], last_check: datetime | None, next_try: datetime | None, now: datetime
) -> date | None:
    """Return the day whose videos the canary check searches for now; None if no check is due.

    Each of `days` was collected at least `CANARY_INTERVAL` ago and has `MIN_CANARY_VIDEOS` videos or more. `next_try`
    is set if the last check was not answered. A hash of the study's name and the week selects one of `days`.
    """
    if not days or not _is_unfinished(study, {}, last_check, now):
        return None
    if last_check is not None and now < (next_try or last_check + CANARY_INTERVAL):
        return None
    week = now.date().toordinal() // CANARY_INTERVAL.days
    digest = hashlib.blake2b(f"{study.name}:{week}".encode(), digest_size=8).digest()
    return sorted(days)[int.from_bytes(digest) % len(days)]


def remaining_canary_checks(study: StudySpec, last_check: datetime | None, now: datetime) -> int | None:
    """Return the number of canary checks to come, one per `CANARY_INTERVAL`; None for a study without end.

    The first check is due `CANARY_INTERVAL` after the first day settled.
    """
    if study.end is None:
        return None
    first_due = study.settles_at(study.start) + CANARY_INTERVAL
    due_at = max(now, last_check + CANARY_INTERVAL if last_check else first_due)
    number = 0
    while _is_unfinished(study, {}, last_check, due_at):
        number, last_check, due_at = number + 1, due_at, due_at + CANARY_INTERVAL
    return number

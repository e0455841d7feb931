"""What all that is still wanted will cost, and when it will be done. Pure, from the same facts as the agenda.

The agenda says what fits now; here nothing is cut. What recurs for ever (periods, new days of a study without end) is
told as a load of each day, beside what is left once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil

from research_assets.fields import ENTITIES
from research_assets.planning.agenda import observation_due_at
from research_assets.planning.inputs import study_entities
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.estimates import NO_COST, Estimate, sum_estimates
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import CANARY_INTERVAL, period_length, remaining_canary_checks, study_ends_at

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class EntityForecast:
    """What is left of one entity of a study: partitions, requests, and the requests a day that recur beside them.

    `by_partition` says it for each partition; its sum may be higher, because sparse days share windows. `more` says
    that something will come on top which nobody can count yet. `ends` is when the last of it can be asked; None if it
    goes on for ever. `looks` marks the line of the looks for known videos, which have no partitions.
    """

    study: str
    entity: str
    partitions: int
    remaining: Estimate
    recurring_per_day: float
    by_partition: Mapping[date, Estimate]
    last_due_at: datetime | None
    is_lower_bound: bool = False
    is_canary: bool = False

    @property
    def unknown(self) -> bool:
        """Whether the true number may be far higher: nothing is known to found it on, or something is not counted."""
        return self.is_lower_bound or self.remaining.basis == "no data yet"


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """A pool's days: requests left, full days of quota, and the day on which they are spent; None if never."""

    pool: str
    requests: int
    days: int | None
    finish_day: date | None


def forecast(inputs: AgendaInputs, pages: Mapping[str, float], now: datetime) -> list[EntityForecast]:
    """One line for each entity of each study. `pages` are requests for a day's comments on average, by study."""
    return [line for study in inputs.studies for line in _study_forecast(inputs, study, pages.get(study.name), now)]


def forecast_pool(lines: Sequence[EntityForecast], pool: PoolState, now: datetime) -> PoolForecast:
    """When a pool has given what the lines want of it: what is left today first, then whole days less what recurs."""
    mine = [line for line in lines if BY_ENTITY[line.entity].pool == pool.pool]
    requests = ceil(sum_estimates(line.remaining for line in mine).requests)
    last = max(
        (line.last_due_at.date() for line in mine if line.last_due_at and line.remaining.requests), default=now.date()
    )
    rest = max(0, requests - pool.remaining)
    free = pool.cap - sum(line.recurring_per_day for line in mine)
    if rest and free <= 0:
        return PoolForecast(pool.pool, requests, None, None)
    days = ceil(rest / free) if rest else 0
    return PoolForecast(pool.pool, requests, ceil(requests / pool.cap), max(last, now.date() + ONE_DAY * days))


def _study_forecast(
    inputs: AgendaInputs, study: StudySpec, pages: float | None, now: datetime
) -> Iterator[EntityForecast]:
    for entity in study_entities(study):
        if entity == "videos":
            yield _videos(inputs, study, now)
        elif entity == "comments":
            yield _comments(inputs, study, pages, now)
        else:
            yield _accounts(inputs, study, entity, now)


def _study_days(study: StudySpec, now: datetime) -> list[date]:
    """The days of a study: to its end, or to today."""
    last = study.end or now.date()
    return [study.start + ONE_DAY * n for n in range((last - study.start).days + 1)]


def _open_days(inputs: AgendaInputs, study: StudySpec, now: datetime) -> list[date]:
    known = inputs.partition_status.get((study.name, "videos"), {})
    return [day for day in _study_days(study, now) if known.get(day, PartitionStatus()).last_complete_at is None]


def _videos(inputs: AgendaInputs, study: StudySpec, now: datetime) -> EntityForecast:
    density = inputs.hits_per_day.get(study.name, {})

    def cost(days: Sequence[date]) -> Estimate:
        return inputs.search_cost(study.name, days)

    missing = _open_days(inputs, study, now)
    known = inputs.partition_status.get((study.name, "videos"), {})
    costs = [cost(missing)]
    for age in study.reobserve_days:
        again = [
            day
            for day in _study_days(study, now)
            if (
                (seen := known.get(day, PartitionStatus()).last_complete_at) is None
                and now < observation_due_at(day, age)
            )
            or (seen is not None and seen < observation_due_at(day, age))
        ]
        costs.append(cost(again))
    by_partition = {day: cost([day]) for day in missing}
    daily = 0.0 if study.end or not density else (1 + len(study.reobserve_days)) * sum(density.values()) / len(density)
    return EntityForecast(
        study.name,
        "videos",
        len(missing),
        sum_estimates(costs),
        daily / inputs.page_size,
        by_partition,
        study_ends_at(study),
    )


def _comments(inputs: AgendaInputs, study: StudySpec, pages: float | None, now: datetime) -> EntityForecast:
    known = inputs.partition_status.get((study.name, "comments"), {})
    by_partition = {day: one.estimate for day, one in known.items() if one.open_units or one.waiting_units}
    open_days = _open_days(inputs, study, now)
    counted = [one.requests for one in by_partition.values()]
    if pages is not None:
        each = Estimate(pages, "observed pages")
    elif counted:
        each = Estimate(sum(counted) / len(counted), "observed density")
    else:
        each = Estimate(1, "no data yet")
    by_partition |= dict.fromkeys(open_days, each)
    # Before any was asked nobody knows how many comments have replies, at a request each or more.
    more = bool(by_partition) and pages is None and study.comments.replies != "none"
    ends = observation_due_at(study.end, study.settle_days) if study.end else None
    daily = 0.0 if study.end or pages is None else pages
    left = sum_estimates(by_partition.values())
    return EntityForecast(
        study.name, "comments", len(by_partition), left, daily, dict(sorted(by_partition.items())), ends, more
    )


def _accounts(inputs: AgendaInputs, study: StudySpec, entity: str, now: datetime) -> EntityForecast:
    known = inputs.partition_status.get((study.name, entity), {})
    by_partition = {period: one.estimate for period, one in known.items() if one.open_units}
    left = sum_estimates(by_partition.values())
    by_videos = entity == "users" and study.users.who != "panel"
    if by_videos and not known and not inputs.hits_per_day.get(study.name):
        left = Estimate(1, "no data yet")
    # Days that are still to come name authors whom nobody knows yet.
    more = by_videos and study.users.who == "authors" and bool(_open_days(inputs, study, now))
    return EntityForecast(study.name, entity, len(by_partition), left, 0.0, by_partition, None, more)


def add_recurring(
    lines: Sequence[EntityForecast], studies: Sequence[StudySpec], accounts: Mapping[tuple[str, str], float]
) -> list[EntityForecast]:
    """The lines, with what each period of accounts costs again, by study and entity, spread over its days."""
    length = {study.name: period_length(study) / ONE_DAY for study in studies}
    return [
        replace(
            line,
            recurring_per_day=line.recurring_per_day
            + accounts.get((line.study, line.entity), 0.0) / length[line.study],
        )
        if ENTITIES[line.entity].time_axis == "observation"
        else line
        for line in lines
    ]


def forecast_canary_checks(inputs: AgendaInputs, now: datetime) -> list[EntityForecast]:
    """One line for each study that still looks for videos known from before: a request a week; see `observing.py`."""
    lines = []
    for study in inputs.studies:
        left = remaining_canary_checks(study, inputs.last_canary_check.get(study.name), now)
        daily = ONE_DAY / CANARY_INTERVAL if left is None else 0.0
        left = int(study.name in inputs.canary_days) if left is None else left
        if left or daily:
            price = Estimate(left, "one request each")
            lines.append(
                EntityForecast(study.name, "videos", 0, price, daily, {}, study_ends_at(study), is_canary=True)
            )
    return lines


__all__ = [
    "NO_COST",
    "EntityForecast",
    "PoolForecast",
    "add_recurring",
    "forecast",
    "forecast_canary_checks",
    "forecast_pool",
]

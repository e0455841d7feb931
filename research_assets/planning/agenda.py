"""What is asked next: from what is held, what is free in the pools and what runs already, to work in order of worth.

A pure decision: it reads nothing, asks nothing and knows no clock but the moment it is given. What stands where is read
in `standing.py`; how what was chosen is joined to runs is `stretches.py`; who acts on the agenda (a sensor) or shows it
(the command line) is no matter here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil

from research_assets.clock import midnight
from research_assets.collect.types import CollectionTask
from research_assets.fields import ENTITIES
from research_assets.planning.allocation import WorkGroup, allocate, combine_into_runs
from research_assets.planning.types import (
    NOT_A_DAY_SEARCH,
    PRIORITY,
    Agenda,
    AgendaInputs,
    DeferredUnits,
    PlannedRun,
    RunReason,
)
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.estimates import NO_COST, Estimate, sum_estimates
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import is_backfill, period_length


def observation_due_at(day: date, age: int) -> datetime:
    """When a day is `age` days old: the day itself has to be over first."""
    return midnight(day) + timedelta(days=1 + age)


def build_agenda(inputs: AgendaInputs, now: datetime) -> Agenda:
    """What to ask now, in order, within what the pools have left; and what waits until when."""
    canaries = list(_canary_runs(inputs))
    inputs = replace(
        inputs,
        running_requests={**inputs.running_requests, **{(item.study, "videos"): item.requests for item in canaries}},
    )
    groups: list[WorkGroup] = []
    waiting: list[DeferredUnits] = []
    for study in inputs.studies:
        for entity in ENTITIES:
            candidates = list(_candidates(inputs, study, entity, now))
            groups += _work_groups(
                inputs, study, entity, [candidate for candidate in candidates if isinstance(candidate, _Candidate)]
            )
            waiting += _merge_deferred(candidate for candidate in candidates if isinstance(candidate, DeferredUnits))
    free = [
        group
        for group in groups
        if group.key not in inputs.running_requests and group.key not in inputs.backing_off_until
    ]
    wants = {
        (study.name, pool): _demand(
            inputs, [group for group in groups if (group.study, group.pool) == (study.name, pool)], pool
        )
        for study in inputs.studies
        for pool in inputs.pools
    }
    weights = {study.name: study.quota_weight for study in inputs.studies}
    for pool, state in inputs.pools.items():
        reserve = inputs.quota_reserve if pool == "research" else 0
        mine = [group for group in free if group.pool == pool]
        allocate(mine, _free(inputs, pool), state.cap, weights, inputs.used_today.get(pool, {}), reserve)
    items, over = _fit_to_quota(inputs, sorted(combine_into_runs(inputs, free), key=lambda item: item.priority))
    waiting += over
    for group in groups:
        if group.units_left:
            waiting.append(_deferred(inputs, group))
    return Agenda((*canaries, *items), tuple(waiting), wants)


def _canary_runs(inputs: AgendaInputs) -> Iterator[PlannedRun]:
    """One request for each study that is to look for known videos; its days wait until it has, which is not long."""
    free = _free(inputs, BY_ENTITY["videos"].pool)
    due = {
        study: day
        for study, day in inputs.canary_days.items()
        if (study, "videos") not in inputs.running_requests and (study, "videos") not in inputs.backing_off_until
    }
    for study, day in list(due.items())[:free]:
        yield PlannedRun(
            study, "videos", (day,), recollect=False, reasons=("canary",), units=1, requests=1, basis="one request each"
        )


def _free(inputs: AgendaInputs, pool: str) -> int:
    """Requests of a pool that nobody has and no active run is expected to need."""
    expected = sum(n for (_, entity), n in inputs.running_requests.items() if BY_ENTITY[entity].pool == pool)
    return max(0, inputs.pools[pool].remaining - expected)


def _fit_to_quota(inputs: AgendaInputs, items: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[DeferredUnits]]:
    """The items that fit together: days that lie apart may cost more than the windows that they could have shared."""
    free = {pool: _free(inputs, pool) for pool in inputs.pools}
    kept, over = [], []
    for item in items:
        pool = BY_ENTITY[item.entity].pool
        if item.requests <= free[pool]:
            free[pool] -= item.requests
            kept.append(item)
        else:
            opens = _opens(inputs.pools[pool])
            over.append(DeferredUnits(item.study, item.entity, item.units, "quota", opens, item.requests))
    return kept, over


@dataclass(frozen=True, slots=True)
class _Candidate:
    partition: date
    standing: PartitionStatus
    why: RunReason
    again: bool = False


def _candidates(
    inputs: AgendaInputs, study: StudySpec, entity: str, now: datetime
) -> Iterator[_Candidate | DeferredUnits]:
    """Each partition that could be asked now, newest first, and each that has to wait."""
    known = inputs.partition_status.get((study.name, entity), {})
    partitions = _study_days(study, now) if entity == "videos" else sorted(known, reverse=True)
    paused: list[date] = []
    for partition in partitions:
        status = known.get(partition, PartitionStatus(open_units=1, is_materialized=False))
        if entity == "videos" and now < (settles := observation_due_at(partition, study.settle_days)):
            yield DeferredUnits(study.name, entity, 1, "too_fresh", settles)
            continue
        if status.waiting_units:
            opens = inputs.pools[BY_ENTITY[entity].pool].available_at
            if status.in_progress and opens is not None:
                # A pause within a share ends before the day does, but that is of no use while the pool is shut.
                wakes = max(opens, status.next_try or opens)
                paused.append(partition)
                yield DeferredUnits(study.name, entity, status.waiting_units, "quota", wakes)
            else:
                yield DeferredUnits(study.name, entity, status.waiting_units, "backing_off", status.next_try)
        candidate = _candidate_for(study, entity, partition, status, now)
        if candidate is not None:
            yield candidate
    if paused and entity == "videos" and inputs.hits_per_day.get(study.name):
        requests = ceil(inputs.search_cost(study.name, paused).requests)
        yield DeferredUnits(study.name, entity, 0, "quota", _opens(inputs.pools[BY_ENTITY[entity].pool]), requests)


def _candidate_for(
    study: StudySpec, entity: str, partition: date, status: PartitionStatus, now: datetime
) -> _Candidate | None:
    """Why a partition is worth asking now, if it is."""
    if status.open_units:
        late = is_backfill(CollectionTask(study, entity, (partition,)), partition, now)
        fresh: RunReason = "new_comments" if entity == "comments" else "settled"
        if ENTITIES[entity].time_axis == "observation":
            # What is not seen while the period runs can never be seen.
            fresh = "period_ending" if now >= _last_day_begins_at(study, partition) else "period"
        why: RunReason = "backfill" if late else fresh
        if status.in_progress and why != "period_ending":
            why = "resume"
        elif status.failed_before:
            why = "retry"
        return _Candidate(partition, status, why, again=status.last_complete_at is not None and entity == "videos")
    if status.waiting_units:
        return None
    if entity == "videos" and status.last_complete_at is not None:
        ages = [age for age in study.reobserve_days if observation_due_at(partition, age) <= now]
        if ages and status.last_complete_at < observation_due_at(partition, max(ages)):
            return _Candidate(partition, status, "reobserve", again=True)
    if status.is_missing_accounts:
        return _Candidate(partition, status, "missing_accounts")
    return None if status.is_materialized else _Candidate(partition, status, "mark_materialized")


def _last_day_begins_at(study: StudySpec, period: date) -> datetime:
    """When the last day of a period begins."""
    return midnight(period) + period_length(study) - timedelta(days=1)


def _study_days(study: StudySpec, now: datetime) -> list[date]:
    """The days of a study up to today, newest first."""
    last = min(study.end or now.date(), now.date())
    return [date.fromordinal(number) for number in range(last.toordinal(), study.start.toordinal() - 1, -1)]


def _work_groups(
    inputs: AgendaInputs, study: StudySpec, entity: str, candidates: Sequence[_Candidate]
) -> Iterator[WorkGroup]:
    """Wishes of one kind together, each with what its first so many partitions cost."""
    beside: dict[bool, list[WorkGroup]] = {False: [], True: []}
    for why in PRIORITY:
        for recollect, others in beside.items():
            mine = [candidate for candidate in candidates if candidate.why == why and candidate.again == recollect]
            if not mine:
                continue
            group = WorkGroup(
                study=study.name,
                entity=entity,
                pool=BY_ENTITY[entity].pool,
                reason=why,
                priority=PRIORITY[why],
                recollect=recollect,
                partitions=tuple(candidate.partition for candidate in mine),
                units=tuple(
                    1 if recollect or why == "missing_accounts" else candidate.standing.open_units for candidate in mine
                ),
                cost=_cost_function(inputs, study, entity, mine, tuple(others)),
            )
            if why not in NOT_A_DAY_SEARCH:
                others.append(group)
            yield group


def _cost_function(
    inputs: AgendaInputs, study: StudySpec, entity: str, candidates: Sequence[_Candidate], others: Sequence[WorkGroup]
) -> Callable[[int], Estimate]:
    """What the first n partitions of some wishes cost; days share windows with those taken from `others`."""
    if candidates[0].why == "mark_materialized":
        return lambda _: NO_COST
    if candidates[0].why == "missing_accounts":
        return lambda n: Estimate(-(-n // inputs.window_days), "one request each")
    if entity != "videos":
        return lambda n: sum_estimates(candidate.standing.estimate for candidate in candidates[:n])
    days = [candidate.partition for candidate in candidates]

    reported: dict[tuple[int, ...], Estimate] = {}

    def price(n: int) -> Estimate:
        state = (n, *(group.n_taken for group in others))
        if state not in reported:
            beside = [day for group in others for day in group.partitions[: group.n_taken]]
            whole = inputs.search_cost(study.name, [*beside, *days[:n]])
            reported[state] = replace(whole, requests=whole.requests - inputs.search_cost(study.name, beside).requests)
        return reported[state]

    return price


def _demand(inputs: AgendaInputs, groups: Sequence[WorkGroup], pool: str) -> int:
    """What a study wants of a pool; of unknown size it may be all of it."""
    whole = sum_estimates(
        group.cost(len(group.partitions)) for group in groups if group.key not in inputs.backing_off_until
    )
    cap = inputs.pools[pool].cap
    return cap if whole.basis == "no data yet" else min(cap, ceil(whole.requests))


def _merge_deferred(waits: Iterable[DeferredUnits]) -> list[DeferredUnits]:
    """One line for each reason; the earliest moment speaks."""
    by_reason: dict[str, DeferredUnits] = {}
    for wait in waits:
        old = by_reason.get(wait.reason)
        if old is None:
            by_reason[wait.reason] = wait
            continue
        moments = [moment for moment in (old.until, wait.until) if moment]
        by_reason[wait.reason] = DeferredUnits(
            wait.study,
            wait.entity,
            old.units + wait.units,
            wait.reason,
            min(moments, default=None),
            old.requests + wait.requests,
        )
    return list(by_reason.values())


def _deferred(inputs: AgendaInputs, group: WorkGroup) -> DeferredUnits:
    """Why what is left of a lot is not asked now."""
    requests = ceil(group.requests_left)
    if group.key in inputs.running_requests:
        return DeferredUnits(group.study, group.entity, group.units_left, "running", None, requests)
    if group.key in inputs.backing_off_until:
        return DeferredUnits(
            group.study, group.entity, group.units_left, "no_progress", inputs.backing_off_until[group.key], requests
        )
    return DeferredUnits(
        group.study, group.entity, group.units_left, "quota", _opens(inputs.pools[group.pool]), requests
    )


def _opens(pool: PoolState) -> datetime:
    """When a pool has requests again."""
    return pool.available_at or midnight(pool.day + timedelta(days=1))

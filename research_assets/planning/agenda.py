"""The agenda: the partitions to collect next, by priority, from collected data, free quota and active runs.

The decision is pure: it reads no file, sends no request, and uses the time that it is given. Not here: the inputs (see
inputs.py); how candidates are fitted to the quota and combined into runs (see allocation.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil

from research_assets.clock import midnight
from research_assets.fields import ENTITIES
from research_assets.planning.allocation import WorkGroup, allocate, combine_into_runs
from research_assets.planning.budgets import set_budgets
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
from research_assets.units.partition_status import REPEAT_WITHIN, PartitionStatus
from research_assets.units.periods import is_backfill, period_length


def build_agenda(inputs: AgendaInputs, now: datetime) -> Agenda:
    """Return the runs to start now, by priority and within the remaining quota, and the deferred units."""
    given, canary_runs = inputs, list(_canary_runs(inputs))
    inputs = replace(
        inputs,
        running_requests={**inputs.running_requests, **{(run.study, "videos"): run.requests for run in canary_runs}},
    )
    groups: list[WorkGroup] = []
    deferred: list[DeferredUnits] = []
    for study in inputs.studies:
        for entity in ENTITIES:
            found = list(_candidates(inputs, study, entity, now))
            groups += _work_groups(inputs, study, entity, [one for one in found if isinstance(one, _Candidate)])
            deferred += _merge_deferred(one for one in found if isinstance(one, DeferredUnits))
    startable = [
        group
        for group in groups
        if group.key not in inputs.running_requests and group.key not in inputs.backing_off_until
    ]
    weights = {study.name: study.quota_weight for study in inputs.studies}
    for pool, state in inputs.pools.items():
        reserve = inputs.quota_reserve if pool == "research" else 0
        of_pool = [group for group in startable if group.pool == pool]
        allocate(of_pool, _free_requests(inputs, pool), state.cap, weights, _committed(inputs, pool), reserve)
    runs, without_quota = _fit_to_quota(
        inputs, sorted(combine_into_runs(inputs, startable), key=lambda run: run.priority)
    )
    deferred += without_quota
    deferred += [_deferred(inputs, group) for group in groups if group.units_left]
    budgeted = {pool: _budgeted(given, pool) for pool in inputs.pools}
    return Agenda(tuple(_with_budgets(given, [*canary_runs, *runs], groups, weights)), tuple(deferred), budgeted)


# Candidates: the partitions that can be collected now, and those that have to wait.


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A partition that can be collected now, with the reason."""

    partition: date
    status: PartitionStatus
    reason: RunReason
    recollect: bool = False


def _candidates(
    inputs: AgendaInputs, study: StudySpec, entity: str, now: datetime
) -> Iterator[_Candidate | DeferredUnits]:
    """Yield each partition that can be collected now, newest first, and each that has to wait."""
    statuses = inputs.partition_status.get((study.name, entity), {})
    pool = inputs.pools[BY_ENTITY[entity].pool]
    partitions = reversed(study.days_until(now)) if entity == "videos" else sorted(statuses, reverse=True)
    paused: list[date] = []
    for partition in partitions:
        if not inputs.may_collect(entity, partition):
            continue
        status = statuses.get(partition, PartitionStatus(open_units=1, is_materialized=False))
        if entity == "videos" and study.is_too_fresh(partition, now):
            yield DeferredUnits(study.name, entity, 1, "too_fresh", study.settles_at(partition))
            continue
        if status.waiting_units:
            if status.in_progress and pool.available_at is not None:
                # The next try after the end of a run's budget can be due while the pool has no request left.
                until = max(pool.available_at, status.next_try or pool.available_at)
                paused.append(partition)
                yield DeferredUnits(study.name, entity, status.waiting_units, "quota", until)
            else:
                yield DeferredUnits(study.name, entity, status.waiting_units, "backing_off", status.next_try)
        if status.unconfirmed_units:
            due_at = study.counts_confirmed_at(partition)
            yield DeferredUnits(study.name, entity, status.unconfirmed_units, "unconfirmed", due_at)
        candidate = _candidate_for(study, entity, partition, status, now)
        if candidate is not None:
            yield candidate
    if paused and entity == "videos" and inputs.hits_per_day.get(study.name):
        requests = ceil(inputs.search_cost(study.name, paused).requests)
        yield DeferredUnits(study.name, entity, 0, "quota", _next_available_at(pool), requests)


def _candidate_for(
    study: StudySpec, entity: str, partition: date, status: PartitionStatus, now: datetime
) -> _Candidate | None:
    """Return a partition with the reason for collecting it now; None if there is none."""
    if status.open_units:
        recollect = status.last_complete_at is not None and entity == "videos"
        return _Candidate(partition, status, _open_reason(study, entity, partition, status, now), recollect)
    if status.waiting_units or status.unconfirmed_units:
        return None
    if entity == "videos" and status.last_complete_at is not None:
        due_at = study.reobservation_due_at(partition, now)
        if due_at is not None and status.last_complete_at < due_at:
            return _Candidate(partition, status, "reobserve", recollect=True)
        if study.repeats(partition) and not status.is_repeated and now - status.last_complete_at < REPEAT_WITHIN:
            return _Candidate(partition, status, "repeat", recollect=True)
    if status.is_missing_accounts:
        return _Candidate(partition, status, "missing_accounts")
    return None if status.is_materialized else _Candidate(partition, status, "mark_materialized")


def _open_reason(study: StudySpec, entity: str, partition: date, status: PartitionStatus, now: datetime) -> RunReason:
    """Return the reason for collecting a partition with open units."""
    reason: RunReason
    if ENTITIES[entity].time_axis == "observation":
        # The API returns current values only, so a period cannot be observed after its end.
        reason = "period_ending" if now >= _last_day_begins_at(study, partition) else "period"
    elif status.is_recounted:
        reason = "recounted"
    elif is_backfill(study, entity, partition, now):
        reason = "backfill"
    else:
        reason = "new_comments" if entity == "comments" else "settled"
    if status.in_progress and reason != "period_ending":
        return "resume"
    return "retry" if status.failed_before and not status.is_recounted else reason


def _last_day_begins_at(study: StudySpec, period: date) -> datetime:
    """Return when the last day of a period begins."""
    return midnight(period) + period_length(study) - timedelta(days=1)


def _canary_runs(inputs: AgendaInputs) -> Iterator[PlannedRun]:
    """Yield one run of one request for each study whose canary check is due; its days wait for this short run."""
    due = {
        study: day
        for study, day in inputs.canary_days.items()
        if inputs.may_collect("videos", day)
        and (study, "videos") not in inputs.running_requests
        and (study, "videos") not in inputs.backing_off_until
    }
    for study, day in list(due.items())[: _free_requests(inputs, BY_ENTITY["videos"].pool)]:
        yield PlannedRun(
            study, "videos", (day,), recollect=False, reasons=("canary",), units=1, requests=1, basis="one request each"
        )


# Groups of candidates, with the cost of their first n partitions.


def _work_groups(
    inputs: AgendaInputs, study: StudySpec, entity: str, candidates: Sequence[_Candidate]
) -> Iterator[WorkGroup]:
    """Yield the candidates grouped by reason, in the order of priority."""
    earlier: dict[bool, list[WorkGroup]] = {False: [], True: []}
    for reason in PRIORITY:
        for recollect, others in earlier.items():
            matching = [one for one in candidates if one.reason == reason and one.recollect == recollect]
            if not matching:
                continue
            one_unit = recollect or reason == "missing_accounts"
            group = WorkGroup(
                study=study.name,
                entity=entity,
                pool=BY_ENTITY[entity].pool,
                reason=reason,
                priority=PRIORITY[reason],
                recollect=recollect,
                partitions=tuple(candidate.partition for candidate in matching),
                units=tuple(1 if one_unit else candidate.status.open_units for candidate in matching),
                cost=_cost_function(inputs, study, entity, matching, tuple(others)),
            )
            if reason not in NOT_A_DAY_SEARCH:
                others.append(group)
            yield group


def _cost_function(
    inputs: AgendaInputs, study: StudySpec, entity: str, candidates: Sequence[_Candidate], others: Sequence[WorkGroup]
) -> Callable[[int], Estimate]:
    """Return the cost of the first n candidates as a function of n; days share windows with days taken from others."""
    if candidates[0].reason == "mark_materialized":
        return lambda _: NO_COST
    if candidates[0].reason == "missing_accounts":
        return lambda n: Estimate(-(-n // inputs.window_days), "one request each")
    if entity != "videos":
        return lambda n: sum_estimates(candidate.status.estimate for candidate in candidates[:n])
    days = [candidate.partition for candidate in candidates]

    cache: dict[tuple[int, ...], Estimate] = {}

    def cost(n: int) -> Estimate:
        key = (n, *(group.n_taken for group in others))
        if key not in cache:
            taken = [day for group in others for day in group.partitions[: group.n_taken]]
            total = inputs.search_cost(study.name, [*taken, *days[:n]])
            cache[key] = replace(total, requests=total.requests - inputs.search_cost(study.name, taken).requests)
        return cache[key]

    return cost


# Quota: what is free, what fits, and what remains.


def _free_requests(inputs: AgendaInputs, pool: str) -> int:
    """Return the remaining requests of a pool that are in the budget of no active run."""
    return max(0, inputs.pools[pool].remaining - _budgeted(inputs, pool))


def _budgeted(inputs: AgendaInputs, pool: str) -> int:
    """Return the requests of a pool that active runs may still send."""
    return sum(n for (_, entity), n in inputs.running_requests.items() if BY_ENTITY[entity].pool == pool)


def _committed(inputs: AgendaInputs, pool: str) -> dict[str, int]:
    """Return the requests of a pool by study that were used today or that active runs may still send."""
    committed = dict(inputs.used_today.get(pool, {}))
    for (study, entity), n in inputs.running_requests.items():
        if BY_ENTITY[entity].pool == pool:
            committed[study] = committed.get(study, 0) + n
    return committed


def _with_budgets(
    inputs: AgendaInputs, runs: Sequence[PlannedRun], groups: Sequence[WorkGroup], weights: Mapping[str, float]
) -> list[PlannedRun]:
    """Return the runs, in their order, with their budgets."""
    budgeted: dict[PlannedRun, PlannedRun] = {}
    for pool in inputs.pools:
        of_pool = [run for run in runs if BY_ENTITY[run.entity].pool == pool]
        active = {group.study for group in groups if group.pool == pool and group.key in inputs.running_requests}
        reserve = inputs.quota_reserve if pool == "research" else 0
        with_budgets = set_budgets(
            of_pool, _free_requests(inputs, pool), weights, _committed(inputs, pool), active, reserve
        )
        budgeted |= zip(of_pool, with_budgets, strict=True)
    return [budgeted[run] for run in runs]


def _fit_to_quota(inputs: AgendaInputs, runs: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[DeferredUnits]]:
    """Return the runs that fit together into the free requests, and the units of the others.

    The cost of a group assumes shared windows. Its days may be in several runs, which then need more windows.
    """
    free = {pool: _free_requests(inputs, pool) for pool in inputs.pools}
    fitting, deferred = [], []
    for run in runs:
        pool = BY_ENTITY[run.entity].pool
        if run.requests <= free[pool]:
            free[pool] -= run.requests
            fitting.append(run)
        else:
            until = _next_available_at(inputs.pools[pool])
            deferred.append(DeferredUnits(run.study, run.entity, run.units, "quota", until, run.requests))
    return fitting, deferred


def _deferred(inputs: AgendaInputs, group: WorkGroup) -> DeferredUnits:
    """Return the units of a group that were not taken, with the reason."""
    requests = ceil(group.requests_left)
    if group.key in inputs.running_requests:
        return DeferredUnits(group.study, group.entity, group.units_left, "running", None, requests)
    if group.key in inputs.backing_off_until:
        return DeferredUnits(
            group.study, group.entity, group.units_left, "no_progress", inputs.backing_off_until[group.key], requests
        )
    until = _next_available_at(inputs.pools[group.pool])
    return DeferredUnits(group.study, group.entity, group.units_left, "quota", until, requests)


def _merge_deferred(deferred_units: Iterable[DeferredUnits]) -> list[DeferredUnits]:
    """Return one record for each reason, with the earliest time."""
    by_reason: dict[str, DeferredUnits] = {}
    for deferred in deferred_units:
        earlier = by_reason.get(deferred.reason)
        if earlier is None:
            by_reason[deferred.reason] = deferred
            continue
        by_reason[deferred.reason] = replace(
            deferred,
            units=earlier.units + deferred.units,
            until=min((time for time in (earlier.until, deferred.until) if time), default=None),
            requests=earlier.requests + deferred.requests,
        )
    return list(by_reason.values())


def _next_available_at(pool: PoolState) -> datetime:
    """Return when a pool has requests again; the next midnight (UTC) if it still has some."""
    return pool.available_at or midnight(pool.day + timedelta(days=1))

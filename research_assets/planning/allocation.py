"""Allocation of the free requests of a pool to groups of partitions, and the runs that collect the chosen partitions.

The order: `allocate` takes partitions by priority and by the studies' weights, then `combine_into_runs` combines them
to runs. Both are pure. Not here: which partitions are candidates, and why (see agenda.py); the shares of the studies
(see quota/fair_share.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from math import ceil, inf

from research_assets.planning.types import NOT_A_DAY_SEARCH, PRIORITY, AgendaInputs, PlannedRun, RunReason
from research_assets.quota.fair_share import StudyDemand, fair_shares
from research_assets.units.estimates import Basis, Estimate, sum_estimates

BACKFILL_PRIORITY = PRIORITY["backfill"]
"""The priority of backfill."""


@dataclass(slots=True)
class WorkGroup:
    """Partitions of one entity that are collected for one reason, in their order, and the number of them taken.

    `cost` returns the cost of the first n partitions; it must not fall as n grows. `requests` are the requests of the
    partitions taken. `is_partial` is true if they do not suffice for the last one.
    """

    study: str
    entity: str
    pool: str
    reason: RunReason
    priority: int
    recollect: bool
    partitions: tuple[date, ...]
    units: tuple[int, ...]
    cost: Callable[[int], Estimate]
    n_taken: int = 0
    requests: int = 0
    basis: Basis = "nothing to request"
    is_partial: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Its study and entity."""
        return self.study, self.entity

    @property
    def total_requests(self) -> int:
        """Requests for all of its partitions."""
        return ceil(self.cost(len(self.partitions)).requests)

    @property
    def units_left(self) -> int:
        """Units in partitions that were not taken."""
        return sum(self.units[self.n_taken :])

    @property
    def requests_left(self) -> float:
        """Requests for the partitions that were not taken."""
        return max(0.0, self.cost(len(self.partitions)).requests - self.requests) if self.units_left else 0.0

    def take(self, budget: int, cap: float, *, start_first: bool = False) -> int:
        """Take as many partitions as `budget` more requests allow, and return the requests that this adds.

        A partition that costs more than a day's `cap` never fits, so it is started with the requests that remain. With
        `start_first` the first partition is started that way at any cost.
        """
        if self.is_partial:
            return 0
        before, low, high = self.requests, self.n_taken, len(self.partitions)
        allowed = before + budget
        while low < high:
            middle = (low + high + 1) // 2
            if self.cost(middle).requests <= allowed:
                low = middle
            else:
                high = middle - 1
        cost = self.cost(low)
        if low > self.n_taken:
            self.n_taken, self.requests, self.basis = low, ceil(cost.requests), cost.basis
        remaining = allowed - self.requests
        if remaining > 0 and self.n_taken < len(self.partitions):
            with_next = self.cost(self.n_taken + 1)
            never_fits = with_next.requests - self.cost(self.n_taken).requests > cap
            if (start_first and not self.n_taken) or never_fits:
                self.n_taken, self.requests, self.basis = self.n_taken + 1, allowed, with_next.basis
                self.is_partial = True
        return self.requests - before

    def reset(self) -> None:
        """Take no partition, as at the start."""
        self.n_taken, self.requests, self.basis, self.is_partial = 0, 0, "nothing to request", False


def allocate(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: int,
    weights: Mapping[str, float],
    used: Mapping[str, int],
    reserve: int,
) -> None:
    """Take from the groups of one pool the partitions that fit `budget`, by priority and by the studies' weights.

    `used` are today's requests by study, with those that active runs may still send: a study that used less gets more.
    Backfill must not use the `reserve`. Work of the priority before backfill must not starve it: while backfill waits,
    half of the requests that the most urgent work leaves are kept for it.

    A group may not fit even a full day's quota together with all work of its priority. Its first partition is then
    started with the requests that remain, because it would wait for ever.
    """
    _allocate_by_priority(groups, cap, inf, weights, {}, reserve)
    never_fitting = {id(group) for group in groups if not group.n_taken}
    for group in groups:
        group.reset()
    _allocate_by_priority(groups, budget, cap, weights, used, reserve, never_fitting)


def _allocate_by_priority(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: float,
    weights: Mapping[str, float],
    used: Mapping[str, int],
    reserve: int,
    never_fitting: Set[int] = frozenset(),
) -> None:
    used_by_study = {study: used.get(study, 0) for study in weights}
    for priority in sorted({group.priority for group in groups}):
        matching = [group for group in groups if group.priority == priority]
        allowed = budget
        if priority == BACKFILL_PRIORITY:
            allowed = max(0, budget - reserve)
        elif priority == BACKFILL_PRIORITY - 1:
            backfill = sum(group.total_requests for group in groups if group.priority == BACKFILL_PRIORITY)
            allowed = max(ceil(budget / 2), budget - backfill)
        budget -= _allocate_by_weight(matching, allowed, cap, weights, used_by_study, never_fitting)


def _allocate_by_weight(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: float,
    weights: Mapping[str, float],
    used: dict[str, int],
    never_fitting: Set[int],
) -> int:
    """Take from groups of one priority, add the requests to `used`, and return their number."""
    needed = {study: sum(group.total_requests for group in groups if group.study == study) for study in weights}
    demand = {study: StudyDemand(weight, used[study], needed[study]) for study, weight in weights.items()}
    fair = fair_shares(sum(used.values()) + budget, demand)
    used_before = sum(used.values())
    remaining = budget
    # First each study takes within its share. Then every study may use what the shares left.
    for within_share in (True, False):
        for study in sorted(weights, key=lambda name: (-weights[name], name)):
            allowed = min(remaining, fair[study] - used[study]) if within_share else remaining
            for group in groups:
                if group.study == study:
                    taken = group.take(max(0, allowed), cap, start_first=id(group) in never_fitting)
                    allowed, remaining = allowed - taken, remaining - taken
                    used[study] += taken
    return sum(used.values()) - used_before


def combine_into_runs(inputs: AgendaInputs, groups: Sequence[WorkGroup]) -> Iterator[PlannedRun]:
    """Yield the partitions taken, combined into ranges that one run can collect, with their costs."""
    for study, entity, recollect in dict.fromkeys((group.study, group.entity, group.recollect) for group in groups):
        matching = [
            group for group in groups if (group.study, group.entity, group.recollect) == (study, entity, recollect)
        ]
        taken = {
            partition: (group, units)
            for group in matching
            for partition, units in zip(group.partitions[: group.n_taken], group.units, strict=False)
        }
        complete = _complete_partitions(inputs, study, entity)
        unassigned = {id(group): group.requests for group in matching}
        for partitions in _run_ranges(inputs, study, entity, sorted(taken), complete, recollect):
            in_run = {id(taken[partition][0]): taken[partition][0] for partition in partitions}
            reasons = {group.reason for group in in_run.values()}
            is_partial = any(group.is_partial for group in in_run.values())
            if entity == "videos" and not is_partial and not reasons <= NOT_A_DAY_SEARCH:
                searched = [day for day in partitions if taken[day][0].reason not in NOT_A_DAY_SEARCH]
                requests = ceil(inputs.search_cost(study, searched).requests)
            else:
                requests = 0
                for mark, group in in_run.items():
                    # The runs of a group together have exactly the requests of the group.
                    number = sum(1 for partition in partitions if taken[partition][0] is group)
                    share = min(unassigned[mark], ceil(group.requests * number / group.n_taken))
                    unassigned[mark] -= share
                    requests += share
            yield PlannedRun(
                study=study,
                entity=entity,
                partitions=partitions,
                recollect=recollect,
                reasons=tuple(sorted(reasons, key=lambda reason: (PRIORITY[reason], reason))),
                units=sum(taken[partition][1] for partition in partitions),
                requests=requests,
                basis=sum_estimates(Estimate(0, group.basis) for group in in_run.values()).basis,
                is_partial=is_partial,
            )


def _complete_partitions(inputs: AgendaInputs, study: str, entity: str) -> Set[date]:
    """Return the partitions in which a run would send no request."""
    statuses = inputs.partition_status.get((study, entity), {})
    # Comments have a status only for days whose videos are collected, so they need no complete observation.
    return {
        partition
        for partition, status in statuses.items()
        if (status.last_complete_at is not None or entity == "comments")
        and not status.open_units
        and not status.waiting_units
    }


def _run_ranges(
    inputs: AgendaInputs, study: str, entity: str, days: Sequence[date], complete: Set[date], recollect: bool
) -> Iterator[tuple[date, ...]]:
    """Yield partitions for one run each: consecutive ones; sparse days that share a window; any days of comments.

    A run collects every day from its first to its last one, so all other days between them must be complete.
    """
    specs = {one.name: one for one in inputs.studies}
    current: list[date] = []
    for day in days:
        if current and (day - current[-1]).days > 1:
            skipped = set(specs[study].days_not_sampled(current[-1], day)) if study in specs else set()
            between = [date.fromordinal(n) for n in range(current[-1].toordinal() + 1, day.toordinal())]
            between = [one for one in between if one not in skipped]
            # Days that were not sampled are no partitions, and no search spans them in any case.
            is_apart = (
                entity == "videos"
                and bool(between)
                and (len(between) >= inputs.window_days or inputs.search_cost(study, [current[-1], day]).requests > 1)
            )
            if recollect or is_apart or not set(between) <= complete:
                yield tuple(current)
                current = []
        current.append(day)
    if current:
        yield tuple(current)

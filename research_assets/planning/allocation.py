"""How work of one kind is cut to what fits a pool: by rank, by the studies' weights, partition by partition. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from math import ceil, inf

from research_assets.planning.types import NOT_A_DAY_SEARCH, PRIORITY, AgendaInputs, PlannedRun, RunReason
from research_assets.quota.fair_share import StudyDemand, fair_shares
from research_assets.units.estimates import Basis, Estimate, sum_estimates

# JOINED: """What was chosen, joined to the stretches of partitions that one run can take, with what each will cost. Pure.
#
# Which partitions are worth asking, and how many of them fit, is decided in `agenda.py` and `lots.py`.
# """


BACKFILL_PRIORITY = 2
"""The rank of backfill."""


@dataclass(slots=True)
class WorkGroup:
    """Partitions of one entity that are asked for one reason, in their order, and how many of them were taken.

    `price` gives the cost of the first n; it must not fall as n grows.
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
    basis: Basis = "held"
    is_partial: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Its study and entity."""
        return self.study, self.entity

    @property
    def total_requests(self) -> int:
        """Requests for all of it."""
        return ceil(self.cost(len(self.partitions)).requests)

    @property
    def units_left(self) -> int:
        """Units in partitions that were not taken."""
        return sum(self.units[self.n_taken :])

    @property
    def requests_left(self) -> float:
        """Requests for what was not taken."""
        return max(0.0, self.cost(len(self.partitions)).requests - self.requests) if self.units_left else 0.0

    def take(self, budget: int, cap: float, *, begin: bool = False) -> int:
        """Take as many partitions as `budget` more requests allow; gives the requests that this adds.

        A partition that costs more than a whole day's `cap` is begun with what there is: it can never fit. With `begin`
        the first is begun that way whatever it costs.
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
        price = self.cost(low)
        if low > self.n_taken:
            self.n_taken, self.requests, self.basis = low, ceil(price.requests), price.basis
        left = allowed - self.requests
        if left > 0 and self.n_taken < len(self.partitions):
            more = self.cost(self.n_taken + 1)
            if (begin and not self.n_taken) or more.requests - self.cost(self.n_taken).requests > cap:
                self.n_taken, self.requests, self.basis, self.is_partial = self.n_taken + 1, allowed, more.basis, True
        return self.requests - before

    def reset(self) -> None:
        """Take nothing, as at first."""
        self.n_taken, self.requests, self.basis, self.is_partial = 0, 0, "held", False


def allocate(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: int,
    weights: Mapping[str, float],
    used: Mapping[str, int],
    reserve: int,
) -> None:
    """Take from the lots of one pool what fits `budget`, rank by rank and by the studies' weights.

    `used` are today's requests by study: whoever had little gets more. `reserve` is closed to backfill. Backfill is
    never starved by what recurs (rank 1): while it waits, half of what is left after the most urgent is its own.

    What would not fit a whole day's quota either, beside all that is wanted just as urgently, is begun with what there
    is: it would wait for ever.
    """
    _allocate_by_priority(groups, cap, inf, weights, {}, reserve)
    stuck = {id(group) for group in groups if not group.n_taken}
    for group in groups:
        group.reset()
    _allocate_by_priority(groups, budget, cap, weights, used, reserve, stuck)


def _allocate_by_priority(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: float,
    weights: Mapping[str, float],
    used: Mapping[str, int],
    reserve: int,
    stuck: Set[int] = frozenset(),
) -> None:
    had = {study: used.get(study, 0) for study in weights}
    for rank in sorted({group.priority for group in groups}):
        mine = [group for group in groups if group.priority == rank]
        allowed = budget
        if rank == BACKFILL_PRIORITY:
            allowed = max(0, budget - reserve)
        elif rank == BACKFILL_PRIORITY - 1:
            waits = sum(group.total_requests for group in groups if group.priority == BACKFILL_PRIORITY)
            allowed = max(ceil(budget / 2), budget - waits)
        budget -= _allocate_by_weight(mine, allowed, cap, weights, had, stuck)


def _allocate_by_weight(
    groups: Sequence[WorkGroup],
    budget: int,
    cap: float,
    weights: Mapping[str, float],
    had: dict[str, int],
    stuck: Set[int],
) -> int:
    """Take from lots of one rank; gives the requests taken, which are added to `had`."""
    wanted = {study: sum(group.total_requests for group in groups if group.study == study) for study in weights}
    claims = {study: StudyDemand(weight, had[study], wanted[study]) for study, weight in weights.items()}
    fair = fair_shares(sum(had.values()) + budget, claims)
    begun = dict(had)
    left = budget
    # First each study within its share, then whoever can still use what the shares left over.
    for within_share in (True, False):
        for study in sorted(weights, key=lambda name: (-weights[name], name)):
            room = min(left, fair[study] - had[study]) if within_share else left
            for group in groups:
                if group.study == study:
                    took = group.take(max(0, room), cap, begin=id(group) in stuck)
                    room, left = room - took, left - took
                    had[study] += took
    return sum(had.values()) - sum(begun.values())


def combine_into_runs(inputs: AgendaInputs, groups: Sequence[WorkGroup]) -> Iterator[PlannedRun]:
    """What was chosen, joined to stretches of partitions that one run can take."""
    for study, entity, recollect in dict.fromkeys((group.study, group.entity, group.recollect) for group in groups):
        mine = [group for group in groups if (group.study, group.entity, group.recollect) == (study, entity, recollect)]
        chosen = {
            partition: (group, units)
            for group in mine
            for partition, units in zip(group.partitions[: group.n_taken], group.units, strict=False)
        }
        known = inputs.partition_status.get((study, entity), {})
        # Comments are known for days whose videos are held; without a look there is nothing to ask.
        looked = {day for day, one in known.items() if one.last_complete_at is not None or entity == "comments"}
        held = {day for day in looked if not known[day].open_units and not known[day].waiting_units}
        left = {id(group): group.requests for group in mine}
        for stretch in _run_ranges(inputs, study, entity, sorted(chosen), held, recollect):
            lots_of = {id(chosen[partition][0]): chosen[partition][0] for partition in stretch}
            part = any(group.is_partial for group in lots_of.values())
            if entity == "videos" and not part and not {group.reason for group in lots_of.values()} <= NOT_A_DAY_SEARCH:
                asked = [day for day in stretch if chosen[day][0].reason not in NOT_A_DAY_SEARCH]
                requests = ceil(inputs.search_cost(study, asked).requests)
            else:
                requests = 0
                for mark, group in lots_of.items():
                    # Each lot's requests are shared out over its stretches without losing or gaining one.
                    number = sum(1 for partition in stretch if chosen[partition][0] is group)
                    share = min(left[mark], ceil(group.requests * number / group.n_taken))
                    left[mark] -= share
                    requests += share
            yield PlannedRun(
                study=study,
                entity=entity,
                partitions=stretch,
                recollect=recollect,
                reasons=tuple(
                    sorted({group.reason for group in lots_of.values()}, key=lambda why: (PRIORITY[why], why))
                ),
                units=sum(chosen[partition][1] for partition in stretch),
                requests=requests,
                basis=sum_estimates(Estimate(0, group.basis) for group in lots_of.values()).basis,
                is_partial=part,
            )


def _run_ranges(
    inputs: AgendaInputs, study: str, entity: str, days: Sequence[date], held: Set[date], recollect: bool
) -> Iterator[tuple[date, ...]]:
    """Partitions that one run can take: neighbours; days that are sparse enough to share a window; any for comments.

    A run takes every day from its first to its last, so between them may only lie days that are held.
    """
    stretch: list[date] = []
    for day in days:
        if stretch and (day - stretch[-1]).days > 1:
            between = [date.fromordinal(n) for n in range(stretch[-1].toordinal() + 1, day.toordinal())]
            apart = entity == "videos" and (
                len(between) >= inputs.window_days or inputs.search_cost(study, [stretch[-1], day]).requests > 1
            )
            if recollect or apart or not set(between) <= held:
                yield tuple(stretch)
                stretch = []
        stretch.append(day)
    if stretch:
        yield tuple(stretch)

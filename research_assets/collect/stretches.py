"""What was chosen, joined to the stretches of partitions that one run can take, with what each will cost. Pure.

Which partitions are worth asking, and how many of them fit, is decided in `agenda.py` and `lots.py`.
"""

from collections.abc import Iterator, Sequence, Set
from datetime import date
from math import ceil

from research_assets.collect.agenda_model import NOT_A_DAY_SEARCH, PRIORITY, AgendaInputs, PlannedRun
from research_assets.collect.estimate import Estimate, sum_estimates
from research_assets.collect.lots import WorkGroup


def combine_into_runs(facts: AgendaInputs, lots: Sequence[WorkGroup]) -> Iterator[PlannedRun]:
    """What was chosen, joined to stretches of partitions that one run can take."""
    for study, entity, again in dict.fromkeys((lot.study, lot.entity, lot.recollect) for lot in lots):
        mine = [lot for lot in lots if (lot.study, lot.entity, lot.recollect) == (study, entity, again)]
        chosen = {
            partition: (lot, units)
            for lot in mine
            for partition, units in zip(lot.partitions[: lot.n_taken], lot.units, strict=False)
        }
        known = facts.partition_status.get((study, entity), {})
        # Comments are known for days whose videos are held; without a look there is nothing to ask.
        looked = {day for day, one in known.items() if one.last_complete_at is not None or entity == "comments"}
        held = {day for day in looked if not known[day].open_units and not known[day].waiting_units}
        left = {id(lot): lot.requests for lot in mine}
        for stretch in _run_ranges(facts, study, entity, sorted(chosen), held, again):
            lots_of = {id(chosen[partition][0]): chosen[partition][0] for partition in stretch}
            part = any(lot.is_partial for lot in lots_of.values())
            if entity == "videos" and not part and not {lot.reason for lot in lots_of.values()} <= NOT_A_DAY_SEARCH:
                asked = [day for day in stretch if chosen[day][0].reason not in NOT_A_DAY_SEARCH]
                requests = ceil(facts.search_cost(study, asked).requests)
            else:
                requests = 0
                for mark, lot in lots_of.items():
                    # Each lot's requests are shared out over its stretches without losing or gaining one.
                    number = sum(1 for partition in stretch if chosen[partition][0] is lot)
                    share = min(left[mark], ceil(lot.requests * number / lot.n_taken))
                    left[mark] -= share
                    requests += share
            yield PlannedRun(
                study=study,
                entity=entity,
                partitions=stretch,
                recollect=again,
                reasons=tuple(sorted({lot.reason for lot in lots_of.values()}, key=lambda why: (PRIORITY[why], why))),
                units=sum(chosen[partition][1] for partition in stretch),
                requests=requests,
                basis=sum_estimates(Estimate(0, lot.basis) for lot in lots_of.values()).basis,
                is_partial=part,
            )


def _run_ranges(
    facts: AgendaInputs, study: str, entity: str, days: Sequence[date], held: Set[date], again: bool
) -> Iterator[tuple[date, ...]]:
    """Partitions that one run can take: neighbours; days that are sparse enough to share a window; any for comments.

    A run takes every day from its first to its last, so between them may only lie days that are held.
    """
    stretch: list[date] = []
    for day in days:
        if stretch and (day - stretch[-1]).days > 1:
            between = [date.fromordinal(n) for n in range(stretch[-1].toordinal() + 1, day.toordinal())]
            apart = entity == "videos" and (
                len(between) >= facts.window_days or facts.search_cost(study, [stretch[-1], day]).requests > 1
            )
            if again or apart or not set(between) <= held:
                yield tuple(stretch)
                stretch = []
        stretch.append(day)
    if stretch:
        yield tuple(stretch)

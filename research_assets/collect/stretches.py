"""What was chosen, joined to the stretches of partitions that one run can take, with what each will cost. Pure.

Which partitions are worth asking, and how many of them fit, is decided in `agenda.py` and `lots.py`.
"""

from collections.abc import Iterator, Sequence, Set
from datetime import date
from math import ceil

from research_assets.collect.agenda_model import BESIDE_THE_SEARCH, RANK, Facts, Item
from research_assets.collect.estimate import Estimate, sum_estimates
from research_assets.collect.lots import Lot


def joined(facts: Facts, lots: Sequence[Lot]) -> Iterator[Item]:
    """What was chosen, joined to stretches of partitions that one run can take."""
    for study, entity, again in dict.fromkeys((lot.study, lot.entity, lot.again) for lot in lots):
        mine = [lot for lot in lots if (lot.study, lot.entity, lot.again) == (study, entity, again)]
        chosen = {
            partition: (lot, units)
            for lot in mine
            for partition, units in zip(lot.partitions[: lot.taken], lot.units, strict=False)
        }
        known = facts.standings.get((study, entity), {})
        # Comments are known for days whose videos are held; without a look there is nothing to ask.
        looked = {day for day, one in known.items() if one.looked_at is not None or entity == "comments"}
        held = {day for day in looked if not known[day].open and not known[day].resting}
        left = {id(lot): lot.requests for lot in mine}
        for stretch in _stretches(facts, study, entity, sorted(chosen), held, again):
            lots_of = {id(chosen[partition][0]): chosen[partition][0] for partition in stretch}
            part = any(lot.part for lot in lots_of.values())
            if entity == "videos" and not part and not {lot.why for lot in lots_of.values()} <= BESIDE_THE_SEARCH:
                asked = [day for day in stretch if chosen[day][0].why not in BESIDE_THE_SEARCH]
                requests = ceil(facts.search_cost(study, asked).requests)
            else:
                requests = 0
                for mark, lot in lots_of.items():
                    # Each lot's requests are shared out over its stretches without losing or gaining one.
                    number = sum(1 for partition in stretch if chosen[partition][0] is lot)
                    share = min(left[mark], ceil(lot.requests * number / lot.taken))
                    left[mark] -= share
                    requests += share
            yield Item(
                study=study,
                entity=entity,
                partitions=stretch,
                again=again,
                why=tuple(sorted({lot.why for lot in lots_of.values()}, key=lambda why: (RANK[why], why))),
                units=sum(chosen[partition][1] for partition in stretch),
                requests=requests,
                basis=sum_estimates(Estimate(0, lot.basis) for lot in lots_of.values()).basis,
                part=part,
            )


def _stretches(
    facts: Facts, study: str, entity: str, days: Sequence[date], held: Set[date], again: bool
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

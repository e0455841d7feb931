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
from research_assets.collect.agenda_model import BESIDE_THE_SEARCH, RANK, Agenda, Facts, Item, Standing, Waiting, Why
from research_assets.collect.estimate import NO_COST, Estimate, sum_estimates
from research_assets.collect.lots import Lot, cut
from research_assets.collect.model import Ask, is_backfill
from research_assets.collect.observing import period_length
from research_assets.collect.spec import StudySpec
from research_assets.collect.stretches import joined
from research_assets.fields import ENTITIES
from research_assets.quota import PoolState
from research_assets.tiktok.endpoints import BY_ENTITY


def due_at(day: date, age: int) -> datetime:
    """When a day is `age` days old: the day itself has to be over first."""
    return midnight(day) + timedelta(days=1 + age)


def decide(facts: Facts, now: datetime) -> Agenda:
    """What to ask now, in order, within what the pools have left; and what waits until when."""
    canaries = list(_canaries(facts))
    facts = replace(facts, running={**facts.running, **{(item.study, "videos"): item.requests for item in canaries}})
    lots: list[Lot] = []
    waiting: list[Waiting] = []
    for study in facts.studies:
        for entity in ENTITIES:
            wishes = list(_wishes(facts, study, entity, now))
            lots += _lots(facts, study, entity, [wish for wish in wishes if isinstance(wish, _Wish)])
            waiting += _summed(wish for wish in wishes if isinstance(wish, Waiting))
    free = [lot for lot in lots if lot.key not in facts.running and lot.key not in facts.halted]
    wants = {
        (study.name, pool): _want(facts, [lot for lot in lots if (lot.study, lot.pool) == (study.name, pool)], pool)
        for study in facts.studies
        for pool in facts.pools
    }
    weights = {study.name: study.quota_weight for study in facts.studies}
    for pool, state in facts.pools.items():
        reserve = facts.due_reserve if pool == "research" else 0
        mine = [lot for lot in free if lot.pool == pool]
        cut(mine, _free(facts, pool), state.cap, weights, facts.used.get(pool, {}), reserve)
    items, over = _trimmed(facts, sorted(joined(facts, free), key=lambda item: item.rank))
    waiting += over
    for lot in lots:
        if lot.units_left:
            waiting.append(_waits(facts, lot))
    return Agenda((*canaries, *items), tuple(waiting), wants)


def _canaries(facts: Facts) -> Iterator[Item]:
    """One request for each study that is to look for known videos; its days wait until it has, which is not long."""
    free = _free(facts, BY_ENTITY["videos"].pool)
    due = {
        study: day
        for study, day in facts.canaries.items()
        if (study, "videos") not in facts.running and (study, "videos") not in facts.halted
    }
    for study, day in list(due.items())[:free]:
        yield Item(study, "videos", (day,), again=False, why=("canary",), units=1, requests=1, basis="one each")


def _free(facts: Facts, pool: str) -> int:
    """Requests of a pool that nobody has and no active run is expected to need."""
    expected = sum(n for (_, entity), n in facts.running.items() if BY_ENTITY[entity].pool == pool)
    return max(0, facts.pools[pool].remaining - expected)


def _trimmed(facts: Facts, items: Sequence[Item]) -> tuple[list[Item], list[Waiting]]:
    """The items that fit together: days that lie apart may cost more than the windows that they could have shared."""
    free = {pool: _free(facts, pool) for pool in facts.pools}
    kept, over = [], []
    for item in items:
        pool = BY_ENTITY[item.entity].pool
        if item.requests <= free[pool]:
            free[pool] -= item.requests
            kept.append(item)
        else:
            opens = _opens(facts.pools[pool])
            over.append(Waiting(item.study, item.entity, item.units, "quota", opens, item.requests))
    return kept, over


@dataclass(frozen=True, slots=True)
class _Wish:
    partition: date
    standing: Standing
    why: Why
    again: bool = False


def _wishes(facts: Facts, study: StudySpec, entity: str, now: datetime) -> Iterator[_Wish | Waiting]:
    """Each partition that could be asked now, newest first, and each that has to wait."""
    known = facts.standings.get((study.name, entity), {})
    partitions = _days(study, now) if entity == "videos" else sorted(known, reverse=True)
    paused: list[date] = []
    for partition in partitions:
        standing = known.get(partition, Standing(open=1, shown=False))
        if entity == "videos" and now < (settles := due_at(partition, study.settle_days)):
            yield Waiting(study.name, entity, 1, "fresh", settles)
            continue
        if standing.resting:
            opens = facts.pools[BY_ENTITY[entity].pool].available_at
            if standing.begun and opens is not None:
                # A pause within a share ends before the day does, but that is of no use while the pool is shut.
                wakes = max(opens, standing.wakes or opens)
                paused.append(partition)
                yield Waiting(study.name, entity, standing.resting, "quota", wakes)
            else:
                yield Waiting(study.name, entity, standing.resting, "rests", standing.wakes)
        wish = _wish(study, entity, partition, standing, now)
        if wish is not None:
            yield wish
    if paused and entity == "videos" and facts.density.get(study.name):
        requests = ceil(facts.search_cost(study.name, paused).requests)
        yield Waiting(study.name, entity, 0, "quota", _opens(facts.pools[BY_ENTITY[entity].pool]), requests)


def _wish(study: StudySpec, entity: str, partition: date, standing: Standing, now: datetime) -> _Wish | None:
    """Why a partition is worth asking now, if it is."""
    if standing.open:
        late = is_backfill(Ask(study, entity, (partition,)), partition, now)
        fresh: Why = "new" if entity == "comments" else "settled"
        if ENTITIES[entity].time_axis == "observation":
            # What is not seen while the period runs can never be seen.
            fresh = "last_day" if now >= _last_day(study, partition) else "period"
        why: Why = "backfill" if late else fresh
        if standing.begun and why != "last_day":
            why = "goes_on"
        elif standing.tried:
            why = "retry"
        return _Wish(partition, standing, why, again=standing.looked_at is not None and entity == "videos")
    if standing.resting:
        return None
    if entity == "videos" and standing.looked_at is not None:
        ages = [age for age in study.reobserve_days if due_at(partition, age) <= now]
        if ages and standing.looked_at < due_at(partition, max(ages)):
            return _Wish(partition, standing, "reobserve", again=True)
    if standing.lacks:
        return _Wish(partition, standing, "accounts")
    return None if standing.shown else _Wish(partition, standing, "show")


def _last_day(study: StudySpec, period: date) -> datetime:
    """When the last day of a period begins."""
    return midnight(period) + period_length(study) - timedelta(days=1)


def _days(study: StudySpec, now: datetime) -> list[date]:
    """The days of a study up to today, newest first."""
    last = min(study.end or now.date(), now.date())
    return [date.fromordinal(number) for number in range(last.toordinal(), study.start.toordinal() - 1, -1)]


def _lots(facts: Facts, study: StudySpec, entity: str, wishes: Sequence[_Wish]) -> Iterator[Lot]:
    """Wishes of one kind together, each with what its first so many partitions cost."""
    beside: dict[bool, list[Lot]] = {False: [], True: []}
    for why in RANK:
        for again, others in beside.items():
            mine = [wish for wish in wishes if wish.why == why and wish.again == again]
            if not mine:
                continue
            lot = Lot(
                study=study.name,
                entity=entity,
                pool=BY_ENTITY[entity].pool,
                why=why,
                rank=RANK[why],
                again=again,
                partitions=tuple(wish.partition for wish in mine),
                units=tuple(1 if again or why == "accounts" else wish.standing.open for wish in mine),
                price=_price(facts, study, entity, mine, tuple(others)),
            )
            if why not in BESIDE_THE_SEARCH:
                others.append(lot)
            yield lot


def _price(
    facts: Facts, study: StudySpec, entity: str, wishes: Sequence[_Wish], others: Sequence[Lot]
) -> Callable[[int], Estimate]:
    """What the first n partitions of some wishes cost; days share windows with those taken from `others`."""
    if wishes[0].why == "show":
        return lambda _: NO_COST
    if wishes[0].why == "accounts":
        return lambda n: Estimate(-(-n // facts.window_days), "one each")
    if entity != "videos":
        return lambda n: sum_estimates(wish.standing.estimate for wish in wishes[:n])
    days = [wish.partition for wish in wishes]

    told: dict[tuple[int, ...], Estimate] = {}

    def price(n: int) -> Estimate:
        state = (n, *(lot.taken for lot in others))
        if state not in told:
            beside = [day for lot in others for day in lot.partitions[: lot.taken]]
            whole = facts.search_cost(study.name, [*beside, *days[:n]])
            told[state] = replace(whole, requests=whole.requests - facts.search_cost(study.name, beside).requests)
        return told[state]

    return price


def _want(facts: Facts, lots: Sequence[Lot], pool: str) -> int:
    """What a study wants of a pool; of unknown size it may be all of it."""
    whole = sum_estimates(lot.price(len(lot.partitions)) for lot in lots if lot.key not in facts.halted)
    cap = facts.pools[pool].cap
    return cap if whole.basis == "nothing known" else min(cap, ceil(whole.requests))


def _summed(waits: Iterable[Waiting]) -> list[Waiting]:
    """One line for each reason; the earliest moment speaks."""
    by_reason: dict[str, Waiting] = {}
    for wait in waits:
        old = by_reason.get(wait.why)
        if old is None:
            by_reason[wait.why] = wait
            continue
        moments = [moment for moment in (old.until, wait.until) if moment]
        by_reason[wait.why] = Waiting(
            wait.study,
            wait.entity,
            old.units + wait.units,
            wait.why,
            min(moments, default=None),
            old.requests + wait.requests,
        )
    return list(by_reason.values())


def _waits(facts: Facts, lot: Lot) -> Waiting:
    """Why what is left of a lot is not asked now."""
    requests = ceil(lot.requests_left)
    if lot.key in facts.running:
        return Waiting(lot.study, lot.entity, lot.units_left, "running", None, requests)
    if lot.key in facts.halted:
        return Waiting(lot.study, lot.entity, lot.units_left, "in vain", facts.halted[lot.key], requests)
    return Waiting(lot.study, lot.entity, lot.units_left, "quota", _opens(facts.pools[lot.pool]), requests)


def _opens(pool: PoolState) -> datetime:
    """When a pool has requests again."""
    return pool.available_at or midnight(pool.day + timedelta(days=1))

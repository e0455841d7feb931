"""`collect`: partitions of an entity in, finished partitions out as they come. Picks who does the work, and no more."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import date, datetime

from research_assets.captures import list_open_journals
from research_assets.collect.accounts import days_missing_accounts
from research_assets.collect.coverage import SETTLED, UnitStatus, read_unit_status
from research_assets.collect.days import finished, too_fresh
from research_assets.collect.lists import Partition, end_past_periods
from research_assets.collect.model import Ask, Finished, Meter, Paused, Tools, side_by_side
from research_assets.collect.observing import current_period
from research_assets.collect.publish import catch_up
from research_assets.collect.roll_call import call
from research_assets.collect.search import Search
from research_assets.collect.send import Courier
from research_assets.collect.sources import Sources
from research_assets.collect.spec import StudySpec
from research_assets.fields import ENTITIES
from research_assets.locks import lock_partitions
from research_assets.tiktok.endpoints import BY_ENTITY

PARTITIONS_AT_ONCE = 4
"""Partitions of lists that are open at a time; what is in flight is bounded for all of them together."""


class PastObservation(ValueError):
    """An observation was asked for a period that is not the running one: the API knows only now."""


def refuse_past(study: StudySpec, entity: str, partition: date, now: datetime) -> None:
    """Raise PastObservation if an observed entity is asked for a period other than the running one."""
    if ENTITIES[entity].time_axis != "observation":
        return
    running = current_period(study, now)
    if partition != running:
        when = "is over" if partition < running else "has not begun"
        raise PastObservation(
            f"{study.name}/{entity} cannot be collected for {partition}: that period {when}, and the API knows "
            f"{entity} only as they are now. Nothing was asked. Materialize the running period, {running}."
        )


async def collect(ask: Ask, tools: Tools) -> AsyncIterator[Finished | Paused]:
    """Collect partitions, giving each as soon as it is known and its Parquet is published; a pause comes last.

    What is held is not asked again and comes back at once with `held`. Raises PastObservation, Busy (another process
    collects a partition), and errors that are final for all.
    """
    study, now = ask.study, tools.clock.now()
    for partition in ask.partitions:
        refuse_past(study, ask.entity, partition, now)
    settings = tools.settings
    catch_up(settings.captures, settings.raw, ask.entity, study.name)
    async with aclosing(_videos(ask, tools) if ask.entity == "videos" else _lists(ask, tools)) as results:
        async for result in results:
            yield result


async def _videos(ask: Ask, tools: Tools) -> AsyncGenerator[Finished | Paused, None]:
    settings, now = tools.settings, tools.clock.now()
    records = read_unit_status(settings.raw, "videos", study=ask.study.name, captures=settings.captures)
    held = {record.attempt.partition: record for record in records if record.attempt.unit_kind == "day"}
    if ask.canary:
        for day in ask.partitions:
            async for result in call(ask, tools, day, records):
                yield result
        return
    part = days_missing_accounts(ask.study.query, records, now, retry=ask.retry)
    missing = []
    for day in sorted(set(ask.partitions)):
        known = held.get(day)
        fresh = too_fresh(ask.study, day, now)
        if fresh:
            yield fresh
        elif known and day not in part and _is_held(ask, known, now):
            yield finished(known.attempt, held=True)
        else:
            missing.append(day)
    if missing or list_open_journals(settings.captures, "videos", ask.study.name):
        async with aclosing(Search(ask, tools, records).run(missing)) as results:
            async for result in results:
                yield result


def _is_held(ask: Ask, known: UnitStatus, now: datetime) -> bool:
    """Whether a day is left as it is: it is complete, or was given up for now and its next try has not come."""
    verdict = known.attempt
    if verdict.state in SETTLED:
        return not ask.again
    if verdict.state not in ("quarantined", "suspicious") or ask.retry:
        return False
    return verdict.next_try is not None and verdict.next_try > now


async def _lists(ask: Ask, tools: Tools) -> AsyncGenerator[Finished | Paused, None]:
    settings, study, pool = tools.settings, ask.study, BY_ENTITY[ask.entity].pool
    with lock_partitions(settings.state, study.name, ask.entity, ask.partitions):
        courier = Courier(
            tools.client, tools.ledger, tools.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        meter, sources = Meter(ask, tools.progress), Sources(ask, tools)
        if sources.observed:
            end_past_periods(ask, tools)
        tools.ledger.declare_demand(study.name, study.quota_weight, sources.estimate(), pool=pool)
        pauses: list[Paused] = []

        async def work(partition: date) -> Finished | Paused:
            unready = sources.unready(partition)
            if unready:
                return Finished(partition=partition, state="not_asked", units={"not_asked": 1}, reason=unready)
            held, elsewhere = sources.held(partition), sources.elsewhere(partition)
            return await Partition(ask, tools, courier, meter, partition, held, elsewhere).run(
                sources.targets(partition)
            )

        left = set(ask.partitions)
        # The newest first: a reserve of the quota is for them.
        jobs = deque(sorted(left, reverse=True))
        async with aclosing(side_by_side(jobs, work, PARTITIONS_AT_ONCE, lambda: not pauses)) as results:
            async for result in results:
                if isinstance(result, Paused):
                    pauses.append(result)
                else:
                    left.discard(result.partition)
                    yield result
    if pauses:
        yield replace(pauses[0], left=tuple(sorted(left)))
    else:
        tools.ledger.declare_demand(study.name, study.quota_weight, 0, pool=pool)

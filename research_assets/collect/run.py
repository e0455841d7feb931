"""`collect`: partitions of an entity in, finished partitions out as they come. Picks who does the work, and no more."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import date, datetime

from research_assets.clock import week_of
from research_assets.collect.coverage import SETTLED, Held, read_held
from research_assets.collect.lists import Partition
from research_assets.collect.model import Ask, Finished, Meter, Paused, Tools, side_by_side
from research_assets.collect.publish import catch_up
from research_assets.collect.search import Search, too_fresh
from research_assets.collect.send import Courier
from research_assets.collect.spec import StudySpec
from research_assets.collect.targets import Target, account_targets, video_targets
from research_assets.fields import ENTITIES

PARTITIONS_AT_ONCE = 4
"""Partitions of lists that are open at a time; what is in flight is bounded for all of them together."""


class PastObservation(ValueError):
    """An observation was asked for a period that is not the running one: the API knows only now."""


def refuse_past(study: StudySpec, entity: str, partition: date, now: datetime) -> None:
    """Raise PastObservation if an observed entity is asked for a period other than the running one."""
    if ENTITIES[entity].clock != "observation":
        return
    today = now.date()
    running = today if study.observe == "daily" else week_of(today)
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
    runner = _videos if ask.entity == "videos" else _lists
    async for result in runner(ask, tools):
        yield result


async def _videos(ask: Ask, tools: Tools) -> AsyncIterator[Finished | Paused]:
    now = tools.clock.now()
    records = read_held(tools.settings.raw, "videos", study=ask.study.name)
    held = {record.verdict.partition: record for record in records}
    missing = []
    for day in sorted(set(ask.partitions)):
        known = held.get(day)
        fresh = too_fresh(ask.study, day, now)
        if fresh:
            yield fresh
        elif (known and not ask.again and known.verdict.state in SETTLED) or (known and _resting(ask, known, now)):
            yield _already(known)
        else:
            missing.append(day)
    if missing:
        async for result in Search(ask, tools, held).run(missing):
            yield result


def _resting(ask: Ask, known: Held, now: datetime) -> bool:
    """Whether a unit that was given up for now is left alone until its next try."""
    verdict = known.verdict
    if verdict.state not in ("quarantined", "suspicious") or ask.retry:
        return False
    return verdict.next_try is not None and verdict.next_try > now


def _already(known: Held) -> Finished:
    verdict = known.verdict
    return Finished(
        partition=verdict.partition,
        state=verdict.state,
        asked=verdict.asked,
        offered=verdict.offered,
        kept=verdict.kept,
        requests=verdict.requests,
        units={verdict.state: 1},
        reason=verdict.reason,
        next_try=verdict.next_try,
        held=True,
    )


async def _lists(ask: Ask, tools: Tools) -> AsyncIterator[Finished | Paused]:
    settings, study = tools.settings, ask.study
    observed = ENTITIES[ask.entity].clock == "observation"
    courier = Courier(tools.client, tools.ledger, tools.clock, rate=settings.rate, concurrency=settings.concurrency)
    meter = Meter(ask, tools.progress)
    # Accounts are known across studies and periods; comments belong to their own day.
    records = (
        read_held(settings.raw, ask.entity)
        if observed
        else read_held(settings.raw, ask.entity, study=study.name, partitions=ask.partitions)
    )
    pauses: list[Paused] = []

    async def work(partition: date) -> Finished | Paused:
        unready = _unready(ask, tools, partition)
        if unready:
            return unready
        own = [r for r in records if r.study == study.name and r.verdict.partition == partition]
        held = {record.verdict.unit: record for record in own}
        elsewhere = _elsewhere(ask, records, partition, tools.clock.now()) if observed else {}
        return await Partition(ask, tools, courier, meter, partition, held, elsewhere).run(
            _targets(ask, tools, partition)
        )

    left = set(ask.partitions)
    async for result in side_by_side(deque(sorted(left)), work, PARTITIONS_AT_ONCE, lambda: not pauses):
        if isinstance(result, Paused):
            pauses.append(result)
        else:
            left.discard(result.partition)
            yield result
    if pauses:
        yield replace(pauses[0], left=tuple(sorted(left)))


def _targets(ask: Ask, tools: Tools, partition: date) -> list[Target]:
    if ask.entity == "comments":
        return video_targets(tools.settings.raw, ask.study, partition)
    return account_targets(tools.settings.raw, ask.study, ask.entity)


def _unready(ask: Ask, tools: Tools, partition: date) -> Finished | None:
    """Comments follow a day's videos, and authors follow the videos: without these nothing can be called complete."""
    study = ask.study
    if ask.entity == "comments":
        records = read_held(tools.settings.raw, "videos", study=study.name, partitions=[partition])
        if records and records[0].verdict.state == "complete":
            return None
        state = records[0].verdict.state if records else "not_asked"
        reason = f"The day's videos are {state}; its comments follow once they are complete."
    elif ask.entity == "users" and study.users.who in ("authors", "top"):
        if any(
            record.verdict.state == "complete" for record in read_held(tools.settings.raw, "videos", study=study.name)
        ):
            return None
        reason = "No day of videos is held yet; its authors follow once one is."
    else:
        return None
    return Finished(partition=partition, state="not_asked", units={"not_asked": 1}, reason=reason)


def _elsewhere(ask: Ask, records: Iterable[Held], partition: date, now: datetime) -> dict[str, Held]:
    """What makes a request needless for an observed account: another study asked it, or it was refused not long ago."""
    useful: dict[str, Held] = {}
    for record in records:
        verdict = record.verdict
        same_period = verdict.partition == partition and record.study != ask.study.name and verdict.state == "complete"
        refused = verdict.state in ("refused", "missing") and verdict.next_try is not None and verdict.next_try > now
        if same_period or (refused and not ask.retry and verdict.unit not in useful):
            useful[verdict.unit] = record
    return useful

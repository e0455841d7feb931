"""Entry point of the collector: `collect` takes partitions of an entity and yields their results.

Not here: the work itself (see search/run.py for videos, lists/run.py for everything else).
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date, datetime

from research_assets.collect.lists.inputs import ListInputs
from research_assets.collect.lists.missing_accounts import follow_missing_accounts
from research_assets.collect.lists.other_periods import results_of_other_periods
from research_assets.collect.lists.run import ListPartitionRun, close_past_periods
from research_assets.collect.publish import recover_unpublished
from research_assets.collect.search.canary import recheck_known_videos
from research_assets.collect.search.run import VideoSearch
from research_assets.collect.session import RunState
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    result_from_attempt,
    run_concurrently,
    too_fresh_result,
)
from research_assets.fields import ENTITIES
from research_assets.storage.captures import DamagedCapture, days_of, list_open_journals
from research_assets.storage.lock_errors import LocksLost
from research_assets.storage.locks import lock_partitions
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.study.left_out import describe_left_out, leave_out_accounts
from research_assets.study.provenance import ProvenanceError, record_collection
from research_assets.study.pseudonymous import require_pseudonyms
from research_assets.study.spec import StudySpec
from research_assets.text import safe_logger
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.coverage import SETTLED, UnitStatus, count_held, is_waiting, read_unit_status
from research_assets.units.usernames import days_missing_accounts

_LOGGER = safe_logger(__name__)

NOT_SAMPLED = "The day is not in the study's sample of days (key days of the study file). No request was sent."
"""Reason of a day that was not drawn."""

MAX_CONCURRENT_PARTITIONS = 4
"""List partitions that are open at a time. The limit on concurrent requests applies to all of them together."""


async def collect(task: CollectionTask, context: CollectorContext) -> AsyncIterator[PartitionResult | Paused]:
    """Collect partitions and yield each result once its Parquet is published; a pause comes last.

    A partition without open units is yielded at once with `was_complete`. A partition whose capture cannot be loaded
    into the raw tables is not requested again: the others are collected, then the DamagedCapture is raised. Past
    periods of an observed entity yield what is stored of them. Raise PeriodNotCurrent, PartitionBusy (another process
    collects a partition), and errors that are final for all units.
    """
    settings = context.settings
    require_pseudonyms(task.study)
    task = replace(task, study=leave_out_accounts(task.study, read_withdrawn(settings.state)))
    errors = recover_unpublished(settings.captures, settings.raw, task.entity, task.study.name)
    if ENTITIES[task.entity].time_axis == "observation":
        stored = results_of_other_periods(task, context)
        for other in stored:
            _log(task, other)
            yield other
        others = {result.partition for result in stored}
        task = replace(task, partitions=tuple(period for period in task.partitions if period not in others))
    blocked: dict[date, DamagedCapture] = {}
    task = _leave_out_blocked(task, errors, blocked)
    if task.partitions:
        _record_study(task.study, context)
        collect_entity = _collect_videos if task.entity == "videos" else _collect_lists
        async with aclosing(collect_entity(task, context, blocked)) as results:
            async for result in results:
                _log(task, result)
                yield result
    if blocked:
        raise next(iter(blocked.values()))


def _leave_out_blocked(
    task: CollectionTask, errors: Iterable[DamagedCapture], blocked: dict[date, DamagedCapture]
) -> CollectionTask:
    """Return the task without the partitions that damaged captures contain, which are added to `blocked`."""
    for error in errors:
        first, last = days_of(error.path)
        blocked.update((day, error) for day in task.partitions if first <= day <= last)
    return replace(task, partitions=tuple(day for day in task.partitions if day not in blocked))


def _recover_locked(
    task: CollectionTask, context: CollectorContext, blocked: dict[date, DamagedCapture]
) -> CollectionTask:
    """Publish what a process left that was killed before the partitions were locked here; return the task of the rest.

    Without it, a partition that the process had sealed but not written would be requested again.
    """
    settings = context.settings
    errors = recover_unpublished(settings.captures, settings.raw, task.entity, task.study.name)
    return _leave_out_blocked(task, errors, blocked)


def _log(task: CollectionTask, result: PartitionResult | Paused) -> None:
    name = f"{task.study.name}/{task.entity}"
    if isinstance(result, Paused):
        _LOGGER.info("Paused %s until %s: %s", name, result.retry_at, result.reason)
    elif result.state == "complete":
        _LOGGER.info("%s %s is complete: %s rows, %.1f requests", name, result.partition, result.kept, result.requests)
    else:
        _LOGGER.warning("%s %s is %s: %s", name, result.partition, result.state, result.reason)


def _record_study(study: StudySpec, context: CollectorContext) -> None:
    """Record what defines the study before the first request; a record that cannot be kept does not stop collection."""
    settings = context.settings
    try:
        record_collection(settings, study, context.clock.now(), lambda: count_held(settings.raw, study.name))
    except (ProvenanceError, OSError) as error:
        _LOGGER.warning("%s: the study file was not compared with that of the first collection. %s", study.name, error)


async def _collect_videos(
    task: CollectionTask, context: CollectorContext, blocked: dict[date, DamagedCapture]
) -> AsyncGenerator[PartitionResult | Paused, None]:
    settings, now = context.settings, context.clock.now()
    if task.study.all_left_out:
        for day in task.partitions:
            yield PartitionResult(
                partition=day, state="not_asked", units={"not_asked": 1}, reason=describe_left_out(task.study)
            )
        return
    records = _read_status(task, context)
    if task.canary_check:
        for day in task.partitions:
            async for result in recheck_known_videos(task, context, day, records):
                yield result
        return
    results_without_request, missing = _missing_days(task, records, task.partitions, now)
    for result in results_without_request:
        yield result
    if not (missing or list_open_journals(settings.captures, "videos", task.study.name)):
        return
    with lock_partitions(settings.state, task.study.name, "videos", missing):
        # Another process may have completed a day before it was locked here.
        task = _recover_locked(replace(task, partitions=tuple(missing)), context, blocked)
        records = _read_status(task, context)
        results_without_request, missing = _missing_days(task, records, task.partitions, now)
        for result in results_without_request:
            yield result
        async with aclosing(VideoSearch(task, context, records).run(missing)) as results:
            async for result in results:
                yield result


def _read_status(task: CollectionTask, context: CollectorContext) -> list[UnitStatus]:
    settings = context.settings
    return read_unit_status(settings.raw, "videos", study=task.study.name, captures=settings.captures)


def _missing_days(
    task: CollectionTask, records: Sequence[UnitStatus], days: Iterable[date], now: datetime
) -> tuple[list[PartitionResult], list[date]]:
    """Return the results of the days that need no request, and the other days."""
    day_status = {record.attempt.partition: record for record in records if record.attempt.unit_kind == "day"}
    missing_accounts = days_missing_accounts(task.study.query, records, now, retry=task.retry_now)
    results, missing = [], []
    for day in sorted(set(days)):
        if not task.study.is_sampled(day):
            results.append(
                PartitionResult(partition=day, state="not_asked", units={"not_asked": 1}, reason=NOT_SAMPLED)
            )
            continue
        status = day_status.get(day)
        too_fresh = too_fresh_result(task.study, day, now)
        if too_fresh:
            results.append(too_fresh)
        elif status and day not in missing_accounts and _can_skip(task, status, now):
            results.append(result_from_attempt(status.attempt, was_complete=True))
        else:
            missing.append(day)
    return results, missing


def _can_skip(task: CollectionTask, status: UnitStatus, now: datetime) -> bool:
    """Return whether a day needs no request: it is complete, or its next try is not due yet."""
    attempt = status.attempt
    if attempt.state in SETTLED:
        return not task.recollect
    if attempt.state not in ("quarantined", "suspicious") or task.retry_now:
        return False
    return is_waiting(attempt.next_try, now)


async def _collect_lists(
    task: CollectionTask, context: CollectorContext, blocked: dict[date, DamagedCapture]
) -> AsyncGenerator[PartitionResult | Paused, None]:
    settings, study, pool = context.settings, task.study, BY_ENTITY[task.entity].pool
    with lock_partitions(settings.state, study.name, task.entity, task.partitions):
        task = _recover_locked(task, context, blocked)
        if not task.partitions:
            return
        run = RunState(study.name, task.entity, pool, context, budget=task.budget, pseudonyms=study.pseudonyms)
        if ENTITIES[task.entity].time_axis == "observation":
            # Before the inputs are read: the order of the units depends on what past periods observed.
            close_past_periods(task, context)
        inputs = ListInputs(task, context)
        pauses: list[Paused] = []

        async def work(partition: date) -> PartitionResult | Paused:
            blocked = inputs.blocked_reason(partition)
            if blocked:
                return PartitionResult(partition=partition, state="not_asked", units={"not_asked": 1}, reason=blocked)
            status, elsewhere = inputs.unit_status(partition), inputs.status_elsewhere(partition)
            try:
                lists = ListPartitionRun(task, run, partition, status, elsewhere, inputs.earlier_ends)
                result = await lists.run(inputs.targets(partition))
            except LocksLost as error:
                run.stop_for_lost_locks(error)
                assert run.stop is not None
                return Paused(run.stop.pool, run.stop.reason, run.stop.retry_at, (partition,))
            if task.entity == "users" and not isinstance(result, Paused):
                await follow_missing_accounts(study, run, partition)
            return result

        remaining = set(task.partitions)
        # Newest first, because the newest partitions may use the reserved part of the quota.
        jobs = deque(sorted(remaining, reverse=True))
        async with aclosing(run_concurrently(jobs, work, MAX_CONCURRENT_PARTITIONS, lambda: not pauses)) as results:
            async for result in results:
                if isinstance(result, Paused):
                    pauses.append(result)
                else:
                    remaining.discard(result.partition)
                    yield result
    run.raise_failure()
    if pauses:
        yield replace(pauses[0], remaining=tuple(sorted(remaining)))

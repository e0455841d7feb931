"""Results of the periods of observed accounts that cannot be collected, because they are over or have not begun.

The API returns current values only, so only the running period can be collected. A person may still materialize a range
that contains other periods. Not here: which periods a study observes (see units/periods.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from research_assets.collect.lists.run import close_past_periods
from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult
from research_assets.settings import Settings
from research_assets.storage.raw_reader import query_raw
from research_assets.units.coverage import SETTLED, Attempt, count_states, read_unit_status, worst_state
from research_assets.units.periods import current_period
from research_assets.units.targets import observed_targets


class PeriodNotCurrent(ValueError):
    """An observed entity was requested only for past or future periods of which nothing is stored."""


def results_of_other_periods(task: CollectionTask, context: CollectorContext) -> list[PartitionResult]:
    """Return what is stored of the periods of a task other than the current one, oldest first. Sends no request.

    Raises PeriodNotCurrent if nothing is stored of any of them and the current one is not requested.
    """
    study, settings = task.study, context.settings
    current = current_period(study, context.clock.now())
    others = sorted(period for period in task.partitions if period != current)
    if not others:
        return []
    # Publishes the journals of periods that have ended, so that their rows are part of the results.
    close_past_periods(replace(task, partitions=(current,)), context)
    results = [_stored_result(task, period, current, settings) for period in others]
    if current not in task.partitions and all(set(result.units) == {"not_asked"} for result in results):
        named = f"{others[0]}" if len(others) == 1 else f"any of {len(others)} periods from {others[0]} to {others[-1]}"
        when = "is over" if others[-1] < current else "has not begun"
        raise PeriodNotCurrent(
            f"{study.name}/{task.entity} cannot be collected for {named}: {'each' if len(others) > 1 else 'that'} "
            f"period {when}, and the API returns only current values of {task.entity}. No request was sent. "
            f"Materialize the current period, {current}."
        )
    return results


def _stored_result(task: CollectionTask, period: date, current: date, settings: Settings) -> PartitionResult:
    """Return the result of a period that cannot be collected: complete if every expected account is settled in it."""
    attempts = {
        record.attempt.unit: record.attempt
        for record in read_unit_status(
            settings.raw, task.entity, study=task.study.name, partitions=[period], captures=settings.captures
        )
    }
    if not attempts:
        reason = "The period has not begun." if period > current else "The period is over and was not observed."
        return PartitionResult(period, "not_asked", units={"not_asked": 1}, reason=reason)
    n_missing = len(_expected_accounts(task, period, settings) - attempts.keys())
    states = [attempt.state for attempt in attempts.values()] + ["not_asked"] * n_missing
    n_open = sum(state not in SETTLED for state in states)
    units = "playlists" if task.entity == "playlists" else "accounts"
    reason = f"The period is over: {n_open} of {len(states)} {units} were not collected and no longer can be."
    return _with_counts(
        PartitionResult(
            period,
            worst_state("complete" if state in SETTLED else state for state in states),
            units=count_states(states),
            reason=reason if n_open else None,
            was_complete=not n_open,
        ),
        attempts,
    )


def _with_counts(result: PartitionResult, attempts: Mapping[str, Attempt]) -> PartitionResult:
    return replace(
        result,
        asked=sum(attempt.asked for attempt in attempts.values()),
        offered=sum(attempt.offered for attempt in attempts.values()),
        kept=sum(attempt.kept for attempt in attempts.values()),
        requests=sum(attempt.requests for attempt in attempts.values()),
    )


def _expected_accounts(task: CollectionTask, period: date, settings: Settings) -> set[str]:
    """Return the accounts that were expected in a period: those that a build recorded in it, else those known now."""
    recorded = query_raw(
        settings.raw,
        "expected_units",
        f"study={task.study.name}/day={period}",
        "SELECT unit FROM {table} WHERE entity = ?",
        [task.entity],
    )
    return {unit for (unit,) in recorded} or {
        target.unit for target in observed_targets(settings.raw, task.study, task.entity, period)
    }

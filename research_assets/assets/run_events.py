"""What an asset still needs, for its metadata in the UI: requests, what they are founded on, when it is done."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from math import ceil
from typing import Any

import dagster as dg

from research_assets.assets.partition_charts import chart, fill_gaps, read_bars, sparkline
from research_assets.checks.rules import rules
from research_assets.checks.runner import run_rules
from research_assets.clock import Clock
from research_assets.collect.run import PeriodNotCurrent, collect
from research_assets.collect.types import CollectionTask, PartitionResult, Paused, RunProgress
from research_assets.fields import ENTITIES
from research_assets.planning.forecast import add_recurring, forecast, forecast_pool
from research_assets.planning.inputs import read_agenda_inputs
from research_assets.quota.ledger import LedgerError, read_pools
from research_assets.resources import CollectorResource
from research_assets.settings import Settings, SettingsError
from research_assets.storage.captures import CaptureError
from research_assets.storage.locks import PartitionBusy
from research_assets.storage.raw_reader import RawTables
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import FatalError, RetryableError
from research_assets.units.estimates import max_requests_per_period, mean_comment_requests_per_day
from research_assets.units.periods import period_length

# JOINED: """One run of the collector as Dagster sees it: events while it goes on, and how it ends.
#
# A partition is materialized the moment it is complete, so the bar in the UI tells the truth in the middle of a long
# backfill too. What is not complete gets an observation with its reason. A pause ends the run in good order.
# """


def remaining_metadata(settings: Settings, study: StudySpec, entity: str, clock: Clock) -> dict[str, Any]:
    """Metadata about what is left of an entity, as `research-assets plan` says it for this study alone."""
    now = clock.now()
    pools, used = read_pools(settings, clock)
    with RawTables(settings.raw) as raw:
        inputs = read_agenda_inputs(settings, [study], pools, now, used=used, raw=raw)
        lines = add_recurring(
            forecast(inputs, mean_comment_requests_per_day(raw), now), [study], max_requests_per_period(raw)
        )
    line = next(line for line in lines if line.entity == entity)
    end = forecast_pool([line], pools[BY_ENTITY[entity].pool], now)
    return {
        "remaining requests": ceil(line.remaining.requests),
        "remaining requests by partition": dg.MetadataValue.json(
            {str(partition): round(estimate.requests, 1) for partition, estimate in line.by_partition.items()}
        ),
        "estimate basis": line.remaining.basis + (": the least it can be" if line.unknown else ""),
        "remaining quota days": end.days if end.days is not None else "without end",
        "estimated completion": f"{end.finish_day}, if nothing else is asked"
        if end.finish_day
        else "never: what recurs takes the whole quota",
    }


_NOT_RETRYABLE = (SettingsError, PeriodNotCurrent, PartitionBusy, CaptureError, LedgerError, FatalError, RetryableError)
"""What no retry at once mends: somebody has to act, another run is at it, or the API cannot be reached."""

_LOG_INTERVAL = timedelta(seconds=10)


def _format_time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "not planned"


def _format_ranges(partitions: Sequence[date], some: Sequence[date]) -> Iterator[str]:
    """Some of a run's partitions, neighbours as `first..last`."""
    for chosen, stretch in groupby(sorted(partitions), key=set(some).__contains__):
        days = list(stretch)
        if chosen:
            yield f"{days[0]}..{days[-1]}" if len(days) > 1 else f"{days[0]}"


def result_metadata(outcome: PartitionResult) -> dict[str, Any]:
    """What came of a partition, under keys that stay the same from run to run so that the UI can plot them."""
    return {
        "dagster/partition_row_count": outcome.kept,
        "rows asked": outcome.asked,
        "rows offered": outcome.offered,
        "rows kept": outcome.kept,
        "requests": round(outcome.requests, 2),
        "units": sum(outcome.units.values()),
        "incomplete units": sum(number for state, number in outcome.units.items() if state != "complete"),
        "states": ", ".join(f"{number:,} {state.replace('_', ' ')}" for state, number in outcome.units.items()),
    }


class CollectionRun:
    """Follows the collector through one `Ask` and tells Dagster what comes of each partition."""

    def __init__(self, context: dg.AssetExecutionContext, task: CollectionTask, collector: CollectorResource) -> None:
        self._context = context
        self._task = task
        self._collector = collector
        self._key = dg.AssetKey([task.study.name, task.entity])
        self._finished: list[PartitionResult] = []
        self._paused: Paused | None = None
        self._reported: datetime | None = None
        self._clock = collector.clock

    @property
    def _captures(self) -> dg.PathMetadataValue:
        folder = self._collector.settings.captures / self._task.entity / f"study={self._task.study.name}"
        return dg.MetadataValue.path(folder)

    async def execute(self) -> None:
        """Run the collector to its end or to a pause, with an event for each partition.

        Raises Failure, without a retry, for what only a person can mend.
        """
        try:
            async with self._collector.open(self._progress) as context:
                self._clock = context.clock
                async for outcome in collect(self._task, context):
                    if isinstance(outcome, Paused):
                        self._paused = outcome
                    else:
                        self._record_result(outcome)
        except _NOT_RETRYABLE as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    def _progress(self, progress: RunProgress) -> None:
        now = self._collector.clock.now()
        if self._reported is None or now - self._reported >= _LOG_INTERVAL:
            self._reported = now
            self._context.log.info(
                "%s: %s requests, %s pages, %s rows so far",
                progress.partition,
                progress.requests,
                progress.pages,
                progress.rows,
            )

    def _record_result(self, outcome: PartitionResult) -> None:
        self._finished.append(outcome)
        partition = outcome.partition.isoformat()
        metadata = {**result_metadata(outcome), "captures": self._captures}
        if outcome.state == "complete":
            self._context.add_asset_metadata(metadata, asset_key=self._key, partition_key=partition)
            if len(self._task.partitions) > 1:
                # Dagster notes of an output for which code version it was made; of an event it has to be told.
                code = str(self._context.assets_def.specs_by_key[self._key].code_version)
                tags = {"dagster/code_version": code}
                self._context.log_event(
                    dg.AssetMaterialization(self._key, partition=partition, metadata=metadata, tags=tags)
                )
            return
        metadata |= {"state": outcome.state, "reason": outcome.reason or "", "next try": _format_time(outcome.next_try)}
        self._context.log_event(
            dg.AssetObservation(self._key, partition=partition, description=outcome.reason, metadata=metadata)
        )
        self._context.log.warning(
            "%s is %s, not complete: %s. Next try: %s",
            partition,
            outcome.state,
            outcome.reason,
            _format_time(outcome.next_try),
        )

    def results(self) -> Iterator[dg.MaterializeResult[None]]:
        """The output, if every partition of the run is complete; otherwise none, so that the steps below wait.

        Dagster records the output as one more materialization of each partition, with the same metadata.
        """
        open_ = [outcome for outcome in self._finished if outcome.state != "complete"]
        if self._paused is not None:
            self._report_pause(self._paused)
            self._run_checks()
        elif open_ and all(outcome.state == "too_fresh" for outcome in self._finished):
            raise dg.Failure(description=self._too_fresh(), allow_retries=False)
        elif not open_:
            shown = self._chart_metadata() | self._remaining_metadata()
            if shown:
                last = self._task.partitions[-1].isoformat()
                self._context.add_asset_metadata(shown, asset_key=self._key, partition_key=last)
            yield dg.MaterializeResult(asset_key=self._key)
        else:
            self._log_observation(f"{len(open_)} of {len(self._task.partitions)} partitions are not complete", {})
            self._run_checks()

    def _run_checks(self) -> None:
        """Hold the rules against what came, because the checks are steps that wait for the output.

        The marts are built from days that are complete while others are not, so these must not go unseen.
        """
        study, entity = self._task.study, self._task.entity
        for rule, result in run_rules(self._collector.settings.raw, study.name, entity, rules(study, entity)):
            self._context.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=self._key,
                    check_name=rule.name,
                    passed=result.passed,
                    metadata=result.metadata,
                    severity=result.severity,
                    description=result.description,
                    blocking=rule.blocking,
                )
            )

    def _too_fresh(self) -> str:
        days = ", ".join(outcome.partition.isoformat() for outcome in self._finished)
        settle, earliest = self._task.study.settle_days, min(o.next_try for o in self._finished if o.next_try)
        return (
            f"{days}: too fresh to be collected. New videos lag, so {self._task.study.name} collects a day once it is "
            f"{settle} days old (settle_days); nothing was asked. Try again from {_format_time(earliest)} on."
        )

    def _report_pause(self, paused: Paused) -> None:
        text = (
            f"Paused, not failed: {paused.reason.rstrip('.')}. {len(paused.remaining)} partitions are left. The sensor "
            f"quota_window takes them up from {_format_time(paused.retry_at)} on, where this run stopped; nothing needs to "
            "be done. With the sensor switched off, materialize them again then: what is held is not asked twice. A "
            "backfill that this run belongs to is shown as failed for them, because Dagster knows no pause; they are "
            "not lost."
        )
        self._context.log.warning(text)
        self._log_observation(
            text,
            {
                "quota available at": _format_time(paused.retry_at),
                "pool": paused.pool,
                "remaining partitions": ", ".join(_format_ranges(self._task.partitions, paused.remaining)),
            },
        )

    def _log_observation(self, text: str, metadata: dict[str, Any]) -> None:
        shown = {**metadata, **self._chart_metadata(), **self._remaining_metadata(), "captures": self._captures}
        self._context.log_event(dg.AssetObservation(self._key, description=text, metadata=shown))

    def _remaining_metadata(self) -> dict[str, Any]:
        return remaining_metadata(self._collector.settings, self._task.study, self._task.entity, self._clock)

    def _chart_metadata(self) -> dict[str, Any]:
        study, entity = self._task.study, self._task.entity
        bars = read_bars(self._collector.settings.raw, study.name, entity)
        if not bars:
            return {}
        content = ENTITIES[entity].time_axis == "content"
        first = study.start if content else bars[0].first
        last = study.end if content and study.end else max(first, bars[-1].first)
        step = timedelta(days=1) if content else period_length(study)
        bars = fill_gaps(bars, first, last, step)
        return {
            "rows by partition": dg.MetadataValue.md(sparkline(bars)),
            "chart": dg.MetadataValue.md(chart(bars, f"{study.name}: {entity} held, by partition")),
        }

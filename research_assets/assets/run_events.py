"""One run of the collector as Dagster sees it: events for each partition, the way the run ends, and its metadata.

Each partition is materialized once, as soon as it is complete, so the UI is correct in the middle of a long backfill
too. An incomplete partition gets an observation with its reason, and so does one that a pause interrupts. A pause ends
the run without a failure and without an output, and adds a tag that the list of runs shows.
Not here: the declaration of the assets (see collected.py), and the collection itself (see collect/run.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from math import ceil
from typing import Any

import dagster as dg

from research_assets.assets.check_reports import report_check_result
from research_assets.assets.partition_charts import chart, fill_gaps, read_bars, sparkline
from research_assets.checks import PROVENANCE_CHECK
from research_assets.checks.rules import rules
from research_assets.checks.runner import run_rules
from research_assets.checks.study_health import provenance_result
from research_assets.clock import Clock, ClocksDiffer
from research_assets.collect.lists.other_periods import PeriodNotCurrent
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, PartitionResult, Paused, RunProgress
from research_assets.fields import ENTITIES
from research_assets.planning.forecast import add_recurring, forecast, forecast_pool
from research_assets.planning.inputs import read_agenda_inputs
from research_assets.planning.messages import format_short_time, pluralize
from research_assets.quota.ledger import read_pools
from research_assets.quota.ledger_database import LedgerError, LedgerUnreachable
from research_assets.resources import PAUSED_TAG, CollectorResource
from research_assets.settings import Settings, SettingsError
from research_assets.storage.captures import CaptureError
from research_assets.storage.lock_errors import LockError
from research_assets.storage.locks import PartitionBusy
from research_assets.storage.raw_reader import RawTables
from research_assets.study.spec import StudySpec
from research_assets.text import log_text, markdown_text
from research_assets.tiktok.connection import ConnectionSettingsError
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import FatalError, RetryableError
from research_assets.tiktok.pseudonyms import UnknownPseudonym
from research_assets.units.coverage import SETTLED, Attempt, count_states, read_unit_status, worst_state
from research_assets.units.estimates import max_requests_per_period, mean_comment_requests_per_day
from research_assets.units.periods import period_length

_NOT_RETRYABLE = (
    SettingsError,
    ConnectionSettingsError,
    PeriodNotCurrent,
    PartitionBusy,
    LockError,
    CaptureError,
    LedgerError,
    ClocksDiffer,
    FatalError,
    RetryableError,
    UnknownPseudonym,
)
"""Errors that an immediate retry cannot fix: a person must act, another run collects the partition, or the API
cannot be reached."""

_DESCRIPTION_CHARACTERS = 1000
"""Highest number of characters of a reason in the description of an event."""

_LOG_INTERVAL_SECONDS = 10.0


class CollectionRun:
    """Runs the collector for one `CollectionTask` and reports the result of each partition to Dagster."""

    def __init__(self, context: dg.AssetExecutionContext, task: CollectionTask, collector: CollectorResource) -> None:
        self._context = context
        self._task = task
        self._collector = collector
        self._key = dg.AssetKey([task.study.name, task.entity])
        self._partition_results: list[PartitionResult] = []
        self._paused: Paused | None = None
        self._unreported: tuple[str, dict[str, Any]] | None = None
        self._last_logged_at: float | None = None
        self._clock = collector.clock

    async def execute(self) -> None:
        """Run the collector until it ends or pauses, and log an event for each partition.

        Raises Failure without a retry for errors that an immediate retry cannot fix.
        """
        try:
            async with self._collector.open(self._log_progress) as context:
                self._clock = context.clock
                async for result in collect(self._task, context):
                    if isinstance(result, Paused):
                        self._paused = result
                    else:
                        self._record_result(result)
        except _NOT_RETRYABLE as error:
            raise dg.Failure(description=log_text(str(error)), allow_retries=False) from error

    def results(self) -> Iterator[dg.MaterializeResult[None]]:
        """Report the last partition and the end of the run; yield the output of a run of one complete partition.

        An output of several partitions would materialize each of them a second time. Without an output Dagster skips
        the check steps of the run, so the check rules run here.
        Raises Failure without a retry if all days of videos are too fresh. Comments are too fresh while counts of zero
        wait for the re-observation of their day. That is no failure of their run.
        """
        incomplete = [result for result in self._partition_results if result.state != "complete"]
        if (
            self._paused is None
            and self._task.entity == "videos"
            and incomplete
            and all(result.state == "too_fresh" for result in self._partition_results)
        ):
            raise dg.Failure(description=self._too_fresh_message(), allow_retries=False)
        ends_complete = self._paused is None and not incomplete
        end_metadata = self._chart_metadata() | self._remaining_metadata() if ends_complete else {}
        if ends_complete and len(self._task.partitions) == 1:
            if end_metadata:
                partition = self._task.partitions[0].isoformat()
                self._context.add_asset_metadata(end_metadata, asset_key=self._key, partition_key=partition)
            yield dg.MaterializeResult(asset_key=self._key)
            return
        self._report_complete_partition(end_metadata)
        if not ends_complete:
            # Dagster shows a partition as failed from a failed run until it is materialized, even after runs that did
            # not fail. Without its stored status it reads those of the latest runs.
            self._context.instance.wipe_asset_cached_status([self._key])
        if self._paused is not None:
            self._report_pause(self._paused)
        elif incomplete:
            self._log_observation(f"{len(incomplete)} of {len(self._task.partitions)} partitions are not complete", {})
        self._run_checks()

    def _log_progress(self, progress: RunProgress) -> None:
        now = self._collector.clock.monotonic()
        if self._last_logged_at is None or now - self._last_logged_at >= _LOG_INTERVAL_SECONDS:
            self._last_logged_at = now
            self._context.log.info(
                "Collecting %s: %s requests, %s pages, %s rows so far",
                progress.partition,
                progress.requests,
                progress.pages,
                progress.rows,
            )

    def _record_result(self, result: PartitionResult) -> None:
        self._partition_results.append(result)
        if self._collector.on_result is not None:
            self._collector.on_result(result)
        partition = result.partition.isoformat()
        metadata = {**result_metadata(result), "captures": self._captures}
        if result.state == "complete":
            if len(self._task.partitions) == 1:
                self._context.add_asset_metadata(metadata, asset_key=self._key, partition_key=partition)
            else:
                # One partition late, because the last one of the run also has its charts.
                self._report_complete_partition({})
                self._unreported = (partition, metadata)
            return
        reason = log_text(result.reason or "")
        metadata |= {"state": result.state, "reason": reason, "next try": _format_time(result.next_try)}
        # The UI renders descriptions as Markdown: an error message of the server could load a picture.
        description = markdown_text(reason, _DESCRIPTION_CHARACTERS) or None
        self._context.log_event(
            dg.AssetObservation(self._key, partition=partition, description=description, metadata=metadata)
        )
        self._context.log.warning(
            "Partition %s is %s: %s. Next try: %s",
            partition,
            result.state,
            reason.rstrip(".") or "no reason recorded",
            _format_time(result.next_try),
        )

    def _report_complete_partition(self, end_metadata: dict[str, Any]) -> None:
        """Materialize the complete partition that is not reported yet, if there is one."""
        if self._unreported is None:
            return
        partition, metadata = self._unreported
        self._unreported = None
        # Dagster adds the code version to an output itself, but not to a logged event.
        tags = {"dagster/code_version": str(self._context.assets_def.specs_by_key[self._key].code_version)}
        self._context.log_event(
            dg.AssetMaterialization(self._key, partition=partition, metadata=metadata | end_metadata, tags=tags)
        )

    def _report_begun_partitions(self, paused: Paused) -> None:
        """Log an observation of each remaining partition of which something was collected."""
        settings, study = self._collector.settings, self._task.study
        units: dict[date, list[Attempt]] = {}
        for record in read_unit_status(
            settings.raw,
            self._task.entity,
            study=study.name,
            partitions=list(paused.remaining),
            captures=settings.captures,
        ):
            if record.attempt.unit_kind not in ("canary", "rename"):
                units.setdefault(record.attempt.partition, []).append(record.attempt)
        for partition, attempts in sorted(units.items()):
            states = count_states(attempt.state for attempt in attempts)
            rows = sum(attempt.kept for attempt in attempts)
            done = sum(number for state, number in states.items() if state in SETTLED)
            # The open days of a search window are partial even before a page of theirs has arrived.
            if not (rows or done):
                continue
            self._context.log_event(
                dg.AssetObservation(
                    self._key,
                    partition=partition.isoformat(),
                    description=f"Paused: {done:,} of {pluralize(len(attempts), 'unit')} complete, "
                    f"{pluralize(rows, 'row')} so far. Resumes from {_format_time(paused.retry_at)}.",
                    metadata={
                        "state": worst_state(states),
                        "rows so far": rows,
                        "requests": round(sum(attempt.requests for attempt in attempts), 2),
                        "states": _format_states(states),
                        "next try": _format_time(paused.retry_at),
                        "captures": self._captures,
                    },
                )
            )

    def _tag_pause(self, paused: Paused) -> None:
        """Add a tag to the run that the list of runs shows: `paused: 48 of 296 days; resumes 00:00 UTC`."""
        total = len(self._task.partitions)
        done = sum(result.state == "complete" for result in self._partition_results)
        noun = "day" if ENTITIES[self._task.entity].time_axis == "content" else "period"
        now = self._clock.now()
        resumes = format_short_time(max(paused.retry_at, now), now)
        text = f"{done:,} of {pluralize(total, noun)}; resumes {resumes}"
        run = self._context.instance.get_run_by_id(self._context.run.run_id)
        earlier = run.tags.get(PAUSED_TAG) if run is not None else None
        # The videos and the comments of a study share a run.
        value = f"{earlier}; {self._task.entity} {text}" if earlier else text
        self._context.instance.add_run_tags(self._context.run.run_id, {PAUSED_TAG: value})

    def _report_pause(self, paused: Paused) -> None:
        self._report_begun_partitions(paused)
        self._tag_pause(paused)
        retry_at = _format_time(paused.retry_at)
        rest = (
            f"{pluralize(len(paused.remaining), 'partition')} remaining. "
            f"The sensor quota_window resumes them from {retry_at}, once requests are free; no action is needed. "
            "With the sensor off, materialize them again after that time: complete units are not requested again. "
            "Dagster has no paused state, so a backfill that contains this run shows these partitions as failed. "
            "No data is lost."
        )
        self._context.log.warning(f"Paused, not failed: {log_text(paused.reason).rstrip('.')}. {rest}")
        reason = markdown_text(paused.reason, _DESCRIPTION_CHARACTERS).rstrip(".")
        self._log_observation(
            f"Paused, not failed: {reason}. {rest}",
            {
                "quota available at": retry_at,
                "pool": paused.pool,
                "remaining partitions": ", ".join(_format_ranges(self._task.partitions, paused.remaining)),
            },
        )

    def _run_checks(self) -> None:
        """Run the check rules and report their results, because the check steps wait for an output and do not run.

        The marts are built from complete days while other days are incomplete. Without these results, failures in the
        data of an incomplete run would stay hidden until the daily checks. Raises Failure without a retry if a blocking
        rule fails and the run is not paused, as a check step would.
        """
        study, entity = self._task.study, self._task.entity
        failed = list[str]()
        for rule, result in run_rules(self._collector.settings.raw, study.name, entity, rules(study, entity)):
            self._report_check(rule.name, result, blocking=rule.blocking)
            if rule.blocking and not result.passed:
                failed.append(f"{rule.name}: {result.description or rule.description}")
        if entity == "videos":
            self._report_check(PROVENANCE_CHECK, provenance_result(self._collector.settings, study))
        if failed and self._paused is None:
            raise dg.Failure(description="Blocking checks failed. " + log_text(" ".join(failed)), allow_retries=False)

    def _report_check(self, name: str, result: dg.AssetCheckResult, *, blocking: bool = False) -> None:
        report_check_result(self._context.instance, dg.AssetCheckKey(self._key, name), result, blocking=blocking)

    def _too_fresh_message(self) -> str:
        days = ", ".join(result.partition.isoformat() for result in self._partition_results)
        earliest = min(result.next_try for result in self._partition_results if result.next_try)
        study = self._task.study
        return (
            f"{days}: too fresh to collect. The API returns some videos up to 48 hours late, so {study.name} collects "
            f"a day once it is {study.settle_days} days old (settle_days). No request was sent. "
            f"Materialize the partition again from {_format_time(earliest)} on."
        )

    def _log_observation(self, description: str, metadata: dict[str, Any]) -> None:
        """Log an observation of all partitions. The description is Markdown."""
        all_metadata = {**metadata, **self._chart_metadata(), **self._remaining_metadata(), "captures": self._captures}
        self._context.log_event(dg.AssetObservation(self._key, description=description, metadata=all_metadata))

    @property
    def _captures(self) -> dg.PathMetadataValue:
        folder = self._collector.settings.captures / self._task.entity / f"study={self._task.study.name}"
        return dg.MetadataValue.path(folder)

    def _remaining_metadata(self) -> dict[str, Any]:
        try:
            return remaining_metadata(self._collector.settings, self._task.study, self._task.entity, self._clock)
        except LedgerUnreachable as error:
            # The partitions are reported all the same.
            self._context.log.warning(f"The remaining requests are unknown. {error}")
            return {}

    def _chart_metadata(self) -> dict[str, Any]:
        study, entity = self._task.study, self._task.entity
        bars = read_bars(self._collector.settings.raw, study.name, entity)
        if not bars:
            return {}
        is_content = ENTITIES[entity].time_axis == "content"
        first = study.start if is_content else bars[0].first
        last = study.end if is_content and study.end else max(first, bars[-1].first)
        step = timedelta(days=1) if is_content else period_length(study)
        bars = fill_gaps(bars, first, last, step)
        return {
            "rows by partition": dg.MetadataValue.md(sparkline(bars)),
            "chart": dg.MetadataValue.md(chart(bars, f"{study.name}: {entity} collected, by partition")),
        }


def result_metadata(result: PartitionResult) -> dict[str, Any]:
    """Return the counts of a partition, under keys that are the same in every run so that the UI can plot them."""
    return {
        "dagster/partition_row_count": result.kept,
        "rows asked": result.asked,
        "rows offered": result.offered,
        "rows kept": result.kept,
        "requests": round(result.requests, 2),
        "units": sum(result.units.values()),
        "incomplete units": sum(number for state, number in result.units.items() if state != "complete"),
        "states": _format_states(result.units),
    }


def remaining_metadata(settings: Settings, study: StudySpec, entity: str, clock: Clock) -> dict[str, Any]:
    """Return the remaining requests of an entity and their basis, as `research-assets plan` shows them."""
    now = clock.now()
    pools, used = read_pools(settings, clock)
    with RawTables(settings.raw) as raw:
        inputs = read_agenda_inputs(settings, [study], pools, now, used=used, raw=raw)
        lines = add_recurring(
            forecast(inputs, mean_comment_requests_per_day(raw), now), [study], max_requests_per_period(raw)
        )
    line = next(line for line in lines if line.entity == entity)
    pool_forecast = forecast_pool([line], pools[BY_ENTITY[entity].pool], now)
    return {
        "remaining requests": ceil(line.remaining.requests),
        "remaining requests by partition": dg.MetadataValue.json(
            {str(partition): round(estimate.requests, 1) for partition, estimate in line.by_partition.items()}
        ),
        "estimate basis": line.remaining.basis + (": this many requests or more" if line.unknown else ""),
        "remaining quota days": pool_forecast.days if pool_forecast.days is not None else "no end",
        "estimated completion": f"{pool_forecast.finish_day}, if no other work uses the quota"
        if pool_forecast.finish_day
        else "never: recurring requests use the whole quota",
    }


def _format_states(units: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {state.replace('_', ' ')}" for state, number in units.items())


def _format_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "not planned"


def _format_ranges(partitions: Sequence[date], selected: Sequence[date]) -> Iterator[str]:
    """Yield the selected partitions of a run, neighbours as `first..last`."""
    for is_selected, group in groupby(sorted(partitions), key=set(selected).__contains__):
        days = list(group)
        if is_selected:
            yield f"{days[0]}..{days[-1]}" if len(days) > 1 else f"{days[0]}"

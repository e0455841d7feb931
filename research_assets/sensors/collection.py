"""The sensor `quota_window`, which turns free quota into collection runs.

A tick reads the collected data, the quota and the runs, starts the planned runs, and records days that are already
collected as materialized. Not here: which work comes first (see planning/agenda.py), and how runs are read from the
instance (see run_history.py).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import dagster as dg

from research_assets.clock import MAX_CLOCK_SKEW, Clock
from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import open_journal_bytes, read_agenda_inputs, study_entities
from research_assets.planning.messages import describe_deferred, describe_run, plan_table, pluralize
from research_assets.planning.types import AgendaInputs, PlannedRun, StudyEntity
from research_assets.quota.ledger import read_pools, read_used_by_run
from research_assets.quota.server_time import SandboxUnreachable
from research_assets.resources import CollectorResource, budget_run_id
from research_assets.sensors import run_history
from research_assets.settings import Settings, SettingsError
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import SETTLED, UnitStatus, read_unit_status
from research_assets.units.periods import ObservedPeriods

DESCRIPTION = """Starts collection runs while the day's quota has free requests, in order of priority.

Order: first days that have just settled, days that have reached an age of reobserve_days, and units whose next
try is due; then paused work, comments (also those that the newer counts of re-observed videos show to be missing) and
the accounts of the running period; then earlier days. Studies share the
quota by their quota_weight. Once a week, one request per study checks whether previously collected videos are still
found (canary check).

Plan: Cursor on this page lists what starts now and what follows later, with units, requests and time. Each run
has its cost in the tag research/estimated_requests.

Cost: no more requests than the quota has left. If no run fits, the tick says how many requests remain, how many
units wait, and when quota is available.

Re-run: the sensor resumes paused runs. Switch it off to collect by hand only.

Terms: docs/glossary.md"""


@dataclass(frozen=True, slots=True)
class NoProgress:
    """Digest of a study's entity, and the number of ticks that started runs for it without changing the digest."""

    state_digest: str
    n_ticks: int


Periods = Mapping[StudyEntity, ObservedPeriods]
"""Partitions of the observed entities, by study and entity."""


def quota_window(
    studies: Sequence[StudySpec], collector: CollectorResource, periods: Periods | None = None
) -> dg.SensorDefinition:
    """Return the sensor over all collected assets of some studies. `periods` are the partitions that Dagster knows."""
    keys = [dg.AssetKey([study.name, entity]) for study in studies for entity in study_entities(study)]

    @dg.sensor(
        name="quota_window",
        # A `target` would require the same partitions for all assets.
        # Groups rather than assets, because the list of sensors shows the selection.
        asset_selection=dg.AssetSelection.groups(*(f"studies/{study.name}" for study in studies)),
        minimum_interval_seconds=collector.settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            clock = collector.server_clock()
        except (SettingsError, SandboxUnreachable) as error:
            return dg.SkipReason(str(error))
        now = clock.now()
        inputs, progress = _read_inputs(context, studies, keys, collector, clock)
        inputs = _without_unknown_periods(inputs, periods or {}, context)
        agenda = build_agenda(inputs, now)
        planned_runs = [item for item in agenda.items if not item.needs_no_run]
        requests = [_run_request(item, progress[item.study, item.entity], now) for item in planned_runs]
        for item in agenda.items:
            context.log.info(describe_run(item))
        message = (
            "; ".join(map(describe_run, planned_runs)) if planned_runs else describe_deferred(agenda, inputs.pools, now)
        )
        return dg.SensorResult(
            run_requests=requests,
            asset_events=[
                *materialization_events((item for item in agenda.items if item.needs_no_run), collector.settings),
            ],
            skip_reason=None if requests else message,
            # For readers only: the UI shows the cursor at the sensor. Each tick reads its inputs again.
            cursor=cursor_text(
                f"{now:%Y-%m-%d %H:%M} UTC",
                f"{pluralize(len(requests), 'run')} requested." if requests else message,
                plan_table(agenda, now),
            ),
        )

    return sensor


def _read_inputs(
    context: dg.SensorEvaluationContext,
    studies: Sequence[StudySpec],
    keys: Sequence[dg.AssetKey],
    collector: CollectorResource,
    clock: Clock,
) -> tuple[AgendaInputs, Mapping[StudyEntity, NoProgress]]:
    """Return the inputs of the agenda, and the ticks without progress of each entity. A failed read fails the tick."""
    # Runs are read before the files. A run that ends in between has then already changed the files.
    settings, now = collector.settings, clock.now()
    instance, location = context.instance, run_history.location_of(context)
    runs = run_history.active_runs(instance, collector.clock.now(), location)
    # The used requests are read before the pools, so that no request of a run counts as free twice.
    ids = [budget_run_id(instance, run) for run in runs]
    used_by_run = read_used_by_run(settings, clock, ids)
    running_requests = run_history.running_requests(
        [(run, used_by_run[run_id]) for run, run_id in zip(runs, ids, strict=True)], keys
    )
    pools, used = read_pools(settings, clock)

    def materialized(study: str, entity: str) -> list[date]:
        partitions = instance.get_materialized_partitions(dg.AssetKey([study, entity]))
        return [date.fromisoformat(partition) for partition in partitions]

    inputs = read_agenda_inputs(settings, studies, pools, now, used=used, materialized=materialized)
    backing_off_until: dict[StudyEntity, datetime] = {}
    progress: dict[StudyEntity, NoProgress] = {}
    for key in inputs.partition_status:
        digest = state_digest(inputs, key, settings)
        n_ticks, ended_at = run_history.runs_without_progress(instance, key, digest, location)
        progress[key] = NoProgress(digest, n_ticks)
        # Runs end by the machine's clock, which may differ from server time.
        if ended_at is None:
            continue
        backoff = run_history.backoff(n_ticks)
        wait = ended_at + backoff - collector.clock.now()
        # A longer wait means that the run ended while the machine's clock was ahead.
        if timedelta(0) < wait <= backoff + MAX_CLOCK_SKEW:
            backing_off_until[key] = now + wait
    return replace(inputs, running_requests=running_requests, backing_off_until=backing_off_until), progress


CURSOR_COLUMNS = 90
"""Width of a line of the cursor in characters. At window widths of 1280 to 2000 pixels, one such line fits and two do
not."""


def cursor_text(time: str, message: str, plan: str) -> str:
    """Return a message and the plan as the UI shows a table in a cursor.

    The UI joins the lines of a cursor and breaks them at ordinary spaces only.
    """
    lines = ["", *(line for line in plan.splitlines() if line)] if plan else []
    table = [line.ljust(CURSOR_COLUMNS).replace(" ", "\N{NO-BREAK SPACE}") for line in lines]
    return " ".join([f"{time}: {message}", *table])


def _without_unknown_periods(
    inputs: AgendaInputs, periods: Periods, context: dg.SensorEvaluationContext
) -> AgendaInputs:
    """Return the inputs without periods that are no partitions: a run of them would fail.

    The partitions of a finished study end when the code location is loaded. If more data was collected since, one more
    period can become due.
    """
    statuses = dict(inputs.partition_status)
    for key, known in periods.items():
        unknown = [period for period in statuses.get(key, {}) if not known.contains(period)]
        if unknown:
            context.log.warning(
                "%s is due for %s, which is no partition yet: reload the code location under Deployment.",
                "/".join(key),
                ", ".join(map(str, unknown)),
            )
            statuses[key] = {period: status for period, status in statuses[key].items() if known.contains(period)}
    return replace(inputs, partition_status=statuses)


def state_digest(inputs: AgendaInputs, key: StudyEntity, settings: Settings) -> str:
    """Return a digest of a study's entity that stays the same until a run makes progress."""
    statuses = sorted(inputs.partition_status.get(key, {}).items())
    size = open_journal_bytes(settings.captures, *key)
    canary = inputs.canary_days.get(key[0]) if key[1] == "videos" else None
    return hashlib.sha256(repr((statuses, size, canary)).encode()).hexdigest()[:16]


def _run_request(item: PlannedRun, progress: NoProgress, now: datetime) -> dg.RunRequest:
    """Return the run request of a planned run.

    Dagster ignores a run key that it has seen. So the key contains what justifies another run of the same partitions:
    the day, the digest, and the number of ticks without progress.
    """
    key = (item.study, item.entity)
    first, last = item.partitions[0].isoformat(), item.partitions[-1].isoformat()
    mode = {"recollect": True} if item.recollect else {"canary_check": True} if item.reasons == ("canary",) else {}
    config = {**mode, "max_requests": item.budget}
    return dg.RunRequest(
        run_key="/".join(
            (
                item.study,
                item.entity,
                f"{first}..{last}",
                *mode,
                f"{now.date()}",
                progress.state_digest,
                f"{progress.n_ticks}",
            )
        ),
        asset_selection=[dg.AssetKey(list(key))],
        run_config={"ops": {run_history.step_name(*key): {"config": config}}},
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
            # The queue starts the run with the highest number first.
            "dagster/priority": str(-item.priority),
            "research/partitions": first if first == last else f"{first}..{last}",
            "research/reason": ", ".join(item.reasons),
            run_history.ASSET_TAG: "/".join(key),
            run_history.STATE_TAG: progress.state_digest,
            run_history.TICK_TAG: now.isoformat(),
            run_history.REQUESTS_TAG: str(item.requests),
        },
    )


def materialization_events(items: Iterable[PlannedRun], settings: Settings) -> Iterator[dg.AssetMaterialization]:
    """Yield one materialization for each day of the planned runs, with the counts that a run would record."""
    for item in items:
        records = read_unit_status(
            settings.raw, item.entity, study=item.study, partitions=item.partitions, captures=settings.captures
        )
        records_by_day: dict[date, list[UnitStatus]] = {day: [] for day in item.partitions}
        for record in records:
            if record.attempt.state in SETTLED:
                records_by_day[record.attempt.partition].append(record)
        for day, day_records in records_by_day.items():
            yield dg.AssetMaterialization(
                [item.study, item.entity],
                partition=day.isoformat(),
                description="Already collected. Recorded without a run, because a run would send no request.",
                metadata=_counts(day_records),
            )


def _counts(records: Sequence[UnitStatus]) -> dict[str, float]:
    kept = sum(record.attempt.kept for record in records)
    return {
        "dagster/partition_row_count": kept,
        "rows asked": sum(record.attempt.asked for record in records),
        "rows offered": sum(record.attempt.offered for record in records),
        "rows kept": kept,
        "requests": round(sum(record.attempt.requests for record in records), 2),
        "units": len(records),
        "incomplete units": 0,
    }

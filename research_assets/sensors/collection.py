"""Days that are held but not yet shown as materialized: events of the sensor itself, since a run would ask nothing.

A day whose videos have no comments is held without a request, and so is one whose run died after it was published.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import dagster as dg

from research_assets.clock import Clock
from research_assets.fields import ENTITIES
from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import open_journal_bytes, read_agenda_inputs, study_entities
from research_assets.planning.messages import describe_deferred, describe_run
from research_assets.planning.types import Agenda, AgendaInputs, PlannedRun, StudyEntity
from research_assets.quota.ledger import Ledger, read_pools
from research_assets.quota.server_time import SandboxUnreachable
from research_assets.resources import CollectorResource
from research_assets.sensors import run_history
from research_assets.settings import Settings, SettingsError
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.coverage import SETTLED, UnitStatus, read_unit_status

# JOINED: """The sensor that turns free quota into runs. What is worth asking is decided in `planning/agenda.py`."""


def is_already_collected(item: PlannedRun) -> bool:
    """Whether all days of an item are only to be shown. An observed period may be held by another study's rows."""
    return item.reasons == ("mark_materialized",) and ENTITIES[item.entity].time_axis == "content"


def materialization_events(items: Iterable[PlannedRun], settings: Settings) -> Iterator[dg.AssetMaterialization]:
    """One materialization for each day of the items, with the same counts as a run gives it."""
    for item in items:
        records = read_unit_status(
            settings.raw, item.entity, study=item.study, partitions=item.partitions, captures=settings.captures
        )
        by_day: dict[date, list[UnitStatus]] = {day: [] for day in item.partitions}
        for record in records:
            if record.attempt.state in SETTLED:
                by_day[record.attempt.partition].append(record)
        for day, of_day in by_day.items():
            yield dg.AssetMaterialization(
                [item.study, item.entity],
                partition=day.isoformat(),
                description="Held already; shown without a run, which would have asked nothing.",
                metadata=_counts(of_day),
            )


def _counts(records: list[UnitStatus]) -> dict[str, float]:
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


DESCRIPTION = """Collects by itself. Whenever requests of the day's quota are free, it starts the runs that are worth
most: days that have just settled, days that have reached an age of `reobserve_days`, days whose next try has come;
then comments and the accounts of the running period; then earlier days. Once a week and study, one request looks
whether videos known from before are still found. Studies share the quota by their `quota_weight`.

It never asks for more than the quota has left. When nothing fits, it says so with the numbers: what is left, how many
units wait, when the quota opens. A run that pauses is taken up here. Switch it off to collect by hand only."""


def quota_window(studies: Sequence[StudySpec], collector: CollectorResource) -> dg.SensorDefinition:
    """The sensor over all collected assets of some studies."""
    keys = [dg.AssetKey([study.name, entity]) for study in studies for entity in study_entities(study)]

    @dg.sensor(
        name="quota_window",
        # As `target` it would need one axis of partitions for all of them.
        asset_selection=dg.AssetSelection.assets(*keys),
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
        inputs, tried = _read_inputs(context.instance, studies, keys, collector, clock)
        agenda = build_agenda(inputs, now)
        asked = [item for item in agenda.items if not is_already_collected(item)]
        shown = materialization_events(
            (item for item in agenda.items if is_already_collected(item)), collector.settings
        )
        requests = [_run_request(item, tried[item.study, item.entity], now) for item in asked]
        if requests:
            _declare_demand(agenda, inputs, collector.settings, clock)
        for item in agenda.items:
            context.log.info(describe_run(item))
        said = "; ".join(map(describe_run, asked)) if asked else describe_deferred(agenda, inputs.pools, now)
        return dg.SensorResult(
            run_requests=requests,
            asset_events=[*shown],
            skip_reason=None if requests else said,
            # For people only: the UI shows it at the sensor, and what counts is read anew at each tick.
            cursor=f"{now:%Y-%m-%d %H:%M} UTC: {said}",
        )

    return sensor


@dataclass(frozen=True, slots=True)
class NoProgress:
    """How a study's entity stands, as a digest, and how many ticks asked for its work while it stood just so."""

    state_digest: str
    n_ticks: int


def _read_inputs(
    instance: dg.DagsterInstance,
    studies: Sequence[StudySpec],
    keys: Sequence[dg.AssetKey],
    collector: CollectorResource,
    clock: Clock,
) -> tuple[AgendaInputs, Mapping[StudyEntity, NoProgress]]:
    """What is held, what runs, and what was asked in vain. A read that fails fails the tick."""
    # Before the files are read: a run that ends in between has then already changed them.
    going_on = run_history.running_requests(run_history.active_runs(instance, collector.clock.now()), keys)
    settings, now = collector.settings, clock.now()
    pools, used = read_pools(settings, clock)

    def shown(study: str, entity: str) -> list[object]:
        found = instance.get_materialized_partitions(dg.AssetKey([study, entity]))
        return [datetime.fromisoformat(key).date() for key in found]

    inputs = read_agenda_inputs(settings, studies, pools, now, used=used, shown=shown)  # type: ignore[arg-type]
    halted: dict[StudyEntity, datetime] = {}
    tried: dict[StudyEntity, NoProgress] = {}
    for key in inputs.partition_status:
        work = state_digest(inputs, key, settings)
        times, ended = run_history.runs_without_progress(instance, key, work)
        tried[key] = NoProgress(work, times)
        # Runs end by the machine's clock, which need not be the server's.
        rest = ended + run_history.backoff(times) - collector.clock.now() if ended else None
        if rest is not None and rest.total_seconds() > 0:
            halted[key] = now + rest
    return replace(inputs, running_requests=going_on, backing_off_until=halted), tried


def state_digest(inputs: AgendaInputs, key: StudyEntity, settings: Settings) -> str:
    """How a study's entity stands, in short: the same for two moments between which no run got anywhere."""
    statuses = sorted(inputs.partition_status.get(key, {}).items())
    size = open_journal_bytes(settings.captures, *key)
    canary = inputs.canary_days.get(key[0]) if key[1] == "videos" else None
    return hashlib.sha256(repr((statuses, size, canary)).encode()).hexdigest()[:16]


def _run_request(item: PlannedRun, tried: NoProgress, now: datetime) -> dg.RunRequest:
    """The run of an item. Its key names what makes another run legitimate: the day, and how things stand."""
    key = (item.study, item.entity)
    first, last = item.partitions[0].isoformat(), item.partitions[-1].isoformat()
    step = f"{item.study}__{'content' if item.entity in ('videos', 'comments') else item.entity}"
    config = {"recollect": True} if item.recollect else {"canary_check": True} if item.reasons == ("canary",) else {}
    return dg.RunRequest(
        run_key="/".join(
            (
                item.study,
                item.entity,
                f"{first}..{last}",
                *config,
                f"{now.date()}",
                tried.state_digest,
                f"{tried.n_ticks}",
            )
        ),
        asset_selection=[dg.AssetKey(list(key))],
        run_config={"ops": {step: {"config": config}}} if config else {},
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
            # The queue takes what is worth most first.
            "dagster/priority": str(-item.priority),
            "research/partitions": first if first == last else f"{first}..{last}",
            "research/reason": ", ".join(item.reasons),
            run_history.ASSET_TAG: "/".join(key),
            run_history.STATE_TAG: tried.state_digest,
            run_history.TICK_TAG: now.isoformat(),
            run_history.REQUESTS_TAG: str(item.requests),
        },
    )


def _declare_demand(agenda: Agenda, inputs: AgendaInputs, settings: Settings, clock: Clock) -> None:
    """Tell the ledger what the studies that run next want, so that the first in the queue leaves the others' shares."""
    begins = {(item.study, BY_ENTITY[item.entity].pool) for item in agenda.items}
    begins |= {(study, BY_ENTITY[entity].pool) for study, entity in inputs.running_requests}
    ledger = Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
    try:
        for study in inputs.studies:
            for pool in inputs.pools:
                wanted = agenda.demand[study.name, pool] if (study.name, pool) in begins else 0
                ledger.declare_demand(study.name, study.quota_weight, wanted, pool=pool)
    finally:
        ledger.close()

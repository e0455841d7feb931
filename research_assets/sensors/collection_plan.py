"""The plan of collection runs: the agenda of a Dagster instance, and the Dagster runs that it leads to.

The sensor quota_window and `research-assets collect` start the same runs, because both take them from here. Not here:
which work comes first (see planning/agenda.py), and how runs are read from the instance (see run_history.py).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import dagster as dg

from research_assets.clock import Clock
from research_assets.fields import ENTITIES
from research_assets.partitions import partitions_def
from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import open_journal_bytes, read_agenda_inputs, study_entities
from research_assets.planning.limits import Limits
from research_assets.planning.messages import describe_deferred
from research_assets.planning.types import Agenda, AgendaInputs, PlannedRun, StudyEntity
from research_assets.quota.ledger import read_pools, read_used_by_run
from research_assets.resources import ASSET_TAG, CollectorResource, budget_run_id
from research_assets.sensors import run_history
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import SETTLED, UnitStatus, read_unit_status
from research_assets.units.periods import ObservedPeriods

_FAILED = "FAILED"
"""Dagster's status of a partition whose last run failed, materialized before or not."""

NO_LIMITS = Limits()
"""The limits of the sensor."""


@dataclass(frozen=True, slots=True)
class EntityState:
    """Digest of a study's entity, and the id of the newest run that a tick started for it; empty if there is none."""

    state_digest: str
    newest_run: str


Periods = Mapping[StudyEntity, ObservedPeriods]
"""Partitions of the observed entities, by study and entity."""


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """The agenda at `now` (UTC, server time), with its inputs and the state of each entity.

    `unknown_periods` are due periods that are no partition yet, by study and entity: a run of them would fail.
    """

    now: datetime
    inputs: AgendaInputs
    agenda: Agenda
    states: Mapping[StudyEntity, EntityState]
    unknown_periods: Mapping[StudyEntity, Sequence[date]]

    @property
    def runs(self) -> list[PlannedRun]:
        """The planned runs, by priority."""
        return [item for item in self.agenda.items if not item.needs_no_run]

    def run_request(self, item: PlannedRun) -> dg.RunRequest:
        """Return the run request of a planned run."""
        return _run_request(item, self.states[item.study, item.entity], self.now)

    def materializations(self, settings: Settings) -> Iterator[dg.AssetMaterialization]:
        """Yield one materialization for each day that is collected but not recorded as materialized."""
        return _materialization_events((item for item in self.agenda.items if item.needs_no_run), settings)

    def describe_deferred(self) -> str:
        """Return why no run starts now, as one text."""
        return describe_deferred(self.agenda, self.inputs.pools, self.now)


def collected_keys(studies: Iterable[StudySpec]) -> list[dg.AssetKey]:
    """Return the asset keys of all collected entities of some studies."""
    return [dg.AssetKey([study.name, entity]) for study in studies for entity in study_entities(study)]


def read_collection_plan(
    instance: dg.DagsterInstance,
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    clock: Clock,
    *,
    location: str | None = None,
    periods: Periods | None = None,
    all_studies: Sequence[StudySpec] | None = None,
    limits: Limits = NO_LIMITS,
    count_cancelled: bool = True,
) -> CollectionPlan:
    """Return the plan for some studies, from the collected data, the quota and the runs of a code location.

    `clock` has the server time. `periods` are the partitions that Dagster knows; a period that is none is not planned.
    The active runs of `all_studies` count, by default those of `studies`. Without `count_cancelled` nothing waits
    because a person cancelled its last runs. A failed read raises its error.
    """
    now = clock.now()
    keys = collected_keys(all_studies or studies)
    inputs, states = _read_inputs(instance, location, studies, keys, collector, clock, count_cancelled)
    inputs, unknown = _without_unknown_periods(inputs, periods or {})
    inputs = limits.apply(inputs)
    return CollectionPlan(now, inputs, build_agenda(inputs, now), states, unknown)


def _read_inputs(
    instance: dg.DagsterInstance,
    location: str | None,
    studies: Sequence[StudySpec],
    keys: Sequence[dg.AssetKey],
    collector: CollectorResource,
    clock: Clock,
    count_cancelled: bool,
) -> tuple[AgendaInputs, Mapping[StudyEntity, EntityState]]:
    """Return the inputs of the agenda, and the state of each entity."""
    # Runs are read before the files. A run that ends in between has then already changed the files.
    settings, now = collector.settings, clock.now()
    runs = run_history.active_runs(instance, collector.clock.now(), location)
    # The used requests are read before the pools, so that no request of a run counts as free twice.
    ids = [budget_run_id(instance, run) for run in runs]
    used_by_run = read_used_by_run(settings, clock, ids)
    running_requests = run_history.running_requests(
        [(run, used_by_run[run_id]) for run, run_id in zip(runs, ids, strict=True)], keys
    )
    pools, used = read_pools(settings, clock)

    specs = {study.name: study for study in studies}

    def materialized(study: str, entity: str) -> list[date]:
        return _shown_as_materialized(instance, specs[study], entity)

    inputs = read_agenda_inputs(settings, studies, pools, now, used=used, materialized=materialized)
    backing_off_until: dict[StudyEntity, datetime] = {}
    states: dict[StudyEntity, EntityState] = {}
    for key in inputs.partition_status:
        digest = _state_digest(inputs, key, settings)
        n_ticks, ended_at, newest_run = run_history.runs_without_progress(
            instance, key, digest, location, count_cancelled=count_cancelled
        )
        states[key] = EntityState(digest, newest_run)
        # Runs end by the machine's clock, which may differ from server time.
        if ended_at is None:
            continue
        local_now = collector.clock.now()
        if (ends_at := run_history.backoff_ends_at(n_ticks, ended_at, local_now)) is not None:
            backing_off_until[key] = now + (ends_at - local_now)
    return replace(inputs, running_requests=running_requests, backing_off_until=backing_off_until), states


def _shown_as_materialized(instance: dg.DagsterInstance, study: StudySpec, entity: str) -> list[date]:
    """Return the partitions that the UI shows as materialized: a day whose last run failed is none of them."""
    key = dg.AssetKey([study.name, entity])
    partitions = sorted(instance.get_materialized_partitions(key))
    if partitions and ENTITIES[entity].time_axis == "content":
        definition = partitions_def(study, entity)
        known = [partition for partition in partitions if definition.has_partition_key(partition)]
        statuses = instance.get_status_by_partition(key, known, definition) or {}
        failed = {partition for partition, status in statuses.items() if status and status.value == _FAILED}
        partitions = [partition for partition in partitions if partition not in failed]
    return [date.fromisoformat(partition) for partition in partitions]


def _without_unknown_periods(
    inputs: AgendaInputs, periods: Periods
) -> tuple[AgendaInputs, dict[StudyEntity, list[date]]]:
    """Return the inputs without periods that are no partitions, and these periods: a run of them would fail.

    The partitions of a finished study end when the code location is loaded. If more data was collected since, one more
    period can become due.
    """
    statuses, unknown = dict(inputs.partition_status), dict[StudyEntity, list[date]]()
    for key, known in periods.items():
        others = [period for period in statuses.get(key, {}) if not known.contains(period)]
        if others:
            unknown[key] = others
            statuses[key] = {period: status for period, status in statuses[key].items() if known.contains(period)}
    return replace(inputs, partition_status=statuses), unknown


def _state_digest(inputs: AgendaInputs, key: StudyEntity, settings: Settings) -> str:
    """Return a digest of a study's entity that stays the same until a run makes progress."""
    statuses = sorted(inputs.partition_status.get(key, {}).items())
    size = open_journal_bytes(settings.captures, *key)
    canary = inputs.canary_days.get(key[0]) if key[1] == "videos" else None
    return hashlib.sha256(repr((statuses, size, canary)).encode()).hexdigest()[:16]


def _run_request(item: PlannedRun, state: EntityState, now: datetime) -> dg.RunRequest:
    """Return the run request of a planned run.

    Dagster ignores a run key that it has seen. So the key contains what justifies another run of the same partitions:
    the day, the digest, and the run before it. A number of runs would repeat after a person has deleted one.
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
                state.state_digest,
                state.newest_run or "first",
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
            ASSET_TAG: "/".join(key),
            run_history.STATE_TAG: state.state_digest,
            run_history.TICK_TAG: now.isoformat(),
            run_history.REQUESTS_TAG: str(item.requests),
        },
    )


def _materialization_events(items: Iterable[PlannedRun], settings: Settings) -> Iterator[dg.AssetMaterialization]:
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

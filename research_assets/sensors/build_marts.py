"""The sensor that builds the marts: once per batch of new data, not once per partition."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from research_assets.planning.inputs import study_entities
from research_assets.planning.messages import pluralize
from research_assets.resources import CollectorResource
from research_assets.sensors.run_history import active_runs, selected_keys
from research_assets.study.spec import StudySpec

QUIET_INTERVALS = 4
"""For so many looks nothing new must have come: the quota window has then looked too, so the batch is over."""

DATA_UNTIL_TAG = ".dagster/research_data_until"
"""Tag of a build: the newest data that it was asked for. It tells people nothing, and the UI hides tags like it."""

DESCRIPTION = """Builds and tests the marts once per batch of new data: when collecting has come to rest, whether it
is done or the quota has ended. The blocking checks are made first, in the same run, and hold the build back where they
fail; until they pass again it waits, and says which. A build whose models or tests failed is not repeated until there
is new data; materialize the group `warehouse` to build by hand. The reports of the studies are written in the same run,
after the marts."""


@dataclass(frozen=True, slots=True)
class BuildState:
    """What decides: when the newest data came, when the published marts were begun, and what stands in the way.

    `asked_for` is the newest data that a build was asked for already.
    """

    data_until: datetime | None
    built: datetime | None
    requested_until: str | None
    collecting: int
    building: bool
    failing_checks: Sequence[str] = ()


def build_blocker(seen: BuildState, now: datetime, quiet: timedelta) -> str | None:
    """Why the marts are not built now; None if they are. `quiet` is how long nothing new must have come."""
    if seen.data_until is None:
        return "Nothing was collected yet."
    if seen.built is not None and seen.data_until <= seen.built:
        return f"The marts hold all that was collected, up to {seen.data_until:%Y-%m-%d %H:%M} UTC."
    if seen.building:
        return "A build is under way."
    if seen.collecting:
        return f"{pluralize(seen.collecting, 'run')} of the collection go on; the marts follow when they have ended."
    if now - seen.data_until < quiet:
        return "New data came a moment ago; the marts follow when nothing more comes."
    if seen.failing_checks:
        return (
            f"New data waits, but {pluralize(len(seen.failing_checks), 'blocking check')} failed: {', '.join(seen.failing_checks)}. "
            "Look at the check in the UI and mend what it names, then run it again."
        )
    if seen.requested_until == data_until_tag(seen.data_until):
        return (
            "The build of this data did not publish; its run says why. It is built again when new data comes. "
            "To build now, materialize the group `warehouse`."
        )
    return None


def data_until_tag(newest: datetime) -> str:
    """The newest data, as a run's tag."""
    return newest.astimezone(UTC).isoformat()


def build_marts_on_new_data(
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    warehouse: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetCheckKey],
    reports: Sequence[dg.AssetKey] = (),
    of_marts: Sequence[dg.AssetCheckKey] = (),
) -> dg.SensorDefinition:
    """The sensor over all assets of the warehouse, and over the `reports`, which are written in the same run.

    `checks` are the blocking ones of the collected assets, `of_marts` those that are made after each build.
    """
    collected = [dg.AssetKey([study.name, entity]) for study in studies for entity in study_entities(study)]
    settings = collector.settings

    @dg.sensor(
        name="build_marts_on_new_data",
        asset_selection=dg.AssetSelection.assets(*warehouse, *reports),
        minimum_interval_seconds=2 * settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        instance = context.instance
        runs = active_runs(instance, collector.clock.now())
        newest = last_publication(settings.raw)
        seen = BuildState(
            data_until=newest,
            built=_last_build_started_at(instance, warehouse) if settings.warehouse.exists() else None,
            requested_until=_last_requested(instance),
            collecting=sum(1 for run in runs if selected_keys(run, collected)),
            building=any(selected_keys(run, warehouse) for run in runs),
            failing_checks=_failing(instance, checks),
        )
        reason = build_blocker(
            seen, collector.clock.now(), timedelta(seconds=QUIET_INTERVALS * settings.sensor_interval)
        )
        if reason is not None or newest is None:
            return dg.SkipReason(reason)
        request = dg.RunRequest(
            run_key=data_until_tag(newest),
            asset_selection=[*warehouse, *reports],
            # The blocking ones are made in the same run and before the build: a run that paused made none.
            asset_check_keys=[*checks, *of_marts] or None,
            tags={DATA_UNTIL_TAG: data_until_tag(newest), "dagster/priority": "1"},
        )
        return dg.SensorResult(run_requests=[request], cursor=data_until_tag(newest))

    return sensor


def last_publication(raw: Path) -> datetime | None:
    """When the collection last published something: each of its publications writes coverage."""
    stamps = [path.stat().st_mtime for path in (raw / "coverage").glob("study=[!_]*/day=*/*.parquet")]
    return datetime.fromtimestamp(max(stamps), UTC) if stamps else None


def _last_build_started_at(instance: dg.DagsterInstance, warehouse: Sequence[dg.AssetKey]) -> datetime | None:
    """When the run began that published the marts last: it has read what was there then."""
    events = instance.get_latest_materialization_events(list(warehouse))
    runs = {event.run_id for event in events.values() if event is not None}
    records = instance.get_run_records(filters=dg.RunsFilter(run_ids=list(runs))) if runs else []
    begun = [record.start_time for record in records if record.start_time is not None]
    return datetime.fromtimestamp(max(begun), UTC) if begun else None


def _last_requested(instance: dg.DagsterInstance) -> str | None:
    by_sensor = dg.RunsFilter(tags={"dagster/sensor_name": "build_marts_on_new_data"})
    records = instance.get_run_records(filters=by_sensor, limit=1)
    return records[0].dagster_run.tags.get(DATA_UNTIL_TAG) if records else None


def _failing(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> list[str]:
    """Blocking checks whose last verdict is an error."""
    failing = []
    for key in checks:
        evaluation = instance.get_latest_asset_check_evaluation_record(key)
        reported = evaluation.event.asset_check_evaluation if evaluation and evaluation.event else None
        if reported is not None and not reported.passed and reported.severity == dg.AssetCheckSeverity.ERROR:
            failing.append(f"{key.asset_key.to_user_string()}: {key.name}")
    return failing

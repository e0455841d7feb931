"""The sensor `build_marts_on_new_data`, which builds the marts once per batch of new data, not once per partition.

Not here: the build itself (see assets/warehouse.py and warehouse/build.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from research_assets.planning.messages import pluralize
from research_assets.resources import CollectorResource
from research_assets.sensors.collection_plan import collected_keys
from research_assets.sensors.run_history import active_runs, is_of_location, location_of, selected_keys
from research_assets.sensors.study_files import read_declared
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.warehouse.changes import Publications, list_publications

QUIET_INTERVALS = 4
"""Sensor intervals without new data after which a batch is over. By then the sensor quota_window has had a tick that
could have started more runs."""

DATA_TAG = ".dagster/research_data"
"""Run tag of a build: a digest of the new data for which it was requested. The UI hides tags with this prefix."""

_MAX_RUNS = 16
"""Runs of the sensor that are searched for its last one: another code location may have a sensor of the same name."""

DESCRIPTION = """Builds the marts and writes the reports and coverage boards, once per batch of new data.

The marts are tested before they are published.

A batch is over when no collection run is active and no data has arrived for a few sensor intervals, whether the
collection is complete or the quota is used up. The blocking checks run first, in the same run. While one of them fails,
the sensor starts no build and its tick names the check.

Cost: no request.

Re-run: a build with failed models or tests is not repeated until there is new data. To build by hand, materialize
the group warehouse/marts.

Terms: docs/glossary.md"""


@dataclass(frozen=True, slots=True)
class BuildState:
    """The facts for the decision: the new data and the build of them, active runs and failing checks.

    `requested` is the tag of the data for which a build was requested last. `collecting` counts collection runs,
    `building` says whether a build is active.
    """

    data: Publications
    requested: str | None
    collecting: int
    building: bool
    failing_checks: Sequence[str] = ()


def build_blocker(state: BuildState, now: datetime, quiet: timedelta) -> str | None:
    """Return why no build starts now, None if one starts. `quiet` is the time without new data that ends a batch."""
    if state.data.newest is None:
        return "No data collected yet."
    if state.data.unbuilt_newest is None:
        return f"The marts contain all data collected until {state.data.newest:%Y-%m-%d %H:%M} UTC."
    if state.building:
        return "A build is running."
    if state.collecting:
        return (
            f"{pluralize(state.collecting, 'collection run')} in progress. The marts are built after the last one ends."
        )
    # Data from the future was stored while the machine's clock was ahead.
    if abs(now - state.data.unbuilt_newest) < quiet:
        return f"New data arrived recently. The marts are built once no data has arrived for {_format_duration(quiet)}."
    if state.failing_checks:
        return (
            f"New data is waiting, but {pluralize(len(state.failing_checks), 'blocking check')} failed: "
            f"{', '.join(state.failing_checks)}. Open the check in the UI, fix the cause and run the check again."
        )
    if state.requested == state.data.unbuilt:
        return (
            "The build of this data was not published; see its run for the reason. The sensor builds again when new "
            "data arrives. To build now, run `research-assets build` or materialize the group `warehouse/marts`."
        )
    return None


def build_marts_on_new_data(
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    warehouse: Sequence[dg.AssetKey],
    blocking_checks: Sequence[dg.AssetCheckKey],
    reports: Sequence[dg.AssetKey] = (),
    checks_after_build: Sequence[dg.AssetCheckKey] = (),
    target: dg.AssetSelection | None = None,
    read_studies: Callable[[], Sequence[StudySpec]] | None = None,
) -> dg.SensorDefinition:
    """Return the sensor over all assets of the warehouse, and over the `reports`, which the same run writes.

    `target` is a short selection that contains them, for the list of sensors; by default it names each asset.
    `read_studies` reads the study files; while one is invalid a tick that would start a build fails.
    """
    collected = collected_keys(studies)
    settings = collector.settings

    @dg.sensor(
        name="build_marts_on_new_data",
        asset_selection=target or dg.AssetSelection.assets(*warehouse, *reports),
        minimum_interval_seconds=2 * settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        state = read_build_state(
            context.instance,
            settings,
            collector.clock.now(),
            collected=collected,
            warehouse=warehouse,
            blocking_checks=blocking_checks,
            location=location_of(context),
        )
        reason = build_blocker(
            state, collector.clock.now(), timedelta(seconds=QUIET_INTERVALS * settings.sensor_interval)
        )
        if reason is not None:
            return dg.SkipReason(reason)
        # The build would fail and would not be repeated until new data arrives.
        if read_studies is not None:
            read_declared(read_studies)
        request = dg.RunRequest(
            run_key=state.data.unbuilt,
            asset_selection=[*warehouse, *reports],
            # The blocking checks run in the same run, before the build: a run that paused may not have run them.
            asset_check_keys=[*blocking_checks, *checks_after_build] or None,
            tags={DATA_TAG: state.data.unbuilt, "dagster/priority": "1"},
        )
        return dg.SensorResult(run_requests=[request], cursor=state.data.unbuilt)

    return sensor


def read_build_state(
    instance: dg.DagsterInstance,
    settings: Settings,
    now: datetime,
    *,
    collected: Sequence[dg.AssetKey],
    warehouse: Sequence[dg.AssetKey],
    blocking_checks: Sequence[dg.AssetCheckKey],
    location: str | None = None,
) -> BuildState:
    """Return the facts for the decision, from the runs of a code location and the raw tables.

    `collected` are the assets of all studies. `now` is the machine's time.
    """
    runs = active_runs(instance, now, location)
    return BuildState(
        data=list_publications(settings, is_built=_is_materialized(instance, warehouse)),
        requested=_last_requested(instance, location),
        collecting=sum(1 for run in runs if selected_keys(run, collected)),
        building=any(selected_keys(run, warehouse) for run in runs),
        failing_checks=_failing_checks(instance, blocking_checks),
    )


def _is_materialized(instance: dg.DagsterInstance, warehouse: Sequence[dg.AssetKey]) -> bool:
    """Return whether Dagster knows of a build of the marts; it does not if its storage was deleted."""
    return any(instance.get_latest_materialization_events(list(warehouse)).values())


def _last_requested(instance: dg.DagsterInstance, location: str | None) -> str | None:
    by_sensor = dg.RunsFilter(tags={"dagster/sensor_name": "build_marts_on_new_data"})
    runs = instance.get_runs(filters=by_sensor, limit=_MAX_RUNS)
    return next((run.tags.get(DATA_TAG) for run in runs if is_of_location(run, location)), None)


def _failing_checks(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> list[str]:
    """Return the checks whose last result is a failure of severity error, as `<study>/<entity>: <check>`."""
    failing = []
    for key in checks:
        record = instance.get_latest_asset_check_evaluation_record(key)
        evaluation = record.event.asset_check_evaluation if record and record.event else None
        if evaluation is not None and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            failing.append(f"{key.asset_key.to_user_string()}: {key.name}")
    return failing


def _format_duration(duration: timedelta) -> str:
    """Return a duration in minutes, or in seconds if it is no whole number of minutes."""
    seconds = round(duration.total_seconds())
    return pluralize(seconds, "second") if seconds % 60 else pluralize(seconds // 60, "minute")

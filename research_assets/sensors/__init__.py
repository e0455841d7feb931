"""The sensors and the schedule of the code location. Each is a thin wrapper around a pure decision function.

`collection.py` starts collection runs while quota is free, as `collection_plan.py` plans them, and `build_marts.py`
builds the marts once per batch of new data.
`verification.py` verifies that stored ids still exist. `run_failures.py` and `sensor_failures.py` write alerts,
`orphaned_runs.py` fails runs whose process no longer exists (`run_process.py` notes it), and `daily_checks.py` runs the
checks and verifies the files. `run_history.py` reads runs for them. Not here: which work comes next (see
planning/agenda.py), and how an alert is delivered (see alerts.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

from research_assets.resources import CollectorResource
from research_assets.sensors.build_marts import build_marts_on_new_data
from research_assets.sensors.collection import quota_window
from research_assets.sensors.collection_plan import Periods
from research_assets.sensors.daily_checks import run_checks_daily, verify_files_daily
from research_assets.sensors.orphaned_runs import fail_orphaned_runs
from research_assets.sensors.run_failures import alert_on_run_failure
from research_assets.sensors.sensor_failures import alert_on_sensor_failure
from research_assets.sensors.verification import verification_job, verify_due_items
from research_assets.study.spec import StudySpec

__all__ = ["CheckKeys", "build_automation"]


@dataclass(frozen=True, slots=True)
class CheckKeys:
    """Checks by the time at which they run, besides the collection runs that include their own checks.

    `blocking` checks run before each build of the marts and prevent it while they fail, `after_build` checks run after
    it, and `daily` checks run each morning. `files` is the check of a share of all files.
    """

    blocking: Sequence[dg.AssetCheckKey] = ()
    after_build: Sequence[dg.AssetCheckKey] = ()
    daily: Sequence[dg.AssetCheckKey] = ()
    files: dg.AssetCheckKey | None = None


def build_automation(
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    warehouse: Sequence[dg.AssetKey],
    checks: CheckKeys = CheckKeys(),
    reports: Sequence[dg.AssetKey] = (),
    periods: Periods | None = None,
    build_target: dg.AssetSelection | None = None,
    read_studies: Callable[[], Sequence[StudySpec]] | None = None,
) -> dg.Definitions:
    """Return the sensors and schedules of the code location.

    The `reports` are written after the marts. `periods` are the partitions of the observed entities.
    `build_target` is a short selection that contains the `warehouse` and the `reports`. `read_studies` reads the study
    files again, see `quota_window`.
    """
    settings, clock = collector.settings, collector.clock
    sensors = [
        alert_on_run_failure(settings, clock),
        alert_on_sensor_failure(settings, clock),
        fail_orphaned_runs(settings, clock),
    ]
    if studies:
        sensors += [
            quota_window(studies, collector, periods, read_studies),
            build_marts_on_new_data(
                studies, collector, warehouse, checks.blocking, reports, checks.after_build, build_target, read_studies
            ),
        ]
    # Stored data must be verified also when its study file is gone.
    if studies or settings.raw.exists():
        sensors.append(verify_due_items(collector))
    schedules = [run_checks_daily(checks.daily)] if checks.daily else []
    if checks.files is not None:
        schedules.append(verify_files_daily(checks.files))
    return dg.Definitions(sensors=sensors, schedules=schedules, jobs=[verification_job])

"""What happens by itself: thin shells around pure decisions.

`quota_window` asks what is worth most while quota is free, `build_marts_on_new_data` builds the marts once per batch of new
data, `alert_on_run_failure` writes down which runs failed and tells whoever wants to know, `alert_on_sensor_failure` the
same of sensors, `fail_orphaned_runs` ends runs whose process is gone, `run_checks_daily` makes the checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from research_assets.resources import CollectorResource
from research_assets.sensors.build_marts import build_marts_on_new_data
from research_assets.sensors.collection import quota_window
from research_assets.sensors.daily_checks import run_checks_daily
from research_assets.sensors.orphaned_runs import fail_orphaned_runs
from research_assets.sensors.run_failures import alert_on_run_failure
from research_assets.sensors.sensor_failures import alert_on_sensor_failure
from research_assets.study.spec import StudySpec

__all__ = ["CheckKeys", "build_automation"]


@dataclass(frozen=True, slots=True)
class CheckKeys:
    """Checks by when they are made besides the runs that bring data.

    `blocking` ones before each build of the marts, which they hold back while they fail; those `of_marts` after it;
    `daily` ones each morning.
    """

    blocking: Sequence[dg.AssetCheckKey] = ()
    after_build: Sequence[dg.AssetCheckKey] = ()
    daily: Sequence[dg.AssetCheckKey] = ()


def build_automation(
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    warehouse: Sequence[dg.AssetKey],
    checks: CheckKeys = CheckKeys(),
    reports: Sequence[dg.AssetKey] = (),
) -> dg.Definitions:
    """The sensors and schedules of the code location; `reports` are written after the marts."""
    settings, clock = collector.settings, collector.clock
    sensors = [
        alert_on_run_failure(settings, clock),
        alert_on_sensor_failure(settings, clock),
        fail_orphaned_runs(settings),
    ]
    if studies:
        sensors += [
            quota_window(studies, collector),
            build_marts_on_new_data(studies, collector, warehouse, checks.blocking, reports, checks.after_build),
        ]
    return dg.Definitions(sensors=sensors, schedules=[run_checks_daily(checks.daily)] if checks.daily else [])

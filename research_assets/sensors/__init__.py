"""What happens by itself: thin shells around pure decisions.

`quota_window` asks what is worth most while quota is free, `marts_follow_data` builds the marts once per batch of new
data, `failures_are_told` writes down what failed and tells whoever wants to know, `lost_runs_are_ended` ends runs whose
process is gone.
"""

from collections.abc import Sequence

import dagster as dg

from research_assets.collect.spec import StudySpec
from research_assets.resources import Collection
from research_assets.sensors.failures import failures_are_told
from research_assets.sensors.lost import lost_runs_are_ended
from research_assets.sensors.marts import marts_follow_data
from research_assets.sensors.quota_window import quota_window

__all__ = ["automation"]


def automation(
    studies: Sequence[StudySpec],
    collection: Collection,
    warehouse: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetCheckKey] = (),
    reports: Sequence[dg.AssetKey] = (),
) -> dg.Definitions:
    """The sensors of the code location.

    `checks` are the blocking ones, which hold the marts back while they fail; `reports` are written after the marts.
    """
    sensors = [failures_are_told(collection.settings, collection.clock), lost_runs_are_ended(collection.settings)]
    if studies:
        sensors += [
            quota_window(studies, collection),
            marts_follow_data(studies, collection, warehouse, checks, reports),
        ]
    return dg.Definitions(sensors=sensors)

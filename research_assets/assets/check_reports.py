"""Results of asset checks that a run reports outside their check steps. Not here: the checks (see checks/)."""

import json
from typing import Any

import dagster as dg


def report_check_result(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, result: dg.AssetCheckResult, *, blocking: bool
) -> None:
    """Report the result of a check for the latest materialization of its asset.

    Without that materialization Dagster compares the times of the two events, in whole seconds for the check. A check
    that ends in the second of the materialization would then be shown as not evaluated.
    """
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
            blocking=blocking,
            target_materialization_data=_latest_materialization(instance, key.asset_key),
        )
    )


def _latest_materialization(instance: dg.DagsterInstance, key: dg.AssetKey) -> Any:
    """Return Dagster's reference to the latest materialization of an asset; None without one.

    Its class has no public name. Its stored form must stay readable, because event logs contain it.
    """
    latest = instance.fetch_materializations(key, limit=1).records
    if not latest:
        return None
    return dg.deserialize_value(
        json.dumps(
            {
                "__class__": "AssetCheckEvaluationTargetMaterializationData",
                "storage_id": latest[0].storage_id,
                "run_id": latest[0].run_id,
                "timestamp": latest[0].timestamp,
            }
        )
    )

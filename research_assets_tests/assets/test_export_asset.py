"""The export asset of a study makes what the Launchpad requests, and fails with a reason if it cannot."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.assets.export import export_asset
from research_assets.export import list_exports
from research_assets.resources import warehouse_resource
from research_assets.settings import Settings
from research_assets_tests.conftest import FakeClock
from research_assets_tests.export.export_warehouse import STUDY, make_warehouse

MARTS = [dg.AssetKey(["marts", "videos"]), dg.AssetKey(["staging", "stg_tiktok__videos"])]


@pytest.fixture
def export_settings(tmp_path: Path) -> Settings:
    return make_warehouse(tmp_path / "data")


def run(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    asset = export_asset(STUDY, settings, MARTS, clock=FakeClock())
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset],
            instance=instance,
            resources={"warehouse": warehouse_resource(settings)},
            run_config={"ops": {"garden__export": {"config": config}}},
            raise_on_error=False,
        )


def test_export_depends_on_the_marts_and_has_no_automation(export_settings: Settings) -> None:
    asset = export_asset(STUDY, export_settings, MARTS)
    (spec,) = asset.specs
    assert spec.key == dg.AssetKey(["garden", "export"])
    assert spec.group_name == "results/garden"
    assert [dep.asset_key for dep in spec.deps] == [MARTS[0]]
    assert spec.automation_condition is None


def test_export_without_config_contains_the_whole_study(export_settings: Settings) -> None:
    result = run(export_settings)
    assert result.success
    (event,) = result.asset_materializations_for_node("garden__export")
    (listed,) = list_exports(export_settings)
    assert (listed.request.studies, listed.request.formats) == (("garden",), ("parquet", "csv"))
    assert event.metadata["folder"].value == str(listed.folder)
    assert event.metadata["rows"].value == sum(listed.rows.values()) == 12
    assert "| videos | 2 |" in str(event.metadata["tables"].value)


def test_export_follows_the_run_config(export_settings: Settings) -> None:
    assert run(export_settings, formats=["stata"], first="2026-02-02", pseudonymous=True).success
    (listed,) = list_exports(export_settings)
    assert (listed.rows["videos"], listed.request.pseudonymous, list(listed.skipped)) == (1, True, ["users"])
    assert run(export_settings, ids_only=True).success
    assert {"ids": 4} in [export.rows for export in list_exports(export_settings)]


def test_impossible_export_fails_with_a_reason(export_settings: Settings) -> None:
    result = run(export_settings, marts=["vids"])
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "There is no mart vids; there are: comments" in str(failure.step_failure_data.user_failure_data)
    assert list_exports(export_settings) == []

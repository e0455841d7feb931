"""The asset of a study's export: what the Launchpad asks for is what is made, and a refusal is a plain failure."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.assets.export import export_asset
from research_assets.export import list_exports
from research_assets.settings import Settings
from research_assets_tests.conftest import FakeClock
from research_assets_tests.export.export_warehouse import STUDY, make_warehouse

MARTS = [dg.AssetKey(["marts", "videos"]), dg.AssetKey(["staging", "stg_tiktok__videos"])]


@pytest.fixture
def export_settings(tmp_path: Path) -> Settings:
    return make_warehouse(tmp_path / "house")


def run(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    asset = export_asset(STUDY, settings, MARTS, clock=FakeClock())
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset],
            instance=instance,
            run_config={"ops": {"garden__export": {"config": config}}},
            raise_on_error=False,
        )


def test_it_follows_the_marts_and_nothing_starts_it_by_itself(export_settings: Settings) -> None:
    asset = export_asset(STUDY, export_settings, MARTS)
    (spec,) = asset.specs
    assert spec.key == dg.AssetKey(["garden", "export"])
    assert spec.group_name == "garden"
    assert [dep.asset_key for dep in spec.deps] == [MARTS[0]]
    assert spec.automation_condition is None


def test_without_an_answer_everything_of_the_study_is_exported(export_settings: Settings) -> None:
    result = run(export_settings)
    assert result.success
    (event,) = result.asset_materializations_for_node("garden__export")
    (one,) = list_exports(export_settings)
    assert (one.request.studies, one.request.formats) == (("garden",), ("parquet", "csv"))
    assert event.metadata["folder"].value == str(one.folder)
    assert event.metadata["rows"].value == sum(one.rows.values()) == 12
    assert "| videos | 2 |" in str(event.metadata["tables"].value)


def test_what_the_launchpad_asks_for_is_made(export_settings: Settings) -> None:
    assert run(export_settings, formats=["stata"], first="2026-02-02", pseudonymous=True).success
    (one,) = list_exports(export_settings)
    assert (one.rows["videos"], one.request.pseudonymous, list(one.skipped)) == (1, True, ["users"])
    assert run(export_settings, ids_only=True).success
    assert {"ids": 4} in [each.rows for each in list_exports(export_settings)]


def test_what_cannot_be_made_fails_with_the_reason(export_settings: Settings) -> None:
    result = run(export_settings, marts=["vids"])
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "There is no mart vids; there are: comments" in str(failure.step_failure_data.user_failure_data)
    assert list_exports(export_settings) == []

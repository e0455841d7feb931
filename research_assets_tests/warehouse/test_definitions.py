"""The asset graph of the dbt project, and how it is loaded."""

import os
from pathlib import Path

import dagster as dg
import pytest

from research_assets.assets.warehouse import prepare_manifest, warehouse_definitions
from research_assets.settings import Settings
from research_assets.warehouse import dbt_runner
from research_assets_tests.warehouse.conftest import BuiltWarehouse
from research_assets_tests.warehouse.raw_data import UPSTREAM


def deps(definitions: dg.Definitions, *path: str) -> set[str]:
    """Return the keys of an asset's parents."""
    graph = definitions.resolve_asset_graph()
    return {key.to_user_string() for key in graph.get(dg.AssetKey(path)).parent_keys}


def test_staging_depends_on_the_assets_of_every_study(built_warehouse: BuiltWarehouse) -> None:
    definitions = warehouse_definitions(UPSTREAM, built_warehouse.settings)
    dg.Definitions.validate_loadable(definitions)
    assert deps(definitions, "staging", "stg_tiktok__videos") == {"bikes/videos", "garden/videos"}
    assert deps(definitions, "marts", "videos") == {"staging/int_videos__latest", "staging/stg_tiktok__videos"}
    assert deps(definitions, "staging", "stg_research__coverage") == {
        key.to_user_string() for keys in UPSTREAM.values() for key in keys
    }
    assert deps(definitions, "staging", "stg_research__expected_units") == set()
    assert deps(definitions, "staging", "stg_research__requests") == set()


def test_every_model_has_group_description_and_code_version(built_warehouse: BuiltWarehouse) -> None:
    definitions = warehouse_definitions(UPSTREAM, built_warehouse.settings)
    specs = [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] in {"staging", "marts"}]
    assert len(specs) > 30
    assert {spec.group_name for spec in specs} == {"warehouse"}
    assert all((spec.description or "").startswith("Grain: ") for spec in specs)
    assert all(spec.code_version and {"dbt", "duckdb"} <= spec.kinds for spec in specs)


def test_every_test_has_a_short_name_and_a_description(built_warehouse: BuiltWarehouse) -> None:
    [assets] = warehouse_definitions(UPSTREAM, built_warehouse.settings).assets or ()
    assert isinstance(assets, dg.AssetsDefinition)
    specs = {spec.name: spec for spec in assets.check_specs}
    assert len(specs) > 25
    assert all(len(name) < 45 and "__" not in name for name in specs), sorted(specs)
    assert specs["engagements_kind_is_known"].description == "Each kind is one of: like, repost, pin."
    assert "same study, day, and none" in (specs["study_days_grain"].description or "")
    assert all(spec.description for spec in specs.values())
    assert specs["study_days_grain"].blocking
    assert not specs["comments_refer_to_videos"].blocking


def test_code_location_loads_without_studies(built_warehouse: BuiltWarehouse) -> None:
    definitions = warehouse_definitions({}, built_warehouse.settings)
    dg.Definitions.validate_loadable(definitions)
    assert deps(definitions, "staging", "stg_tiktok__videos") == set()


def test_second_load_parses_nothing(built_warehouse: BuiltWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbt_runner, "parse_project", lambda _: pytest.fail("parsed"))
    warehouse_definitions(UPSTREAM, built_warehouse.settings)


def test_outdated_manifest_is_parsed_again(built_warehouse: BuiltWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Settings] = []
    monkeypatch.setattr(dbt_runner, "parse_project", parsed.append)
    digest_file = built_warehouse.settings.dbt_target / "manifest.sha256"
    digest = digest_file.read_text()
    try:
        digest_file.write_text("of another project")
        prepare_manifest(built_warehouse.settings)
    finally:
        digest_file.write_text(digest)
    assert parsed == [built_warehouse.settings]


def test_project_that_cannot_be_parsed_raises_dbt_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt_runner, "DBT_PROJECT_DIR", tmp_path)
    (tmp_path / "dbt_project.yml").write_text("name: broken\nprofile: missing\n")
    (tmp_path / "profiles.yml").write_text("{}\n")
    environment = dict(os.environ)
    with pytest.raises(dbt_runner.DbtError, match=r"(?s)cannot be parsed.*dbt\.log"):
        prepare_manifest(settings)
    assert dict(os.environ) == environment

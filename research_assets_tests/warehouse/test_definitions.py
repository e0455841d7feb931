"""The asset graph of the dbt project, and how it is loaded."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import orjson
import pytest
from dagster_dbt import DagsterDbtTranslator

from research_assets.assets.dbt_specs import UNIQUE_ID, dbt_specs
from research_assets.assets.warehouse import prepare_manifest, warehouse_definitions
from research_assets.settings import Settings, child_environment
from research_assets.warehouse import dbt_runner
from research_assets_tests.preloaded import start_as_users_do
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
    assert deps(definitions, "marts", "videos") == {
        "staging/stg_tiktok__videos",
        "staging/stg_research__coverage",
        "staging/stg_research__verified_videos",
        "staging/int_days__sampled",
        "staging/int_videos__comments",
        "staging/int_videos__rounds",
        "marts/video_renames",
    }
    assert deps(definitions, "staging", "stg_research__coverage") == {
        key.to_user_string() for keys in UPSTREAM.values() for key in keys
    }
    assert deps(definitions, "staging", "stg_research__expected_units") == set()
    assert deps(definitions, "staging", "stg_research__requests") == set()


def test_every_model_has_group_description_and_code_version(built_warehouse: BuiltWarehouse) -> None:
    definitions = warehouse_definitions(UPSTREAM, built_warehouse.settings)
    specs = [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] in {"staging", "marts"}]
    assert len(specs) > 30
    groups = {str(spec.group_name) for spec in specs}
    assert groups == {"warehouse/staging", "warehouse/intermediate", "warehouse/marts"}
    for spec in specs:
        description = spec.description or ""
        assert description.startswith("Grain: ")
        # The columns come next on the page of an asset, so no templated SQL may precede them.
        assert len(description) < 700
        assert "{{" not in description
        if spec.key.path[-1] != "codebook":
            assert description.splitlines()[-1].startswith("Defined in `dbt_project/")
    of_dbt = [spec for spec in specs if spec.key.path[-1] != "codebook"]
    assert all(spec.code_version and {"dbt", "duckdb"} <= spec.kinds for spec in of_dbt)


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


def test_specs_equal_those_of_dagster_dbt(built_warehouse: BuiltWarehouse) -> None:
    manifest = orjson.loads(prepare_manifest(built_warehouse.settings).read_bytes())
    translator = DagsterDbtTranslator()
    # Without collected assets, staging has no parents: the sources are not assets of this project.
    specs, checks = dbt_specs(manifest, {})
    own_metadata = {"dagster_dbt/manifest", "dagster_dbt/dagster_dbt_translator", "dagster_dbt/project_id"}
    for spec in specs:
        expected = translator.get_asset_spec(manifest, spec.metadata[UNIQUE_ID], None)
        sources = {key for key in (dep.asset_key for dep in expected.deps) if key.path[0] == "raw"}
        # In the UI the column descriptions of the project would hide those that each build reports.
        dropped = own_metadata | {"dagster/column_schema"}
        metadata = {key: value for key, value in expected.metadata.items() if key not in dropped}
        assert (spec.key, spec.code_version) == (expected.key, expected.code_version)
        node = manifest["nodes"][spec.metadata[UNIQUE_ID]]
        words = (spec.description or "").split()
        assert words[: len(node["description"].split())] == node["description"].split()
        assert (spec.metadata, spec.tags, spec.kinds) == (metadata, expected.tags, expected.kinds)
        assert (spec.owners, spec.skippable) == (expected.owners, expected.skippable)
        assert {dep.asset_key for dep in spec.deps} == {dep.asset_key for dep in expected.deps} - sources
    assert {spec.metadata[UNIQUE_ID] for spec in specs} == {
        unique_id for unique_id, node in manifest["nodes"].items() if node["resource_type"] in {"model", "seed"}
    }
    tests = {unique_id for unique_id, node in manifest["nodes"].items() if node["resource_type"] == "test"}
    by_id = {(check.metadata or {})[UNIQUE_ID]: check for check in checks}
    assert by_id.keys() == tests
    assets = {spec.key: spec for spec in specs}
    for unique_id, check in by_id.items():
        expected_check = translator.get_asset_check_spec(assets[check.asset_key], manifest, unique_id, None)
        assert expected_check is not None
        assert check._replace(description=None) == expected_check._replace(description=None)


def test_loading_the_definitions_imports_neither_dagster_dbt_nor_dbt(built_warehouse: BuiltWarehouse) -> None:
    code = (
        "import sys\n"
        "from research_assets.definitions import build_definitions\n"
        "from research_assets.settings import Settings\n"
        "build_definitions(Settings.from_env()).get_repository_def()\n"
        "print({'dagster_dbt', 'dbt', 'sqlglot'} & sys.modules.keys())"
    )
    environment = child_environment(built_warehouse.settings)
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == "set()"


def test_code_location_loads_without_studies(built_warehouse: BuiltWarehouse) -> None:
    definitions = warehouse_definitions({}, built_warehouse.settings)
    dg.Definitions.validate_loadable(definitions)
    assert deps(definitions, "staging", "stg_tiktok__videos") == set()


def test_second_load_parses_nothing(built_warehouse: BuiltWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbt_runner, "call_dbt", lambda *_: pytest.fail("parsed"))
    warehouse_definitions(UPSTREAM, built_warehouse.settings)


def test_outdated_manifest_is_parsed_again(built_warehouse: BuiltWarehouse) -> None:
    manifest, mark = (built_warehouse.settings.dbt_target / name for name in ("manifest.json", "manifest.sha256"))
    digest = mark.read_text()
    mark.write_text("of another project")
    manifest.write_text("{}")
    prepare_manifest(built_warehouse.settings)
    assert mark.read_text() == digest
    assert len(manifest.read_text()) > 1000


def test_dbt_ends_with_the_process_that_started_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    start_as_users_do(monkeypatch)
    # Parsing takes seconds; here the parent is killed at once.
    parents_code = (
        "import os, sys; from research_assets.warehouse.dbt_runner import prepare_manifest;"
        "from research_assets.settings import Settings; prepare_manifest(Settings.from_env())"
    )
    environment = child_environment(settings)
    with subprocess.Popen([sys.executable, "-c", parents_code], env=environment, start_new_session=True) as parent:
        while not (children := _children(parent.pid)):
            assert parent.poll() is None
        parent.kill()
    [dbt] = children
    deadline = time.monotonic() + 60
    while Path(f"/proc/{dbt}").exists() and "Z" not in Path(f"/proc/{dbt}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "dbt still runs"


def _children(process: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_project_that_cannot_be_parsed_raises_dbt_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt_runner, "DBT_PROJECT_DIR", tmp_path)
    (tmp_path / "dbt_project.yml").write_text("name: broken\nprofile: missing\n")
    (tmp_path / "profiles.yml").write_text("{}\n")
    with pytest.raises(dbt_runner.DbtError, match=r"(?s)dbt could not parse .*profiles\.yml.*dbt\.log"):
        prepare_manifest(settings)


def test_keys_of_the_warehouse_can_have_a_prefix(built_warehouse: BuiltWarehouse) -> None:
    settings = replace(built_warehouse.settings, key_prefix="lab/tiktok")
    definitions = warehouse_definitions(UPSTREAM, settings)
    dg.Definitions.validate_loadable(definitions)
    [asset] = definitions.assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    assert {tuple(key.path[:2]) for key in asset.keys} == {("lab", "tiktok")}
    assert {tuple(key.asset_key.path[:2]) for key in asset.check_keys} == {("lab", "tiktok")}
    assert deps(definitions, "lab", "tiktok", "marts", "videos") == {
        "lab/tiktok/staging/stg_tiktok__videos",
        "lab/tiktok/staging/stg_research__coverage",
        "lab/tiktok/staging/stg_research__verified_videos",
        "lab/tiktok/staging/int_days__sampled",
        "lab/tiktok/staging/int_videos__comments",
        "lab/tiktok/staging/int_videos__rounds",
        "lab/tiktok/marts/video_renames",
    }

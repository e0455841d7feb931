"""The dbt project: every column has a description, marts have contracts, and the unit tests pass."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from research_assets.report import REQUIRED_MARTS
from research_assets.settings import DBT_PROJECT_DIR
from research_assets.warehouse import dbt_runner
from research_assets.warehouse.changes import scratch_path
from research_assets_tests.warehouse.conftest import BuiltWarehouse, query


def documented_nodes(built_warehouse: BuiltWarehouse) -> Iterator[dict[str, Any]]:
    """Yield the models and seeds of the manifest."""
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    yield from (node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed"))


@pytest.fixture(scope="module")
def models(built_warehouse: BuiltWarehouse) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the models and seeds that are relations, by schema and name."""
    nodes = (node for node in documented_nodes(built_warehouse) if node["config"]["materialized"] != "ephemeral")
    return {(node["schema"], node["name"]): node for node in nodes}


def test_every_column_has_a_description(
    built_warehouse: BuiltWarehouse, models: dict[tuple[str, str], dict[str, Any]]
) -> None:
    built: dict[tuple[str, str], list[str]] = {}
    for path in (built_warehouse.settings.warehouse, scratch_path(built_warehouse.settings)):
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, relation, column in connection.execute(
                "select schema_name, table_name, column_name from duckdb_columns() "
                "where not internal and schema_name <> 'raw'"
            ).fetchall():
                built.setdefault((schema, relation), []).append(column)
    # The codebook is counted after dbt has built the other marts.
    assert built.keys() == models.keys() | {("marts", "codebook")}
    del built["marts", "codebook"]
    for relation, columns in built.items():
        documented = models[relation]["columns"]
        assert sorted(documented) == sorted(columns), relation
        assert all(column["description"].endswith(".") for column in documented.values()), relation


def test_published_warehouse_contains_no_paths_of_this_machine(built_warehouse: BuiltWarehouse) -> None:
    schemas = query(built_warehouse.settings, "select distinct schema_name from duckdb_tables() order by all")
    assert schemas == [("marts",)]
    assert query(built_warehouse.settings, "select view_name from duckdb_views() where not internal") == []


def test_numbers_of_marts_have_a_unit(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    without_unit = [
        (name, column["name"])
        for (schema, name), model in models.items()
        for column in model["columns"].values()
        if schema == "marts"
        and column["data_type"] in ("bigint", "integer", "double")
        and not column["name"].endswith("_id")
        and not column["config"]["meta"].get("unit")
    ]
    assert without_unit == []


def test_marts_are_tables_with_a_contract(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    for (schema, name), model in models.items():
        if schema == "marts":
            assert model["contract"]["enforced"], name
            assert model["config"]["materialized"] in ("table", "incremental"), name


def test_database_contains_the_descriptions(built_warehouse: BuiltWarehouse) -> None:
    ((comment,),) = query(
        built_warehouse.settings,
        "select comment from duckdb_columns() where schema_name = 'marts' and table_name = 'study_days' "
        "and column_name = 'n_videos'",
    )
    assert comment == "Collected videos (videos)."


def test_unit_tests_of_the_models_pass(built_warehouse: BuiltWarehouse) -> None:
    settings = built_warehouse.settings
    settings.warehouse_build.write_bytes(settings.warehouse.read_bytes())
    try:
        results = dbt_runner.run_dbt(settings, ["test", "--select", "test_type:unit"], lambda *_: None)
    finally:
        settings.warehouse_build.unlink()
    assert [f"{result.name}: {result.message}" for result in results if result.status != "pass"] == []
    assert len(results) >= 17


def test_data_that_the_api_returns_fails_no_build(built_warehouse: BuiltWarehouse) -> None:
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    # The tests of the others are about structure, which the models guarantee.
    about_data = [test["name"] for test in tests if test["config"]["severity"].lower() == "warn"]
    assert about_data == ["comments_refer_to_videos"]


def test_documentation_can_be_generated(built_warehouse: BuiltWarehouse) -> None:
    settings = built_warehouse.settings
    settings.warehouse_build.write_bytes(settings.warehouse.read_bytes())
    try:
        dbt_runner.call_dbt(settings, ["docs", "generate"])
    finally:
        settings.warehouse_build.unlink()
    catalog = json.loads((settings.dbt_target / "target" / "catalog.json").read_text())
    assert "model.research.videos" in catalog["nodes"]
    assert not catalog["errors"]


def test_exposures_depend_on_the_marts_that_are_read(built_warehouse: BuiltWarehouse) -> None:
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    read = {
        exposure["name"]: {unique_id.rpartition(".")[2] for unique_id in exposure["depends_on"]["nodes"]}
        for exposure in manifest["exposures"].values()
    }
    marts = {
        node["name"] for node in manifest["nodes"].values() if node.get("schema") == "marts" and "raw_code" in node
    }
    assert read["report"] == {*REQUIRED_MARTS, "api_changes"}
    assert read["export"] == {name for name in marts if f"model.research.{name}" in manifest["nodes"]}


def test_line_length_of_the_yaml_files() -> None:
    files = [*(DBT_PROJECT_DIR / "models").rglob("*.yml"), *(DBT_PROJECT_DIR / "seeds").rglob("*.yml")]
    assert files
    for path in files:
        long = [line for line in path.read_text().splitlines() if len(line) > 120]
        assert long == [], path

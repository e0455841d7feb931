"""The dbt project: every column has a description, marts have contracts, and the unit tests pass."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from research_assets.warehouse import dbt_runner
from research_assets.warehouse.changes import scratch_path
from research_assets_tests.warehouse.conftest import BuiltWarehouse, query

COUNTS = ("_count", "_sum", "_median", "_change")


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
    assert built.keys() == models.keys()
    for relation, columns in built.items():
        documented = models[relation]["columns"]
        assert sorted(documented) == sorted(columns), relation
        assert all(column["description"].endswith(".") for column in documented.values()), relation


def test_published_warehouse_contains_no_paths_of_this_machine(built_warehouse: BuiltWarehouse) -> None:
    schemas = query(built_warehouse.settings, "select distinct schema_name from duckdb_tables() order by all")
    assert schemas == [("marts",), ("staging",)]
    assert query(built_warehouse.settings, "select view_name from duckdb_views() where not internal") == []


def test_counts_have_a_unit(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    without_unit = [
        (relation, name)
        for relation, model in models.items()
        for name, column in model["columns"].items()
        if name.endswith(COUNTS) and "(" not in column["description"]
    ]
    assert without_unit == []


def test_marts_are_tables_with_a_contract(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    for (schema, name), model in models.items():
        if schema == "marts":
            assert model["contract"]["enforced"], name
            assert model["config"]["materialized"] == "mart", name


def test_database_contains_the_descriptions(built_warehouse: BuiltWarehouse) -> None:
    ((comment,),) = query(
        built_warehouse.settings,
        "select comment from duckdb_columns() where schema_name = 'marts' and table_name = 'study_days' "
        "and column_name = 'n_videos'",
    )
    assert comment == "Collected videos (videos)."


def test_unit_tests_of_the_models_pass(built_warehouse: BuiltWarehouse) -> None:
    settings = built_warehouse.settings
    manifest = dbt_runner.parse_project(settings)
    settings.warehouse_build.write_bytes(settings.warehouse.read_bytes())
    try:
        with dbt_runner.dbt_session(settings) as dbt:
            results = dbt.call(["test", "--select", "test_type:unit"], {}, manifest)
    finally:
        settings.warehouse_build.unlink()
    assert [f"{result.name}: {result.message}" for result in results if result.status != "pass"] == []
    assert len(results) >= 13


def test_raw_tables_in_meta_match_the_sources_of_each_mart(built_warehouse: BuiltWarehouse) -> None:
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    # Each row of these tables belongs to an entity, and the mart depends on the entity.
    of_all_entities = {"coverage", "expected_units"}

    def sources(unique_id: str) -> set[str]:
        if unique_id in manifest["sources"]:
            return {manifest["sources"][unique_id]["name"]} - of_all_entities
        return set().union(*map(sources, manifest["nodes"][unique_id]["depends_on"].get("nodes", ())), set())

    marts = {
        node["name"]: (node["config"]["meta"].get("raw_tables"), sources(unique_id))
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "mart"
    }
    assert {name for name, (raw_tables, _) in marts.items() if raw_tables is None} == {
        "coverage",
        "study_days",
        "codebook",
        "int_codebook__column_fill",
    }
    for name, (raw_tables, upstream) in marts.items():
        if raw_tables is not None and name not in ("follows", "engagements"):
            assert upstream == set(raw_tables), name
    # Their complete attempts are read from `coverage`, which all entities write.
    assert set(marts["follows"][0]) == {"followers", "following"} <= marts["follows"][1]
    assert (
        set(marts["engagements"][0]) == {"liked_videos", "reposted_videos", "pinned_videos"} <= marts["engagements"][1]
    )

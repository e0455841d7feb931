"""The dbt project's own promises: every column explained, its unit tests pass."""

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
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    yield from (node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed"))


@pytest.fixture(scope="module")
def models(built_warehouse: BuiltWarehouse) -> dict[tuple[str, str], dict[str, Any]]:
    """Models and seeds that are relations, by schema and name."""
    nodes = (node for node in documented_nodes(built_warehouse) if node["config"]["materialized"] != "ephemeral")
    return {(node["schema"], node["name"]): node for node in nodes}


def test_every_column_of_every_model_is_explained(
    built_warehouse: BuiltWarehouse, models: dict[tuple[str, str], dict[str, Any]]
) -> None:
    held: dict[tuple[str, str], list[str]] = {}
    for path in (built_warehouse.settings.warehouse, scratch_path(built_warehouse.settings)):
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, relation, column in connection.execute(
                "select schema_name, table_name, column_name from duckdb_columns() "
                "where not internal and schema_name <> 'raw'"
            ).fetchall():
                held.setdefault((schema, relation), []).append(column)
    assert held.keys() == models.keys()
    for relation, columns in held.items():
        documented = models[relation]["columns"]
        assert sorted(documented) == sorted(columns), relation
        assert all(column["description"].endswith(".") for column in documented.values()), relation


def test_what_is_published_names_no_file_of_this_machine(built_warehouse: BuiltWarehouse) -> None:
    schemas = query(built_warehouse.settings, "select distinct schema_name from duckdb_tables() order by all")
    assert schemas == [("marts",), ("staging",)]
    assert query(built_warehouse.settings, "select view_name from duckdb_views() where not internal") == []


def test_counts_say_their_unit(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    silent = [
        (relation, name)
        for relation, model in models.items()
        for name, column in model["columns"].items()
        if name.endswith(COUNTS) and "(" not in column["description"]
    ]
    assert silent == []


def test_marts_are_tables_under_contract_with_a_tested_grain(models: dict[tuple[str, str], dict[str, Any]]) -> None:
    for (schema, name), model in models.items():
        if schema == "marts":
            assert model["contract"]["enforced"], name
            assert model["config"]["materialized"] == "mart", name


def test_the_descriptions_are_in_the_database_too(built_warehouse: BuiltWarehouse) -> None:
    ((comment,),) = query(
        built_warehouse.settings,
        "select comment from duckdb_columns() where schema_name = 'marts' and table_name = 'study_days' "
        "and column_name = 'n_videos'",
    )
    assert comment == "Videos held (videos)."


def test_the_unit_tests_of_the_models_pass(built_warehouse: BuiltWarehouse) -> None:
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


def test_a_mart_is_left_out_only_while_nothing_came_of_what_it_is_made_of(built_warehouse: BuiltWarehouse) -> None:
    manifest = json.loads((built_warehouse.settings.dbt_target / "manifest.json").read_text())
    # Of these each row speaks of an entity, and it is the entity that counts.
    of_all = {"coverage", "wanted"}

    def sources(unique_id: str) -> set[str]:
        if unique_id in manifest["sources"]:
            return {manifest["sources"][unique_id]["name"]} - of_all
        return set().union(*map(sources, manifest["nodes"][unique_id]["depends_on"].get("nodes", ())), set())

    marts = {
        node["name"]: (node["config"]["meta"].get("raw_tables"), sources(unique_id))
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "mart"
    }
    assert {name for name, (fed, _) in marts.items() if fed is None} == {
        "coverage",
        "study_days",
        "codebook",
        "int_codebook__column_fill",
    }
    for name, (fed, made_of) in marts.items():
        if fed is not None and name not in ("follows", "engagements"):
            assert made_of == set(fed), name
    # Their looks are read from `coverage`, which all entities fill.
    assert set(marts["follows"][0]) == {"followers", "following"} <= marts["follows"][1]
    assert (
        set(marts["engagements"][0]) == {"liked_videos", "reposted_videos", "pinned_videos"} <= marts["engagements"][1]
    )

"""Comparison of the marts of two warehouses row by row, such as those of DuckDB and of Spark."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb
import yaml

from research_assets.settings import DBT_PROJECT_DIR
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.warehouse import parquet_marts
from research_assets.warehouse.reader import MARTS_SCHEMA, Mart, connect_read_only, read_marts

TOLERANCE = 1e-9
"""Largest relative difference of two floats: the engines add the values of a group in different orders."""


@cache
def grains() -> dict[str, list[str]]:
    """Return the columns that identify a row of each mart, from the tests of the dbt project."""
    return {
        model["name"]: test["grain"]["arguments"]["columns"]
        for path in (DBT_PROJECT_DIR / "models").rglob("*.yml")
        for model in (yaml.safe_load(path.read_text()).get("models") or [])
        for test in model.get("data_tests", [])
        if "grain" in test
    }


def differences(expected: Path, actual: Path) -> list[str]:
    """Return a line for each mart that differs between two warehouses, with an example; empty if they are equal."""
    with connect_read_only(expected) as db:
        marts = read_marts(db)
        attach(db, actual, "actual")
        return [line for mart in marts.values() for line in _differences(db, mart)]


def attach(db: duckdb.DuckDBPyConnection, warehouse: Path, name: str) -> None:
    """Attach a second warehouse to a connection."""
    if warehouse.is_dir():
        db.execute(f"ATTACH ':memory:' AS {name}")
        db.execute(f"CREATE SCHEMA {name}.{MARTS_SCHEMA}")
        parquet_marts.create_views(db, warehouse, name, MARTS_SCHEMA)
    else:
        db.execute(f"ATTACH {sql_literal(warehouse)} AS {name} (READ_ONLY)")


def _differences(db: duckdb.DuckDBPyConnection, mart: Mart) -> Iterator[str]:
    # The codebook is no model of the dbt project.
    keys = ["mart", "column_name"] if mart.name == "codebook" else grains()[mart.name]
    one, other = (f"{database}.{MARTS_SCHEMA}.{sql_identifier(mart.name)}" for database in ("warehouse", "actual"))
    described = [db.execute(f"DESCRIBE {table}").fetchall() for table in (one, other)]
    columns, others = ([(name, kind) for name, kind, *_ in rows] for rows in described)
    if columns != others:
        yield f"{mart.name}: the columns are {others}, not {columns}"
        return
    join = " AND ".join(f"a.{sql_identifier(key)} IS NOT DISTINCT FROM b.{sql_identifier(key)}" for key in keys)
    differing = {name: _differs(sql_identifier(name), kind) for name, kind in columns if name not in keys}
    first = sql_identifier(keys[0])
    missing = f"a.{first} IS NULL OR b.{first} IS NULL"
    rows = f"(SELECT * FROM {one}) AS a FULL JOIN (SELECT * FROM {other}) AS b ON {join}"
    conditions = [missing, *(f"NOT ({missing}) AND ({condition})" for condition in differing.values())]
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
    (row,) = db.execute(f"SELECT {counts} FROM {rows}").fetchall()
    found = dict(zip(["missing or additional rows", *differing], row, strict=True))
    if any(found.values()):
        example = db.execute(f"SELECT a, b FROM {rows} WHERE {' OR '.join(conditions)} LIMIT 1").fetchall()[0]
        yield f"{mart.name}: { {name: count for name, count in found.items() if count} }; for example {example}"


def _differs(name: str, kind: str) -> str:
    """Return the SQL condition that a column differs. Lists have an order in both engines."""
    if kind != "DOUBLE":
        return f"a.{name} IS DISTINCT FROM b.{name}"
    return (
        f"(a.{name} IS NULL) <> (b.{name} IS NULL) "
        f"OR abs(a.{name} - b.{name}) > {TOLERANCE} * greatest(1, abs(a.{name}), abs(b.{name}))"
    )

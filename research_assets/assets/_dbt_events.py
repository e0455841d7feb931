"""What can be said about a finished build: row counts, schemas and the origin of each column, as Dagster metadata.

Reads the build file over one connection, after dbt has closed it. It neither runs dbt nor decides what is reported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb
from sqlglot import MappingSchema, exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage

from research_assets import fields
from research_assets.assets._dbt import NodeResult
from research_assets.assets._intake import staging_path
from research_assets.settings import Settings

Columns = Mapping[str, str]
"""Column name to DuckDB type."""

MOST_ORIGINS = 4
"""Assets that a column's description names: a staging model comes from those of every study."""


def describe(
    settings: Settings,
    manifest: Mapping[str, Any],
    results: Iterable[NodeResult],
    keys: Mapping[str, Sequence[dg.AssetKey]],
) -> dict[str, dict[str, Any]]:
    """Metadata of every model and seed of the build, by dbt's unique id, parents first.

    `keys` gives the assets that stand for a model or source, by unique id; columns of a source are traced to all of
    them. Each gets `dagster/column_schema` and its run time in seconds, a model that was run
    `dagster/column_lineage`, and a table `dagster/row_count`.
    """
    schemas, counts = _measure(settings)
    metadata: dict[str, dict[str, Any]] = {}
    for result in results:
        node = manifest["nodes"].get(result.unique_id)
        if node is None or node["resource_type"] not in ("model", "seed"):
            continue
        relation = (node["schema"], node["alias"])
        described: dict[str, Any] = {
            "seconds": round(result.seconds, 3),
        }
        if relation in counts:
            described["dagster/row_count"] = counts[relation]
        if node["resource_type"] == "seed":
            described["dagster/column_schema"] = _table_schema(schemas[relation], node["columns"], None)
            metadata[result.unique_id] = described
            continue
        origin = _column_lineage(node, result.sql, manifest, schemas, keys)
        described["dagster/column_schema"] = _table_schema(schemas[relation], node["columns"], origin)
        if origin is not None:
            described["dagster/column_lineage"] = origin
        metadata[result.unique_id] = described
    return metadata


def _measure(settings: Settings) -> tuple[dict[tuple[str, str], Columns], dict[tuple[str, str], int]]:
    """Columns of every relation of the build and its staging, and rows of every table, by schema and name."""
    schemas: dict[tuple[str, str], dict[str, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for path in (settings.warehouse_build, staging_path(settings)):
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, relation, column, kind in connection.execute(
                "select schema_name, table_name, column_name, data_type from duckdb_columns() "
                "where not internal order by schema_name, table_name, column_index"
            ).fetchall():
                schemas.setdefault((schema, relation), {})[column] = kind
            for schema, table in connection.execute("select schema_name, table_name from duckdb_tables()").fetchall():
                (row,) = connection.execute(f'select count(*) from "{schema}"."{table}"').fetchall()
                counts[schema, table] = row[0]
    return dict(schemas), counts


def _table_schema(
    columns: Columns, documented: Mapping[str, Mapping[str, Any]], origin: dg.TableColumnLineage | None
) -> dg.TableSchema:
    """The columns with what they mean and where they come from: the UI shows no lineage of columns of its own."""
    deps = origin.deps_by_column if origin else {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=kind,
                description=f"{documented.get(name, {}).get('description', '')} {_from(deps.get(name, ()))}".strip(),
            )
            for name, kind in columns.items()
        ]
    )


def _from(deps: Sequence[dg.TableColumnDep]) -> str:
    """Where a column comes from, as Markdown; the columns of one asset together, the first assets only."""
    columns: dict[str, list[str]] = {}
    for dep in deps:
        columns.setdefault(dep.asset_key.to_user_string(), []).append(dep.column_name)
    told = [f"`{asset}` ({', '.join(names)})" for asset, names in columns.items()]
    more = [f"{len(told) - MOST_ORIGINS} more"] if len(told) > MOST_ORIGINS else []
    return f"*From* {', '.join([*told[:MOST_ORIGINS], *more])}." if told else ""


def _raw_columns(table: str) -> dict[str, str]:
    columns = {column.name: column.type for column in fields.raw_tables()[table]}
    return {"study": "VARCHAR", "day": "DATE"} | columns


def _read(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a model's SQL reads: its parents, and those of the ephemeral ones, which stand in its own SQL."""
    for unique_id in node["depends_on"]["nodes"]:
        parent = manifest["nodes"].get(unique_id)
        if parent is not None and parent["config"]["materialized"] == "ephemeral":
            yield from _read(parent, manifest)
        else:
            yield unique_id


def _column_lineage(
    node: Mapping[str, Any],
    sql: str,
    manifest: Mapping[str, Any],
    schemas: Mapping[tuple[str, str], Columns],
    keys: Mapping[str, Sequence[dg.AssetKey]],
) -> dg.TableColumnLineage | None:
    """From which columns of its parents each column comes; None if the SQL is beyond the parser."""
    mapping = MappingSchema(dialect="duckdb")
    parents: dict[str, Sequence[dg.AssetKey]] = {}
    for unique_id in _read(node, manifest):
        if unique_id in manifest["sources"]:
            source = manifest["sources"][unique_id]
            schema, name = source["schema"], source["name"]
            sql = sql.replace(source["relation_name"], f"{schema}.{name}")
            mapping.add_table(exp.table_(name, db=schema), _raw_columns(name))
            parents[name] = keys.get(unique_id, ())
        else:
            parent = manifest["nodes"][unique_id]
            schema, name = parent["schema"], parent["alias"]
            sql = sql.replace(parent["relation_name"], f"{schema}.{name}")
            mapping.add_table(exp.table_(name, db=schema), dict(schemas[schema, name]))
            parents[name] = keys[unique_id]
    try:
        nodes = lineage(None, sql, mapping, dialect="duckdb", trim_selects=False)
    except SqlglotError:
        return None
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for column, root in nodes.items():
        found = {
            (key, leaf.name.rpartition(".")[2])
            for leaf in root.walk()
            if not leaf.downstream and isinstance(leaf.expression, exp.Table)
            for key in parents.get(leaf.expression.name, ())
        }
        deps[column] = [dg.TableColumnDep(key, name) for key, name in sorted(found, key=lambda f: (f[0].path, f[1]))]
    return dg.TableColumnLineage(deps)

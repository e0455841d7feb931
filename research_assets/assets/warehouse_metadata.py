"""What can be said about a finished build: row counts, schemas and the origin of each column, as Dagster metadata.

Reads the build file over one connection, after dbt has closed it. It neither runs dbt nor decides what is reported.
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import duckdb
import orjson
from sqlglot import MappingSchema, exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage

from research_assets import fields
from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.warehouse.changes import scratch_path
from research_assets.warehouse.dbt_runner import NodeResult

Columns = Mapping[str, str]
"""Column name to DuckDB type."""

ColumnOrigins = Mapping[str, Sequence[tuple[str, str]]]
"""Column name to the columns that it comes from: dbt's id of the parent, and the name there."""

MAX_ORIGINS = 4
"""Assets that a column's description names: a staging model comes from those of every study."""


def model_metadata(
    settings: Settings,
    manifest: Mapping[str, Any],
    results: Sequence[NodeResult],
    keys: Mapping[str, Sequence[dg.AssetKey]],
) -> dict[str, dict[str, Any]]:
    """Metadata of every model and seed, by dbt's unique id, parents first.

    `keys` gives the assets that stand for a model or source, by unique id; columns of a source are traced to all of
    them. Each gets `dagster/column_schema`, a table `dagster/row_count`, what was run its time in seconds, and a model
    `dagster/column_lineage`: that of the newest whole build, since an increment reads less and makes the same.
    """
    schemas, counts = _read_schemas_and_counts(settings)
    ran = {result.unique_id: result for result in results}
    nodes = {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    origins = settings.dbt_target / "origins.json"
    if nodes.keys() <= ran.keys():
        found = {
            unique_id: _origins(node, ran[unique_id].sql, manifest, schemas)
            for unique_id, node in nodes.items()
            if node["resource_type"] == "model"
        }
        files.write_private(origins, orjson.dumps(found))
    traced = orjson.loads(origins.read_bytes()) if origins.exists() else {}
    metadata: dict[str, dict[str, Any]] = {}
    order = TopologicalSorter({unique_id: list(_upstream_nodes(node, manifest)) for unique_id, node in nodes.items()})
    for unique_id in order.static_order():
        node = nodes.get(unique_id)
        if node is None:
            continue
        relation = (node["schema"], node["alias"])
        described: dict[str, Any] = {}
        if unique_id in ran:
            described["seconds"] = round(ran[unique_id].seconds, 3)
        if relation in counts:
            described["dagster/row_count"] = counts[relation]
        origin = _lineage(traced.get(unique_id), keys)
        described["dagster/column_schema"] = _table_schema(schemas[relation], node["columns"], origin)
        if origin is not None:
            described["dagster/column_lineage"] = origin
        metadata[unique_id] = described
    return metadata


def _read_schemas_and_counts(settings: Settings) -> tuple[dict[tuple[str, str], Columns], dict[tuple[str, str], int]]:
    """Columns of every relation of the build and its staging, and rows of every table, by schema and name."""
    schemas: dict[tuple[str, str], dict[str, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for path in (settings.warehouse_build, scratch_path(settings)):
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
                description=f"{documented.get(name, {}).get('description', '')} {_origin_text(deps.get(name, ()))}".strip(),
            )
            for name, kind in columns.items()
        ]
    )


def _origin_text(deps: Sequence[dg.TableColumnDep]) -> str:
    """Where a column comes from, as Markdown; the columns of one asset together, the first assets only."""
    columns: dict[str, list[str]] = {}
    for dep in deps:
        columns.setdefault(dep.asset_key.to_user_string(), []).append(dep.column_name)
    reported = [f"`{asset}` ({', '.join(names)})" for asset, names in columns.items()]
    more = [f"{len(reported) - MAX_ORIGINS} more"] if len(reported) > MAX_ORIGINS else []
    return f"*From* {', '.join([*reported[:MAX_ORIGINS], *more])}." if reported else ""


def _raw_columns(table: str) -> dict[str, str]:
    columns = {column.name: column.type for column in fields.raw_tables()[table]}
    return {"study": "VARCHAR", "day": "DATE"} | columns


def _upstream_nodes(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a model's SQL reads: its parents, and those of the ephemeral ones, which stand in its own SQL."""
    for unique_id in node["depends_on"].get("nodes", ()):
        parent = manifest["nodes"].get(unique_id)
        if parent is not None and parent["config"]["materialized"] == "ephemeral":
            yield from _upstream_nodes(parent, manifest)
        else:
            yield unique_id


def _origins(
    node: Mapping[str, Any], sql: str, manifest: Mapping[str, Any], schemas: Mapping[tuple[str, str], Columns]
) -> ColumnOrigins | None:
    """From which columns of which parents each column comes; None if the SQL is beyond the parser."""
    mapping = MappingSchema(dialect="duckdb")
    parents: dict[str, str] = {}
    for unique_id in _upstream_nodes(node, manifest):
        source = manifest["sources"].get(unique_id)
        parent = source or manifest["nodes"][unique_id]
        schema, name = parent["schema"], parent["name"]
        columns = _raw_columns(name) if source else dict(schemas[schema, name])
        sql = sql.replace(parent["relation_name"], f"{schema}.{name}")
        mapping.add_table(exp.table_(name, db=schema), columns)
        parents[name] = unique_id
    try:
        nodes = lineage(None, sql, mapping, dialect="duckdb", trim_selects=False)
    except SqlglotError:
        return None
    return {
        column: sorted(
            {
                (parents[leaf.expression.name], leaf.name.rpartition(".")[2])
                for leaf in root.walk()
                if not leaf.downstream and isinstance(leaf.expression, exp.Table) and leaf.expression.name in parents
            }
        )
        for column, root in nodes.items()
    }


def _lineage(origins: ColumnOrigins | None, keys: Mapping[str, Sequence[dg.AssetKey]]) -> dg.TableColumnLineage | None:
    """The same with the assets that stand for the parents."""
    if origins is None:
        return None
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(key, name)
                for key, name in sorted(
                    {(key, name) for parent, name in found for key in keys.get(parent, ())},
                    key=lambda dep: (dep[0].path, dep[1]),
                )
            ]
            for column, found in origins.items()
        }
    )

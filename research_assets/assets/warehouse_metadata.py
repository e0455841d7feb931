"""Metadata of a finished build for Dagster: row counts, schemas and the origin of each column.

It is read from the build file after dbt has closed it.

Not here: calls of dbt (see the package `warehouse`), and the events that report the metadata (see warehouse.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import duckdb
import orjson

from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.storage.raw_sql import sql_literal
from research_assets.text import markdown_text
from research_assets.warehouse import codebook
from research_assets.warehouse.changes import scratch_path
from research_assets.warehouse.dbt_runner import NodeResult

Columns = Mapping[str, str]
"""Column name to DuckDB type."""

ColumnOrigins = Mapping[str, Sequence[tuple[str, str]]]
"""Column name to its source columns: dbt's id of the parent, and the column name there."""

CODEBOOK = "codebook"
"""Name of the mart that is counted after dbt has built the others; the key of its metadata."""

MAX_SAMPLE_ROWS = 5
"""Failing rows of a test that its check shows."""

MAX_ORIGINS = 4
"""Maximum number of assets in a column's description: a staging model has one parent per study."""


def model_metadata(
    settings: Settings,
    manifest: Mapping[str, Any],
    results: Sequence[NodeResult],
    keys: Mapping[str, Sequence[dg.AssetKey]],
    *,
    full_refresh: bool,
) -> dict[str, dict[str, Any]]:
    """Return the metadata of every model and seed, by dbt's unique id, parents first, and of the codebook.

    `keys` contains the assets of each model or source, by unique id; columns of a source are traced to all of its
    assets. All have `dagster/column_schema`, tables have `dagster/row_count`, nodes that ran have their duration, and
    models have `dagster/column_lineage`. The lineage is that of the newest full refresh: an increment reads other
    relations as well, but its result has the same origin.
    """
    schemas, counts = _read_schemas_and_counts(settings)
    ran = {result.unique_id: result for result in results}
    nodes = {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    origins = settings.dbt_target / "origins.json"
    if full_refresh:
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
            described["duration (seconds)"] = round(ran[unique_id].seconds, 3)
        if relation in counts:
            described["dagster/row_count"] = counts[relation]
        origin = _lineage(traced.get(unique_id), keys)
        described["dagster/column_schema"] = _table_schema(schemas[relation], node["columns"], origin)
        if origin is not None:
            described["dagster/column_lineage"] = origin
        metadata[unique_id] = described
    documented = {name: {"description": description} for name, (_, description, _) in codebook.COLUMNS.items()}
    metadata[CODEBOOK] = {
        "dagster/row_count": counts["marts", CODEBOOK],
        "dagster/column_schema": _table_schema(schemas["marts", CODEBOOK], documented, None),
    }
    return metadata


def failing_rows(settings: Settings, results: Sequence[NodeResult]) -> dict[str, dg.MarkdownMetadataValue]:
    """Return the first failing rows of each test that has some, as a table, by dbt's unique id."""
    failing = [result for result in results if result.failures and result.sql]
    if not failing:
        return {}
    samples = {}
    with duckdb.connect(str(settings.warehouse_build), read_only=True) as connection:
        connection.execute(f"attach {sql_literal(scratch_path(settings))} as scratch (read_only)")
        for result in failing:
            cursor = connection.execute(f"select * from ({result.sql}) limit {MAX_SAMPLE_ROWS}")
            columns = [column[0] for column in cursor.description]
            rows = [[markdown_text(str(value)) for value in row] for row in cursor.fetchall()]
            lines = [columns, ["---"] * len(columns), *rows]
            samples[result.unique_id] = dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return samples


def _read_schemas_and_counts(settings: Settings) -> tuple[dict[tuple[str, str], Columns], dict[tuple[str, str], int]]:
    """Return the columns of every relation of the build and of staging, and the row count of every table."""
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
    """Return the columns with description and origin, because the UI shows no column lineage."""
    deps = origin.deps_by_column if origin else {}

    def description(name: str) -> str:
        return f"{documented.get(name, {}).get('description', '')} {_origin_text(deps.get(name, ()))}".strip()

    return dg.TableSchema(
        columns=[dg.TableColumn(name, type=kind, description=description(name)) for name, kind in columns.items()]
    )


def _origin_text(deps: Sequence[dg.TableColumnDep]) -> str:
    """Return the origin of a column as Markdown, grouped by asset, for the first `MAX_ORIGINS` assets."""
    columns: dict[str, list[str]] = {}
    for dep in deps:
        columns.setdefault(dep.asset_key.to_user_string(), []).append(dep.column_name)
    parts = [f"`{asset}` ({', '.join(names)})" for asset, names in columns.items()]
    more = [f"{len(parts) - MAX_ORIGINS} more"] if len(parts) > MAX_ORIGINS else []
    return f"*From* {', '.join([*parts[:MAX_ORIGINS], *more])}." if parts else ""


def _upstream_nodes(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parents that a model's SQL reads; for ephemeral parents, which dbt inlines, yield theirs."""
    for unique_id in node["depends_on"].get("nodes", ()):
        parent = manifest["nodes"].get(unique_id)
        if parent is not None and parent["config"]["materialized"] == "ephemeral":
            yield from _upstream_nodes(parent, manifest)
        else:
            yield unique_id


def _origins(
    node: Mapping[str, Any], sql: str, manifest: Mapping[str, Any], schemas: Mapping[tuple[str, str], Columns]
) -> ColumnOrigins | None:
    """Return the source columns of each column; None if sqlglot cannot parse the SQL."""
    # Imported here, because only builds need it, and every process loads this module.
    from sqlglot import MappingSchema, exp
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage

    mapping = MappingSchema(dialect="duckdb")
    parents: dict[str, str] = {}
    for unique_id in _upstream_nodes(node, manifest):
        parent = manifest["sources"].get(unique_id) or manifest["nodes"][unique_id]
        schema, name = parent["schema"], parent["name"]
        sql = sql.replace(parent["relation_name"], f"{schema}.{name}")
        mapping.add_table(exp.table_(name, db=schema), dict(schemas[schema, name]))
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
    """Return the origins with the assets of the parents instead of dbt's ids."""
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

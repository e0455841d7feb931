"""Files of networks: GraphML and GEXF through networkx, and the tables of Gephi and CooRTweet through DuckDB.

- GraphML: every attribute with its type. R's igraph, networkx, Gephi, visone and Cytoscape read it.
- GEXF: dynamic, with the first and the last day of each node and edge, for Gephi's timeline.
- Gephi: two CSV files, whose columns have the names that Gephi's importer expects. They are streamed, without a limit.
- CooRTweet: one row per share, with the columns `object_id`, `account_id`, `content_id` and `timestamp_share`.

Not here: which networks there are (see networks.py), their rewriting after a removal (see network_rewriting.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export.columns import SIMULATED, csv_sql
from research_assets.export.request import ExportColumn
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.text import printable_text

EDGES, NODES = "_edges.csv", "_nodes.csv"
"""Ends of the names of Gephi's files."""

COORTWEET_COLUMNS = ("object_id", "account_id", "content_id", "timestamp_share")


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a node or an edge, with its DuckDB type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NetworkTables:
    """The temporary tables `edges` and `nodes` of one network of one study.

    `edges` has source, target, weight, first_second and last_second (Unix seconds), `contents` if the edges count
    videos, and the attributes. `nodes` has id, kind, the same seconds, `n_videos` if edges count videos, and the
    attributes.
    """

    name: str
    study: str
    kinds: tuple[str, str]
    is_directed: bool
    has_contents: bool
    edge_attributes: tuple[Attribute, ...]
    node_attributes: tuple[Attribute, ...]
    simulated: bool


def time_text(seconds: int | None) -> str | None:
    """Return Unix seconds as a time in UTC, such as 2026-02-01T10:00:00Z."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def contents_values(contents: list[str]) -> dict[str, Any]:
    """Return the values of an edge that follow from its videos, each written as `<id>@<Unix seconds>`."""
    seconds = [int(second) for second in (one.rpartition("@")[2] for one in contents) if second]
    return {
        "weight": len(contents),
        "first_at": time_text(min(seconds, default=None)),
        "last_at": time_text(max(seconds, default=None)),
        "contents": " ".join(contents),
    }


def with_days(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a node or an edge of a GEXF file: with its first and last day, and without nulls."""
    days = {"start": values.get("first_at"), "end": values.get("last_at")}
    return dict(values) | {name: at[:10] for name, at in days.items() if at}


def write_graphml(connection: duckdb.DuckDBPyConnection, tables: NetworkTables, path: Path) -> None:
    """Write a GraphML file. The network must fit into memory."""
    save_graphml(_graph(connection, tables), path)


def save_graphml(graph: Any, path: Path) -> None:
    """Write a graph as GraphML, with Python's XML writer whatever else is installed."""
    from networkx.readwrite.graphml import write_graphml_xml

    write_graphml_xml(graph, path)


def write_gexf(connection: duckdb.DuckDBPyConnection, tables: NetworkTables, path: Path) -> None:
    """Write a GEXF file with the first and last day of each node and edge. The network must fit into memory."""
    save_gexf(_graph(connection, tables, is_dynamic=True), path)


def save_gexf(graph: Any, path: Path) -> None:
    """Write a graph as GEXF."""
    import networkx as nx

    nx.write_gexf(graph, path, version="1.2draft")


def _graph(connection: duckdb.DuckDBPyConnection, tables: NetworkTables, *, is_dynamic: bool = False) -> Any:
    import networkx as nx

    graph: Any = nx.DiGraph() if tables.is_directed else nx.Graph()
    graph.graph |= {"name": tables.name, "study": tables.study}
    is_two_mode = tables.kinds[0] != tables.kinds[1]
    marks = {"study": tables.study} | ({SIMULATED: True} if tables.simulated else {})
    result = connection.execute("SELECT * FROM nodes ORDER BY id")
    for row in _rows(result):
        values = _values(
            row, [one.name for one in tables.node_attributes], ["kind"] + ["n_videos"] * tables.has_contents
        )
        if is_two_mode:
            # The name by which igraph knows the mode of a node.
            values["type"] = values["kind"] != tables.kinds[0]
        values |= {"label": _xml_text(row["id"])} | marks
        graph.add_node(_xml_text(row["id"]), **(with_days(values) if is_dynamic else values))
    result = connection.execute("SELECT * FROM edges ORDER BY source, target")
    for row in _rows(result):
        values = _values(
            row, [one.name for one in tables.edge_attributes], ["weight", *["contents"] * tables.has_contents]
        )
        values |= marks
        ends = _xml_text(row["source"]), _xml_text(row["target"])
        graph.add_edge(*ends, **(with_days(values) if is_dynamic else values))
    return graph


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    while rows := result.fetchmany(10_000):
        for row in rows:
            yield dict(zip(names, row, strict=True))


def _values(row: Mapping[str, Any], attributes: list[str], own: list[str]) -> dict[str, Any]:
    """Return the attributes of a row that are not null, in the order of the columns."""
    times = {"first_at": time_text(row["first_second"]), "last_at": time_text(row["last_second"])}
    values = {name: row[name] for name in own} | times | {name: row[name] for name in attributes}
    return {name: value for name, value in values.items() if value is not None}


def _xml_text(text: str) -> str:
    """Return a text with characters that XML may contain."""
    return printable_text(text)


def write_gephi(
    connection: duckdb.DuckDBPyConnection, tables: NetworkTables, folder: Path
) -> Iterator[tuple[str, Path, int]]:
    """Write the edges and the nodes as CSV files for Gephi, and yield suffix, path and number of rows of each.

    The files have no byte order mark, which would be part of the name of the first column.
    """
    kind = "Directed" if tables.is_directed else "Undirected"
    edges = [
        ("Source", "VARCHAR", "source"),
        ("Target", "VARCHAR", "target"),
        ("Type", "VARCHAR", sql_literal(kind)),
        ("Weight", "BIGINT", "weight"),
        *_common_columns(tables),
        *([("contents", "VARCHAR", "contents")] if tables.has_contents else []),
        *((one.name, one.type, one.name) for one in tables.edge_attributes),
    ]
    nodes = [
        ("Id", "VARCHAR", "id"),
        ("Label", "VARCHAR", "id"),
        ("kind", "VARCHAR", "kind"),
        *([("n_videos", "BIGINT", "n_videos")] if tables.has_contents else []),
        *_common_columns(tables),
        *((one.name, one.type, one.name) for one in tables.node_attributes),
    ]
    marks = [(SIMULATED, "BOOLEAN", "true")] * tables.simulated
    for suffix, table, columns, order, end in (
        ("", "edges", edges, "source, target", EDGES),
        ("_nodes", "nodes", nodes, "id", NODES),
    ):
        path = folder / f"{tables.name}{end}"
        yield suffix, path, _copy(connection, table, [*columns, *marks], order, path)


def _common_columns(tables: NetworkTables) -> list[tuple[str, str, str]]:
    times = [
        (name, "VARCHAR", f"strftime(make_timestamp({seconds} * 1000000), '%Y-%m-%dT%H:%M:%SZ')")
        for name, seconds in (("first_at", "first_second"), ("last_at", "last_second"))
    ]
    return [("study", "VARCHAR", sql_literal(tables.study)), *times]


def write_coortweet(connection: duckdb.DuckDBPyConnection, study: str, path: Path, *, simulated: bool) -> int:
    """Write the temporary table `shares` as a CSV file for CooRTweet and return the number of rows."""
    types = ("VARCHAR", "VARCHAR", "VARCHAR", "BIGINT")
    columns = [(name, kind, name) for name, kind in zip(COORTWEET_COLUMNS, types, strict=True)]
    columns += [("study", "VARCHAR", sql_literal(study)), *[(SIMULATED, "BOOLEAN", "true")] * simulated]
    return _copy(connection, "shares", columns, "object_id, timestamp_share, content_id", path)


def _copy(
    connection: duckdb.DuckDBPyConnection, table: str, columns: list[tuple[str, str, str]], order: str, path: Path
) -> int:
    exported = [ExportColumn(name, kind, sql, "") for name, kind, sql in columns]
    # The names of CooRTweet end as those of ids; its values are texts.
    expressions = ", ".join(f"{csv_sql(one)} AS {sql_identifier(one.name)}" for one in exported)
    ((rows,),) = connection.execute(
        f"COPY (SELECT {expressions} FROM {table} ORDER BY {order}) TO {sql_literal(path)} (FORMAT csv, HEADER true)"
    ).fetchall()
    return int(rows)

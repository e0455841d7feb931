"""Folder of marts as Parquet files: its layout, its index, and DuckDB views over it.

A build on Spark publishes it, and a build on DuckDB for people without access to the data folder.

    <folder>/builds/<build>/marts.json          names, descriptions and columns of the marts
    <folder>/builds/<build>/marts/<mart>/…      Parquet files, below `study=…/day=…` if the mart is partitioned
    <folder>/published                          symbolic link to the published build

A build publishes by one rename of the link, so a reader that followed it keeps reading the build that it opened.

Not here: what is published (see spark.py, shared_marts.py), and readers of either kind of warehouse (see reader.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets.storage import files
from research_assets.storage.listing import all_files
from research_assets.storage.raw_sql import sql_identifier, sql_literal

BUILDS = "builds"
PUBLISHED = "published"
INDEX = "marts.json"
MARTS = "marts"


@dataclass(frozen=True, slots=True)
class IndexedMart:
    """A mart: `columns` are name, DuckDB type and description; `partitions` are the columns in the names of folders.

    `raw_table` is the raw table whose changed days the next build replaces; None if it builds all of the mart.
    """

    name: str
    description: str
    columns: Sequence[tuple[str, str, str]]
    partitions: Sequence[str]
    raw_table: str | None = None


def is_parquet_marts(folder: Path) -> bool:
    """Return whether a folder contains published marts as Parquet files."""
    return (folder / PUBLISHED / INDEX).is_file()


def write_index(build: Path, marts: Sequence[IndexedMart], *, simulated: bool) -> None:
    """Write the index of a build before it is published."""
    index = {"simulated": simulated, "marts": [asdict(mart) for mart in marts]}
    files.write_private(build / INDEX, orjson.dumps(index, option=orjson.OPT_INDENT_2))


def contains_simulated_data(folder: Path) -> bool:
    """Return whether the published marts are those of simulated data."""
    return bool(_read_index(folder / PUBLISHED)["simulated"])


def read_index(build: Path) -> list[IndexedMart]:
    """Return the marts of a build. Raises OSError, ValueError or KeyError if there is no valid index."""
    return [
        IndexedMart(
            mart["name"],
            mart["description"],
            [(name, kind, text) for name, kind, text in mart["columns"]],
            mart["partitions"],
            mart["raw_table"],
        )
        for mart in _read_index(build)["marts"]
    ]


def _read_index(build: Path) -> Mapping[str, Any]:
    index: Mapping[str, Any] = orjson.loads((build / INDEX).read_bytes())
    return index


def new_build(folder: Path, built: datetime) -> Path:
    """Return an unused path for a build, named by its time (UTC)."""
    path = unused = folder / BUILDS / built.strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused


def publish_build(folder: Path, build: Path) -> None:
    """Make a finished build the published one by one rename of the link."""
    link = files.temporary_path(folder / PUBLISHED)
    link.unlink(missing_ok=True)
    link.symlink_to(build.relative_to(folder))
    link.replace(folder / PUBLISHED)
    files.fsync_folder(folder)


def create_views(connection: duckdb.DuckDBPyConnection, folder: Path, database: str, schema: str) -> None:
    """Create a view of each published mart, with its descriptions.

    The views read the build that is published now. Raises duckdb.Error, OSError, ValueError or KeyError if a file or
    the index cannot be read.
    """
    create_build_views(connection, (folder / PUBLISHED).resolve(strict=True), database, schema)


def create_build_views(connection: duckdb.DuckDBPyConnection, build: Path, database: str, schema: str) -> None:
    """Create the views of one build; errors are those of `create_views`."""
    prefix = f"{sql_identifier(database)}.{sql_identifier(schema)}"
    for mart in read_index(build):
        view = f"{prefix}.{sql_identifier(mart.name)}"
        columns = ", ".join(
            f"CAST({sql_identifier(name)} AS {kind}) AS {sql_identifier(name)}" for name, kind, _ in mart.columns
        )
        connection.execute(f"CREATE VIEW {view} AS SELECT {columns} FROM {_rows(build / MARTS / mart.name, mart)}")
        connection.execute(f"COMMENT ON VIEW {view} IS {sql_literal(mart.description)}")
        for name, _, description in mart.columns:
            connection.execute(f"COMMENT ON COLUMN {view}.{sql_identifier(name)} IS {sql_literal(description)}")


def _rows(folder: Path, mart: IndexedMart) -> str:
    """Return a table expression of the rows of a mart. Spark writes no file for a partitioned mart without rows."""
    if next(all_files(folder, "*.parquet"), None) is None:
        columns = ", ".join(f"CAST(NULL AS {kind}) AS {sql_identifier(name)}" for name, kind, _ in mart.columns)
        return f"(SELECT {columns} WHERE false)"
    kinds = {name: kind for name, kind, _ in mart.columns}
    types = ", ".join(f"{sql_literal(name)}: {kinds[name]}" for name in mart.partitions)
    hive = f", hive_partitioning = true, hive_types = {{{types}}}" if mart.partitions else ", hive_partitioning = false"
    return f"read_parquet({sql_literal(_glob_literal(folder) + '/**/*.parquet')}{hive})"


def _glob_literal(path: Path) -> str:
    """Return a path as a glob pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))

"""Queries over the Parquet files of the raw tables.

Not here: writing them (see raw_writer.py), the marts (see warehouse/reader.py).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb

from research_assets.fields import raw_tables
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_digests import find_damaged
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.storage.shared_duckdb import connect_shared

_MAX_ATTEMPTS = 3

_Result = TypeVar("_Result")


class RawTables:
    """The raw tables of a folder over one DuckDB connection; not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection = connect_shared()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def query(
        self, table: str, folders: str | Sequence[str], sql: str, values: Sequence[Any], skip_captures: Collection[str]
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see `query_raw`."""
        globs = [folders] if isinstance(folders, str) else folders

        def execute() -> list[tuple[Any, ...]]:
            paths = intact_files(self.folder, table, globs, skip_captures)
            if not paths:
                return []
            return self._connection.execute(sql.format(table=_source(table, paths)), values).fetchall()

        return with_retries(execute)

    def join(self, folders: Mapping[str, str], sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query over several raw tables.

        `folders` contains a glob for each table. The name of a table in braces in `sql` is replaced by the table. A
        table without files is empty, so that a query over it still has its rows from the other tables.
        """

        def execute() -> list[tuple[Any, ...]]:
            sources = {
                table: _source(table, intact_files(self.folder, table, [glob])) for table, glob in folders.items()
            }
            return self._connection.execute(sql.format(**sources), values).fetchall()

        return with_retries(execute)


def _source(table: str, paths: Sequence[Path]) -> str:
    """Return the files of a raw table as an SQL table; without files an empty one with the same columns."""
    if not paths:
        columns = {"study": "VARCHAR", "day": "DATE"} | {one.name: one.type for one in raw_tables()[table]}
        casts = ", ".join(f"CAST(NULL AS {kind}) AS {sql_identifier(name)}" for name, kind in columns.items())
        return f"(SELECT {casts} WHERE false)"
    return (
        f"read_parquet([{', '.join(map(sql_literal, paths))}], hive_partitioning = true, "
        f"union_by_name = {table != 'coverage'}, hive_types = {{'study': VARCHAR, 'day': DATE}})"
    )


def with_retries(execute: Callable[[], _Result], refresh: Callable[[], object] | None = None) -> _Result:
    """Return the result of `execute`, which is repeated if another process published or removed a file meanwhile.

    `refresh` is called before each repetition, and repeated with it.
    """
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            if attempt > 1 and refresh is not None:
                refresh()
            return execute()
        except (duckdb.IOException, FileNotFoundError):
            if attempt == _MAX_ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def intact_files(raw: Path, table: str, folders: Iterable[str], skip_captures: Collection[str] = ()) -> list[Path]:
    """Return the files of a raw table in `folders`, after each has the content that was published.

    A damaged file is built again from its capture or set aside (see raw_repair.py). Raises DamagedRawFile if that is
    not possible, FileNotFoundError if another process removed a file after it was listed.
    """
    for _ in range(2):
        paths = [
            path
            for folder in folders
            for path in sorted(matching_paths(raw / table, f"{folder}/*.parquet"))
            if path.stem.removesuffix("-open") not in skip_captures
        ]
        if not find_damaged(paths):
            return paths
        # Imported here, because it loads the writer, which readers rarely need.
        from research_assets.storage.raw_repair import repair_files

        repair_files(raw, paths)
    raise FileNotFoundError(f"The files of {raw / table} change faster than they are read.")


def query_raw(
    raw: Path | RawTables,
    table: str,
    folders: str | Sequence[str],
    sql: str,
    values: Sequence[Any] = (),
    *,
    skip_captures: Collection[str] = (),
) -> list[tuple[Any, ...]]:
    """Return the rows of a query over the files of a raw table in `folders`, globs such as `study=a/day=*`.

    `{table}` in `sql` is replaced by the table, with `study` as text and `day` as a date; times are UTC. Without files
    the result is empty. The files of `skip_captures` are not opened, because opening files takes most of the time. If
    `raw` is a path, the query uses a connection of its own.
    """
    if isinstance(raw, RawTables):
        return raw.query(table, folders, sql, values, skip_captures)
    with RawTables(raw) as tables:
        return tables.query(table, folders, sql, values, skip_captures)

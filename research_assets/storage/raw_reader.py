"""Queries over the Parquet files of the raw tables.

Not here: writing them (see raw_writer.py), the marts (see warehouse/reader.py).
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import duckdb

from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.shared_duckdb import connect_shared

_MAX_ATTEMPTS = 3


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
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            paths = [
                sql_literal(path)
                for glob in globs
                for path in sorted((self.folder / table).glob(f"{glob}/*.parquet"))
                if path.stem.removesuffix("-open") not in skip_captures
            ]
            if not paths:
                return []
            source = (
                f"read_parquet([{', '.join(paths)}], hive_partitioning = true, union_by_name = {table != 'coverage'}, "
                "hive_types = {'study': VARCHAR, 'day': DATE})"
            )
            try:
                return self._connection.execute(sql.format(table=source), values).fetchall()
            except duckdb.IOException:
                # Another process published or removed a file after the files were listed.
                if attempt == _MAX_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")


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

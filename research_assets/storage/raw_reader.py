"""Questions to the raw tables: the one place of the collector that names their files in SQL."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import duckdb

from research_assets.storage.raw_sql import sql_literal

_MAX_ATTEMPTS = 3


class RawTables:
    """The raw tables of a folder over one connection, for who asks much at once: opening one costs more than an answer.

    Not for several threads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def query(
        self, table: str, folders: str | Sequence[str], sql: str, values: Sequence[Any], without: Collection[str]
    ) -> list[tuple[Any, ...]]:
        """What `lookup` says."""
        globs = [folders] if isinstance(folders, str) else folders
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            paths = [
                sql_literal(path)
                for glob in globs
                for path in sorted((self.folder / table).glob(f"{glob}/*.parquet"))
                if path.stem.removesuffix("-open") not in without
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
                # Somebody published or removed a file between the listing and the reading.
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
    """Rows of a query over the files of a raw table below `folders`, globs such as `study=a/day=*`.

    `{table}` in `sql` stands for the table, with `study` as text and `day` as a date; no file gives no row. Files of
    the captures `without` are not opened: opening is what costs. Moments are UTC. A folder gets a connection of its own
    for the question.
    """
    if isinstance(raw, RawTables):
        return raw.query(table, folders, sql, values, skip_captures)
    with RawTables(raw) as opened:
        return opened.query(table, folders, sql, values, skip_captures)

"""Questions to the raw tables: the one place of the collector that names their files in SQL."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import duckdb

from research_assets.table_sql import text

_TRIES = 3


def lookup(
    raw: Path, table: str, folders: str, sql: str, values: Sequence[Any] = (), *, without: Collection[str] = ()
) -> list[tuple[Any, ...]]:
    """Rows of a query over the files of a raw table below `folders`, a glob such as `study=a/day=*`.

    `{table}` in `sql` stands for the table, with `study` as text and `day` as a date; no file gives no row. Files of
    the captures `without` are not opened: opening is what costs. Moments are UTC.
    """
    for attempt in range(1, _TRIES + 1):
        paths = [
            text(path)
            for path in sorted((raw / table).glob(f"{folders}/*.parquet"))
            if path.stem.removesuffix("-open") not in without
        ]
        if not paths:
            return []
        source = (
            f"read_parquet([{', '.join(paths)}], hive_partitioning = true, union_by_name = {table != 'coverage'}, "
            "hive_types = {'study': VARCHAR, 'day': DATE})"
        )
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return connection.execute(sql.format(table=source), values).fetchall()
            except duckdb.IOException:
                # Somebody published or removed a file between the listing and the reading.
                if attempt == _TRIES:
                    raise
    raise AssertionError("the last attempt returns or raises")

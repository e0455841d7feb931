"""Writers of one exported file: Parquet and CSV, streamed by DuckDB, and the list of ids.

Not here: Stata and SPSS files (see stata.py, spss.py), the SQL of columns (see columns.py).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from research_assets.export import columns, spss, stata
from research_assets.export.columns import select_sql
from research_assets.export.request import ExportColumn, ExportRequest, MartSelection
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.warehouse.reader import Mart, filter_condition

# Excel recognizes UTF-8 only after a byte order mark. It precedes the name of the first column, so that the file is
# written once.
BYTE_ORDER_MARK = "\ufeff"

PARQUET_OPTIONS = "FORMAT parquet, COMPRESSION zstd"
"""Options of DuckDB for exported Parquet files."""

SUFFIXES = {"parquet": "parquet", "csv": "csv", "stata": "dta", "spss": "sav"}


def write_parquet(
    connection: duckdb.DuckDBPyConnection,
    selection: MartSelection,
    export_columns: Sequence[ExportColumn],
    path: Path,
    _: datetime,
) -> int:
    """Write Parquet with the types of the warehouse and return the number of rows."""
    expressions = (f"{columns.parquet_sql(column)} AS {sql_identifier(column.name)}" for column in export_columns)
    query = select_sql(selection.mart, expressions, selection.condition)
    return _copy(connection, query, path, PARQUET_OPTIONS)


def write_csv(
    connection: duckdb.DuckDBPyConnection,
    selection: MartSelection,
    export_columns: Sequence[ExportColumn],
    path: Path,
    _: datetime,
) -> int:
    """Write CSV in UTF-8 with a byte order mark and return the number of rows.

    An empty cell is a missing value; `""` is an empty text.
    """
    names = [BYTE_ORDER_MARK * (index == 0) + column.name for index, column in enumerate(export_columns)]
    expressions = (
        f"{columns.csv_sql(column)} AS {sql_identifier(name)}"
        for column, name in zip(export_columns, names, strict=True)
    )
    query = select_sql(selection.mart, expressions, selection.condition)
    return _copy(connection, query, path, "FORMAT csv, HEADER true")


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path, options: str) -> int:
    ((rows,),) = connection.execute(f"COPY ({query}) TO {sql_literal(path)} ({options})").fetchall()
    return int(rows)


Writer = Callable[[duckdb.DuckDBPyConnection, MartSelection, Sequence[ExportColumn], Path, datetime], int]
"""Function that writes a table. The time is that of the build, for formats whose header has one: two exports of the
same marts are the same bytes."""

WRITERS: dict[str, Writer] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "stata": stata.write_stata,
    "spss": spss.write_spss,
}
"""Writers by format."""


def write_ids(
    connection: duckdb.DuckDBPyConnection,
    marts: Mapping[str, Mart],
    request: ExportRequest,
    path: Path,
    *,
    simulated: bool,
) -> int:
    """Write the ids of videos and comments as input of `research-assets rehydrate` and return the number of rows.

    Columns: `entity` (videos or comments), `id`, `video_id` (for a comment its video, for a video the id itself),
    `date` (UTC day on which the video was published); ids of simulated data also have `simulated`. One line per id,
    even if several studies collected it.
    """
    queries = [
        f"SELECT '{name}' AS entity, {key} AS id, video_id, day AS date FROM {sql_identifier(name)}"
        + (
            f" WHERE {where}"
            if (where := filter_condition(marts[name], request.studies, request.first, request.last))
            else ""
        )
        for name, key in (("videos", "video_id"), ("comments", "comment_id"))
        if name in marts
    ]
    mark = f", true AS {columns.SIMULATED}" if simulated else ""
    query = f"SELECT DISTINCT *{mark} FROM ({' UNION ALL '.join(queries)}) ORDER BY entity DESC, date, video_id, id"
    return _copy(connection, query, path, "FORMAT csv, HEADER true")

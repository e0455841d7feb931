"""A part of an export into one file, streamed by DuckDB: Parquet and CSV, and the list of ids."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import duckdb

from research_assets.export import columns, stata
from research_assets.export.columns import ExportColumn, select_sql
from research_assets.export.request import ExportRequest, MartSelection
from research_assets.warehouse.reader import Mart, filter_condition, sql_identifier, sql_literal

# Excel takes UTF-8 for what it is only after this mark. It is put before the first column's name, so that the file
# need not be written twice.
_MARK = "\ufeff"

SUFFIXES = {"parquet": "parquet", "csv": "csv", "stata": "dta"}


def write_parquet(
    connection: duckdb.DuckDBPyConnection, part: MartSelection, fields: Sequence[ExportColumn], path: Path
) -> int:
    """Parquet with the types of the warehouse; returns the rows written."""
    chosen = (f"{columns.parquet_sql(field)} AS {sql_identifier(field.name)}" for field in fields)
    return _copy(connection, select_sql(part.mart, chosen, part.condition), path, "FORMAT parquet, COMPRESSION zstd")


def write_csv(
    connection: duckdb.DuckDBPyConnection, part: MartSelection, fields: Sequence[ExportColumn], path: Path
) -> int:
    """CSV in UTF-8 with a mark; nothing between two commas is a missing value, `""` an empty text."""
    names = [_MARK * (place == 0) + field.name for place, field in enumerate(fields)]
    chosen = (f"{columns.csv_sql(field)} AS {sql_identifier(name)}" for field, name in zip(fields, names, strict=True))
    return _copy(connection, select_sql(part.mart, chosen, part.condition), path, "FORMAT csv, HEADER true")


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path, options: str) -> int:
    ((rows,),) = connection.execute(f"COPY ({query}) TO {sql_literal(str(path))} ({options})").fetchall()
    return int(rows)


Writer = Callable[[duckdb.DuckDBPyConnection, MartSelection, Sequence[ExportColumn], Path], int]

WRITERS: dict[str, Writer] = {"parquet": write_parquet, "csv": write_csv, "stata": stata.write_stata}
"""What writes a format."""


def write_ids(
    connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart], request: ExportRequest, path: Path
) -> int:
    """The ids of videos and comments, plain: what `research-assets rehydrate` takes; returns the rows written.

    Columns: `entity` (videos or comments), `id`, `video_id` (for a comment its video, for a video the id itself),
    `date` (UTC day on which the video was published). One line for each id, whatever number of studies holds it.
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
    query = f"SELECT DISTINCT * FROM ({' UNION ALL '.join(queries)}) ORDER BY entity DESC, date, video_id, id"
    return _copy(connection, query, path, "FORMAT csv, HEADER true")

"""A part of an export as a Stata file, by Stata's rules: what it has no type for becomes text.

Ids and whole numbers beyond 2^53 are text, because Stata's widest number is a double; missing texts are empty, because
Stata knows no other; moments are %tc in UTC, days %td; texts beyond 2,045 bytes are strL; names have 32 characters at
most and labels 80. pandas writes the file, so it must fit into memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import columns
from research_assets.export.columns import ExportColumn, select_sql
from research_assets.export.request import ExportError, MartSelection
from research_assets.warehouse.reader import sql_identifier

MAX_ROWS = 1_000_000
VERSION = 118
"""Of the file format: Stata 14 and later read it."""
NAME, LABEL, STR = 32, 80, 2045
"""The longest name and label in characters, the longest text of fixed width in bytes."""
_EXACT = 2**53

RESERVED = frozenset(
    {"_all", "_b", "byte", "_coef", "_cons", "double", "float", "if", "in", "int", "long", "_n", "_N", "_pi", "_pred"}
    | {"_rc", "_skip", "str", "strL", "using", "with"}
)


def check_size(connection: duckdb.DuckDBPyConnection, parts: Sequence[MartSelection]) -> None:
    """Raise ExportError if a mart has more than MOST_ROWS rows, before anything is written."""
    for part in parts:
        ((rows,),) = connection.sql(select_sql(part.mart, iter(["count(*)"]), part.condition)).fetchall()
        if rows > MAX_ROWS:
            raise ExportError(
                f"The mart {part.mart.name} has {rows:,} rows, too many for Stata: the file is made in memory, so "
                f"{MAX_ROWS:,} at most. Nothing was exported. Name fewer days or one study, or export csv and read it "
                "in Stata: import delimited."
            )


def write_stata(
    connection: duckdb.DuckDBPyConnection, part: MartSelection, fields: Sequence[ExportColumn], path: Path
) -> int:
    """Write a .dta file; returns the rows written."""
    # pandas takes a second to import, and the other formats do without it.
    from research_assets.warehouse.notebook import to_dataframe

    chosen = (f"{columns.stata_sql(field)} AS {sql_identifier(field.name)}" for field in fields)
    table: Any = to_dataframe(connection.sql(select_sql(part.mart, chosen, part.condition)))
    names = stata_names([field.name for field in fields])
    dates: dict[str, str] = {}
    long: list[str] = []
    for field in fields:
        series = table[field.name]
        kind = str(series.dtype)
        if kind == "Int64" and bool((series.abs() > _EXACT).any()):
            series, kind = series.astype("str"), "str"
        if kind in ("str", "object"):
            series = series.fillna("").astype(object)
            if series.map(lambda text: len(text.encode())).max() > STR:
                long.append(names[field.name])
        elif kind.startswith("datetime64"):
            dates[names[field.name]] = "td" if field.type == "DATE" else "tc"
        table[field.name] = series
    labels = {names[field.name]: label(field.description) for field in fields}
    table.rename(columns=names).to_stata(
        path,
        write_index=False,
        version=VERSION,
        convert_dates=dates,
        convert_strl=long,
        variable_labels=labels,
        data_label=label(part.mart.name),
    )
    return len(table)


def stata_names(names: Sequence[str]) -> Mapping[str, str]:
    """The name that each column has in Stata: as it is, or cut and numbered where it is too long or reserved."""
    given: dict[str, str] = {}
    for name in names:
        short = name if name not in RESERVED else f"{name}_"
        number = 1
        while len(short) > NAME or short in given.values():
            number += 1
            short = f"{name[: NAME - len(str(number)) - 1]}_{number}"
        given[name] = short
    return given


def label(description: str) -> str:
    """What Stata shows beside a variable; the codebook has the whole sentence."""
    plain = description.replace("`", "")
    return plain if len(plain) <= LABEL else plain[: LABEL - 1] + "…"

"""Writer of Stata files, by the limits of Stata.

Ids and integers beyond 2^53 become text, because Stata's widest number type is a double. Missing texts become empty,
because Stata has no missing text. Times are %tc in UTC, days %td. Texts beyond 2,045 bytes are strL. Names have at most
32 characters and labels at most 80. pandas writes the file, so a mart must fit into memory.
Not here: Parquet and CSV (see formats.py).
"""

import io
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import columns
from research_assets.export.columns import select_sql
from research_assets.export.request import ExportColumn, ExportError, MartSelection
from research_assets.storage.raw_sql import sql_identifier

MAX_ROWS = 1_000_000
"""Maximum number of rows of a mart in a Stata or SPSS file, which is made in memory."""

VERSION = 118
"""Version of the file format, which Stata 14 and later can read."""

NAME, LABEL, STR = 32, 80, 2045
"""Maximum length of a name and of a label (characters), and of a text of fixed width (bytes)."""

_EXACT = 2**53 - 1
"""Largest integer up to which a double represents every integer."""

RESERVED = frozenset(
    {"_all", "_b", "byte", "_coef", "_cons", "double", "float", "if", "in", "int", "long", "_n", "_N", "_pi", "_pred"}
    | {"_rc", "_skip", "str", "strL", "using", "with"}
)
"""Reserved words, which cannot be names of variables."""


def check_size(connection: duckdb.DuckDBPyConnection, selections: Sequence[MartSelection], program: str) -> None:
    """Raise ExportError if a mart has more than `MAX_ROWS` rows. Call it before writing."""
    for selection in selections:
        query = select_sql(selection.mart, iter(["count(*)"]), selection.condition)
        ((rows,),) = connection.sql(query).fetchall()
        if rows > MAX_ROWS:
            raise ExportError(
                f"The mart {selection.mart.name} has {rows:,} rows, too many for {program}: the limit is {MAX_ROWS:,}, "
                "because the file is created in memory. Nothing was exported. Request fewer days or one study, or "
                "export csv and read that (in Stata: import delimited; in SPSS: GET DATA)."
            )


def read_frame(
    connection: duckdb.DuckDBPyConnection, selection: MartSelection, export_columns: Sequence[ExportColumn]
) -> Any:
    """Return the selected rows as a DataFrame, for formats whose numbers are doubles: larger integers are text."""
    # Importing pandas takes a second, and the other formats do not need it.
    from research_assets.warehouse.notebook import to_dataframe

    expressions = (f"{columns.stata_sql(column)} AS {sql_identifier(column.name)}" for column in export_columns)
    frame: Any = to_dataframe(connection.sql(select_sql(selection.mart, expressions, selection.condition)))
    for name in frame.columns:
        # The absolute value of the smallest integer has more than 64 bits.
        if str(frame[name].dtype) == "Int64" and not bool(frame[name].between(-_EXACT, _EXACT).all()):
            frame[name] = frame[name].astype("str")
    return frame


def write_stata(
    connection: duckdb.DuckDBPyConnection,
    selection: MartSelection,
    export_columns: Sequence[ExportColumn],
    path: Path,
    built_at: datetime,
) -> int:
    """Write a .dta file and return the number of rows."""
    table = read_frame(connection, selection, export_columns)
    names = stata_names([column.name for column in export_columns])
    dates: dict[str, str] = {}
    long: list[str] = []
    for column in export_columns:
        series = table[column.name]
        kind = str(series.dtype)
        if kind in ("str", "object"):
            series = series.fillna("").astype(object)
            if series.map(lambda text: len(text.encode())).max() > STR:
                long.append(names[column.name])
        elif kind.startswith("datetime64"):
            dates[names[column.name]] = "td" if column.type == "DATE" else "tc"
        table[column.name] = series
    labels = {names[column.name]: label(column.description) for column in export_columns}
    data_label, written_at = label(selection.mart.name), built_at.astimezone(UTC)
    write_table(StataTable(table.rename(columns=names), dates, long, labels, data_label, written_at), path)
    return len(table)


@dataclass(slots=True)
class StataTable:
    """A table of a Stata file: `dates` are the formats of times (`td` or `tc`) and `labels` the labels, by column.

    `long` are the columns of type strL. `written_at` is the time in the file's header (UTC, minutes).
    """

    frame: Any
    dates: dict[str, str]
    long: list[str]
    labels: Mapping[str, str]
    data_label: str
    written_at: datetime


def write_table(table: StataTable, path: Path) -> None:
    """Write a table to a .dta file."""
    table.frame.to_stata(
        path,
        write_index=False,
        version=VERSION,
        convert_dates=table.dates,
        convert_strl=table.long,
        variable_labels=dict(table.labels),
        data_label=table.data_label,
        time_stamp=table.written_at,
    )


def read_table(path: Path) -> StataTable:
    """Read a .dta file that `write_stata` wrote, with the types of its columns. Raise ValueError for another file.

    Texts are of the type object, whole numbers of Int8, Int16 or Int32.
    """
    from pandas.io.stata import StataReader

    kinds, formats = _types_and_formats(path)
    with StataReader(path, convert_categoricals=False) as opened:
        reader: Any = opened
        frame = reader.read()
        labels, data_label, written = reader.variable_labels(), reader.data_label, reader.time_stamp
    names = list(frame.columns)
    for name, kind, form in zip(names, kinds, formats, strict=True):
        if kind <= STR or kind == _STRL:
            frame[name] = frame[name].astype(object)
        elif kind in _WHOLE and not form.startswith(("%td", "%tc")):
            # pandas reads a column of whole numbers with missing values as floats, and would write it as such.
            frame[name] = frame[name].astype(_WHOLE[kind])
    dates = {name: form[1:3] for name, form in zip(names, formats, strict=True) if form.startswith(("%td", "%tc"))}
    long = [name for name, kind in zip(names, kinds, strict=True) if kind == _STRL]
    at = datetime.strptime(written, "%d %b %Y %H:%M").replace(tzinfo=UTC)
    return StataTable(frame, dates, long, labels, data_label, at)


_STRL = 32768
_WHOLE = {65530: "Int8", 65529: "Int16", 65528: "Int32"}
"""Codes of the types of whole numbers; codes up to `STR` are texts of that many bytes."""

_FORMAT_BYTES = 57
_HEADER = re.compile(
    rb"<stata_dta><header><release>118</release><byteorder>LSF</byteorder><K>(..)</K>.*?"
    rb"<variable_types>(.*?)</variable_types>.*?<formats>(.*?)</formats>",
    re.DOTALL,
)


def read_columns(content: bytes) -> dict[str, list[Any]]:
    """Return the columns of any Stata file by name; times are the numbers in it. Raises ValueError."""
    import pandas as pd

    table = pd.read_stata(io.BytesIO(content), convert_dates=False)
    return {str(name): table[name].astype(object).tolist() for name in table.columns}


def _types_and_formats(path: Path) -> tuple[list[int], list[str]]:
    """Return the code of the type and the display format of each column, from the header of a .dta file."""
    with path.open("rb") as file:
        # 32,767 columns have the largest header; one of the project's marts has a thousandth of that.
        head = file.read(1 << 20)
    found = _HEADER.match(head)
    if found is None:
        raise ValueError(f"not a file of Stata's version {VERSION}")
    (n_columns,) = struct.unpack("<H", found[1])
    kinds = struct.unpack(f"<{n_columns}H", found[2])
    formats = [found[3][at : at + _FORMAT_BYTES] for at in range(0, n_columns * _FORMAT_BYTES, _FORMAT_BYTES)]
    return list(kinds), [text.split(b"\0", 1)[0].decode() for text in formats]


def stata_names(names: Sequence[str]) -> Mapping[str, str]:
    """Return the name of each column in Stata: unchanged, or shortened and numbered if it is too long or reserved."""
    short_names: dict[str, str] = {}
    for name in names:
        short = name if name not in RESERVED else f"{name}_"
        number = 1
        while len(short) > NAME or short in short_names.values():
            number += 1
            short = f"{name[: NAME - len(str(number)) - 1]}_{number}"
        short_names[name] = short
    return short_names


def label(description: str) -> str:
    """Return a description as a label of Stata, cut to its maximum length. The codebook has the full text."""
    plain = description.replace("`", "")
    return plain if len(plain) <= LABEL else plain[: LABEL - 1] + "…"

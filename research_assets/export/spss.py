"""Writer and reader of SPSS files, by the limits of SPSS.

Ids and integers beyond 2^53 become text, because the only number of SPSS is a double. A missing text becomes an empty
text, which is declared as a missing value; missing numbers and times are system-missing. Booleans are 0 and 1 with
value labels. Times are in UTC. A text beyond `MAX_TEXT` bytes ends before the limit with `CUT`, and a list whose JSON
is longer is replaced by `TOO_LONG`, because a part of it could not be read. A mart must fit into memory.
Not here: Parquet and CSV (see formats.py), Stata (see stata.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import stata
from research_assets.export.request import ExportColumn, MartSelection

NAME, LABEL, MAX_TEXT = 64, 255, 32_767
"""Maximum length of a name, of a label of a variable, and of a text (bytes)."""

CUT, TOO_LONG = " [cut]", "[too long]"
"""End of a text that was cut, and what is in the place of a list that is too long."""

_RESERVED = frozenset(["all", "and", "by", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "to", "with"])
_ORDINAL = re.compile(r"(^|_)(rank|position|number|depth)$")
_YES_NO = {0.0: "no", 1.0: "yes"}
_STATES = {
    "complete": "all rows that the API returns were collected",
    "partial": "collection began and is not finished",
    "too_fresh": "too young to be collected",
    "suspicious": "collected, but the result is doubtful",
    "refused": "the API refuses the request",
    "missing": "the API does not have it",
    "quarantined": "set aside after repeated failures",
    "not_asked": "not requested",
}
VALUE_LABELS: Mapping[str, Mapping[str, str]] = {
    "state": _STATES,
    "last_attempt_state": _STATES,
    "selection": {"all": "every unit", "sample": "random sample", "top": "highest counts of a day"},
    "unit_kind": {
        "day": "day of a search",
        "part": "part of a day",
        "video": "comments of a video",
        "comment": "replies to a comment",
        "account": "account",
        "playlist": "playlist",
        "canary": "canary check of a video",
        "rename": "search for videos of a missing account",
    },
}
"""Labels of the values of text columns that the project fills, by column."""

_FORMATS = {"DATE": "DATE11", "TIMESTAMP WITH TIME ZONE": "DATETIME23.3"}


def write_spss(
    connection: duckdb.DuckDBPyConnection,
    selection: MartSelection,
    export_columns: Sequence[ExportColumn],
    path: Path,
    built_at: datetime,
) -> int:
    """Write a .sav file and return the number of rows."""
    frame = stata.read_frame(connection, selection, export_columns)
    names = spss_names([column.name for column in export_columns])
    measures: dict[str, str] = {}
    formats: dict[str, str] = {}
    values: dict[str, Mapping[Any, str]] = {}
    for column in export_columns:
        name, series = names[column.name], frame[column.name]
        kind = str(series.dtype)
        if kind in ("str", "object") and column.type != "DATE":
            texts = series.fillna("").map(fitting_list if column.is_nested else fitting)
            frame[column.name] = texts.astype(object)
            measures[name] = "nominal"
            if column.type == "VARCHAR" and column.name in VALUE_LABELS:
                values[name] = VALUE_LABELS[column.name]
            continue
        if column.type in _FORMATS:
            frame[column.name], formats[name] = _seconds(series), _FORMATS[column.type]
        else:
            frame[column.name] = series.astype("float64")
            is_whole = column.type not in ("DOUBLE", "FLOAT") and not column.type.startswith("DECIMAL")
            formats[name] = "F1.0" if column.type == "BOOLEAN" else "F12.0" if is_whole else "F16.6"
        if column.type == "BOOLEAN":
            values[name] = _YES_NO
        measures[name] = (
            "nominal" if column.type == "BOOLEAN" else "ordinal" if _ORDINAL.search(column.name) else "scale"
        )
    labels = {names[column.name]: label(column.description) for column in export_columns}
    at = built_at.astimezone(UTC)
    created = f"{at.day:02} {_MONTHS[at.month - 1]} {at:%y%H:%M:%S}".encode()
    write_table(
        SpssTable(frame.rename(columns=names), labels, values, measures, formats, selection.mart.name, created), path
    )
    return len(frame)


@dataclass(slots=True)
class SpssTable:
    """A table of an SPSS file: labels, value labels, measurement levels and display formats by column.

    Texts of `frame` are of the type object; times are seconds since 14 October 1582. `created` are the date and the
    time in the file's header. A rewritten file keeps them, so the same removal writes the same bytes.
    """

    frame: Any
    labels: Mapping[str, str]
    value_labels: Mapping[str, Mapping[Any, str]]
    measures: Mapping[str, str]
    formats: Mapping[str, str]
    file_label: str
    created: bytes


_CREATED = slice(92, 109)
"""Place of date and time of creation in the header of a .sav file."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def write_table(table: SpssTable, path: Path) -> None:
    """Write a table to a .sav file."""
    import pyreadstat

    texts = [name for name in table.frame.columns if table.frame[name].dtype == object]
    pyreadstat.write_sav(
        table.frame,
        str(path),
        file_label=table.file_label,
        column_labels=dict(table.labels),
        row_compress=True,
        variable_value_labels={name: dict(labels) for name, labels in table.value_labels.items()},
        missing_ranges={name: [""] for name in texts},
        variable_measure=dict(table.measures),
        variable_format={name: form for name, form in table.formats.items() if name not in texts},
    )
    with path.open("r+b") as file:
        file.seek(_CREATED.start)
        file.write(table.created)


def read_table(path: Path) -> SpssTable:
    """Read a .sav file that `write_spss` wrote. Raise ValueError for another file."""
    import pyreadstat

    meta: Any
    try:
        frame, meta = pyreadstat.read_sav(str(path), user_missing=True, disable_datetime_conversion=True)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError) as error:
        raise ValueError(f"not a file of SPSS: {error}") from error
    for name, kind in meta.readstat_variable_types.items():
        frame[name] = frame[name].fillna("").astype(object) if kind == "string" else frame[name].astype("float64")
    labels: dict[str, str] = {name: text or "" for name, text in meta.column_names_to_labels.items()}
    formats: dict[str, str] = dict(meta.original_variable_types)
    with path.open("rb") as file:
        created = file.read(_CREATED.stop)[_CREATED]
    label_of_file = meta.file_label or path.stem
    return SpssTable(frame, labels, meta.variable_value_labels, meta.variable_measure, formats, label_of_file, created)


_EPOCH_SECONDS = 12_219_379_200
"""Seconds from 14 October 1582, where the times of SPSS begin, to 1 January 1970."""


def _seconds(series: Any) -> Any:
    """Return days or times (UTC) as seconds of SPSS; missing ones as NaN."""
    import pandas as pd

    times = pd.to_datetime(series)
    # In nanoseconds, the default of pandas, the year 2262 is the last one.
    return (times - pd.Timestamp(0).as_unit("s")).dt.total_seconds() + _EPOCH_SECONDS


def fitting(text: str) -> str:
    """Return a text of at most `MAX_TEXT` bytes; a longer one ends after a whole word with `CUT`."""
    content = text.encode()
    if len(content) <= MAX_TEXT:
        return text
    part = content[: MAX_TEXT - len(CUT)].decode("utf-8", "ignore")
    # Part of a handle or an id would not be recognized when the item is withdrawn.
    return re.sub(r"\S+\Z", "", part).rstrip() + CUT


def fitting_list(text: str) -> str:
    """Return the JSON of a list or a structure, or `TOO_LONG` for one of more than `MAX_TEXT` bytes."""
    return text if len(text.encode()) <= MAX_TEXT else TOO_LONG


def spss_names(names: Sequence[str]) -> Mapping[str, str]:
    """Return the name of each column in SPSS: unchanged, or shortened, with `_` if reserved, and unique in any case."""
    chosen: dict[str, str] = {}
    for name in names:
        short = re.sub(r"^_+", "", name)
        short = (f"{short}_" if short.lower() in _RESERVED else short)[:NAME]
        number = 1
        while short.lower() in {one.lower() for one in chosen.values()}:
            number += 1
            short = f"{name[: NAME - len(str(number)) - 1]}_{number}"
        chosen[name] = short
    return chosen


def label(description: str) -> str:
    """Return a description as a label of SPSS, cut to its maximum length. The codebook has the full text."""
    plain = description.replace("`", "")
    content = plain.encode()
    return plain if len(content) <= LABEL else content[: LABEL - 3].decode("utf-8", "ignore") + "…"

"""SQL expressions of exported columns, by format, after the treatment of a pseudonymous export.

- Parquet: types of the warehouse.
- CSV: ids begin with `id_`, because spreadsheets and R would read them as numbers and lose their last digits. A text
  that a spreadsheet would run as a formula begins with an apostrophe. Times are ISO 8601 in UTC, lists are JSON text.
- Stata: ids are text, times are UTC without a time zone, lists are JSON text.

Not here: which column gets which treatment (see treatment.py), the files (see formats.py and stata.py).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from research_assets.export.treatment import PSEUDONYM_KINDS, Treatment, mart_treatments
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.text import FORMULA_START
from research_assets.units.coverage import USERNAME_SEPARATOR
from research_assets.warehouse.reader import Mart, MartColumn

TEXT_ID_PREFIX = "id_"
_MIN_TEXT_ID_DIGITS = 16
"""Number of digits from which a conversion to float may round a number."""

_STATA_MAX = 8.98e307
"""Largest number in a Stata file; larger ones, infinity and NaN are missing values there."""


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an exported file: name, type after the treatment, SQL, and description.

    `treatment` is empty if the export is not pseudonymous.
    """

    name: str
    type: str
    sql: str
    description: str
    treatment: str = ""

    @property
    def is_id(self) -> bool:
        """Return whether the column is a 64-bit id, which must not be converted to a number of lower precision."""
        return self.type == "BIGINT" and (self.name == "id" or self.name.endswith("_id"))

    @property
    def is_nested(self) -> bool:
        """Return whether the column is a list, a struct or a map."""
        return self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP"))


def export_columns(mart: Mart, *, pseudonymous: bool) -> list[ExportColumn]:
    """Return the exported columns of a mart."""
    if not pseudonymous:
        return [ExportColumn(c.name, c.type, sql_identifier(c.name), c.description) for c in mart.columns]
    treatments = mart_treatments(mart)
    exported = [column for column in mart.columns if treatments[column.name] is not Treatment.DROP]
    return [_pseudonymized(column, treatments[column.name], mart) for column in exported]


def _pseudonymized(column: MartColumn, treatment: Treatment, mart: Mart) -> ExportColumn:
    name, kind, sql = sql_identifier(column.name), column.type, sql_identifier(column.name)
    match treatment:
        case Treatment.USERS:
            sql = _pseudonym_list_sql("user", name)
        case Treatment.TEXT:
            # The API's mentions of a caption include display names with spaces, which no pattern finds.
            names = '"mentions"' if column.name == "description" and "mentions" in mart.names else "NULL"
            sql = _scrubbed(name, names)
        case Treatment.TEXTS:
            sql = f"list_transform({name}, lambda value: {_scrubbed('value', 'NULL')})"
        case Treatment.UNIT:
            # The unit of a canary check is a video. A part of a day names lengths and regions only.
            accounts = _pseudonym_list_sql("user", f"string_split({name}, '{USERNAME_SEPARATOR}')")
            sql = f"CASE unit_kind WHEN 'day' THEN {name} WHEN 'part' THEN {name} "
            sql += f"WHEN 'canary' THEN {_pseudonym_sql('video', name)} "
            sql += f"WHEN 'account' THEN array_to_string({accounts}, '{USERNAME_SEPARATOR}') "
            sql += f"ELSE pseudonym(unit_kind, {name}) END"
        case _ if treatment in PSEUDONYM_KINDS:
            sql, kind = _pseudonym_sql(PSEUDONYM_KINDS[treatment], name), "VARCHAR"
    return ExportColumn(column.name, kind, sql, column.description, str(treatment))


def _pseudonym_sql(kind: str, sql: str) -> str:
    return f"pseudonym('{kind}', {sql}::VARCHAR)"


def _pseudonym_list_sql(kind: str, sql: str) -> str:
    return f"list_transform({sql}, lambda value: {_pseudonym_sql(kind, 'value')})"


def _scrubbed(sql: str, names: str) -> str:
    # DuckDB returns null if any argument of a function is null.
    return f"scrub({sql}, coalesce({names}::VARCHAR[], []::VARCHAR[]))"


def parquet_sql(column: ExportColumn) -> str:
    """Return the column with its type."""
    return column.sql


def csv_sql(column: ExportColumn) -> str:
    """Return the column as text for CSV. Missing values stay null, because the writer marks empty texts differently."""
    if column.is_id:
        return f"'{TEXT_ID_PREFIX}' || {column.sql}::VARCHAR"
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column.sql} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if column.is_nested:
        return _text(_json(column))
    if column.type == "VARCHAR":
        # Without NUL characters first: behind one, the pattern would not find the formula.
        text = _text(column.sql)
        is_formula = f"regexp_matches({text}, {sql_literal('^' + FORMULA_START)})"
        guarded = f"CASE WHEN {is_formula} THEN '''' || {text} ELSE {text} END"
        digits = f"regexp_matches({text}, '^[0-9]{{{_MIN_TEXT_ID_DIGITS},}}$')"
        return f"CASE WHEN {digits} THEN '{TEXT_ID_PREFIX}' || {text} ELSE {guarded} END"
    return column.sql


def stata_sql(column: ExportColumn) -> str:
    """Return the column in a type that pandas can write to a Stata file."""
    if column.is_id:
        return f"{column.sql}::VARCHAR"
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return f"{column.sql} AT TIME ZONE 'UTC'"
    if column.is_nested:
        return _text(_json(column))
    if column.type in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN abs({column.sql}) <= {_STATA_MAX} THEN {column.sql} END"
    return _text(column.sql) if column.type == "VARCHAR" else column.sql


def _json(column: ExportColumn) -> str:
    """Return nested values as JSON. Ids in it are text, because most JSON readers convert numbers to floats."""
    kind = re.sub(r"(^|\w*id\"? )BIGINT\b", r"\1VARCHAR", column.type)
    return f"to_json({column.sql}::{kind})::VARCHAR"


def _text(sql: str) -> str:
    """Return a text without NUL characters, at which R and Stata would cut it off."""
    return f"replace({sql}, chr(0), '')"


def select_sql(mart: Mart, columns: Iterator[str], where: str) -> str:
    """Return the query of a mart's rows."""
    return f"SELECT {', '.join(columns)} FROM {sql_identifier(mart.name)}" + (f" WHERE {where}" if where else "")

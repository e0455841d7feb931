"""The SQL of an export: each column of a mart as a format takes it, after what a pseudonymous export makes of it.

What the expressions promise, by format:

- Parquet: the types of the warehouse.
- CSV: ids begin with `id_`, or spreadsheets and R would read them as numbers and lose their last digits; a text that a
  spreadsheet would run as a formula begins with an apostrophe; moments are ISO 8601 in UTC; lists are JSON text.
- Stata: ids as text, moments in UTC without a zone, lists as JSON text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from research_assets.export.treatment import PSEUDONYM_KINDS, Treatment, mart_treatments
from research_assets.units.coverage import USERNAME_SEPARATOR
from research_assets.warehouse.reader import Mart, MartColumn, sql_identifier

TEXT_ID_PREFIX = "id_"
_MIN_TEXT_ID_DIGITS = 16
"""Digits from which on a number cannot pass through a float unharmed."""

# With the apostrophes in it, one can be taken away again without taking one that was there before.
# The last four are the wide forms, which spreadsheets take too.
_FORMULA_START = "^''*[=+@\\t\\r\\n\\-\uff1d\uff0b\uff0d\uff20]"


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an exported file: its name, its type in the warehouse or after the treatment, its SQL, its meaning.

    `treatment` is empty in an export that is not pseudonymous.
    """

    name: str
    type: str
    sql: str
    description: str
    treatment: str = ""

    @property
    def is_id(self) -> bool:
        """Whether it is a 64-bit id: to be told apart, never to be reckoned with."""
        return self.type == "BIGINT" and (self.name == "id" or self.name.endswith("_id"))

    @property
    def is_nested(self) -> bool:
        """Whether it is a list or a struct."""
        return self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP"))


def export_columns(mart: Mart, *, pseudonymous: bool) -> list[ExportColumn]:
    """The columns that are exported of a mart. Raises ExportError for one without a treatment."""
    if not pseudonymous:
        return [ExportColumn(c.name, c.type, sql_identifier(c.name), c.description) for c in mart.columns]
    known = mart_treatments(mart)
    kept = [column for column in mart.columns if known[column.name] is not Treatment.DROP]
    return [_pseudonymized(column, known[column.name], mart) for column in kept]


def _pseudonymized(column: MartColumn, treatment: Treatment, mart: Mart) -> ExportColumn:
    name, kind, sql = sql_identifier(column.name), column.type, sql_identifier(column.name)
    match treatment:
        case Treatment.USERS:
            sql = _pseudonym_list_sql("user", name)
        case Treatment.TEXT:
            # The names that the API found in a caption tell of mentions that no pattern would find.
            names = '"mentions"' if column.name == "description" and "mentions" in mart.names else "NULL"
            sql = _scrubbed(name, names)
        case Treatment.TEXTS:
            sql = f"list_transform({name}, lambda value: {_scrubbed('value', 'NULL')})"
        case Treatment.UNIT:
            # A canary is a video.
            accounts = _pseudonym_list_sql("user", f"string_split({name}, '{USERNAME_SEPARATOR}')")
            sql = f"CASE unit_kind WHEN 'day' THEN {name} WHEN 'canary' THEN {_pseudonym_sql('video', name)} "
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
    # DuckDB answers null for a function of which one argument is null.
    return f"scrub({sql}, coalesce({names}::VARCHAR[], []::VARCHAR[]))"


def parquet_sql(field: ExportColumn) -> str:
    """The column with its type."""
    return field.sql


def csv_sql(field: ExportColumn) -> str:
    """The column as text for CSV; what is missing stays null, so that the writer can tell it from an empty text."""
    if field.is_id:
        return f"'{TEXT_ID_PREFIX}' || {field.sql}::VARCHAR"
    if field.type == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({field.sql} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if field.is_nested:
        return _text(_json(field))
    if field.type == "VARCHAR":
        guarded = (
            f"CASE WHEN regexp_matches({field.sql}, '{_FORMULA_START}') THEN '''' || {field.sql} ELSE {field.sql} END"
        )
        digits = f"regexp_matches({field.sql}, '^[0-9]{{{_MIN_TEXT_ID_DIGITS},}}$')"
        return _text(f"CASE WHEN {digits} THEN '{TEXT_ID_PREFIX}' || {field.sql} ELSE {guarded} END")
    return field.sql


def stata_sql(field: ExportColumn) -> str:
    """The column in a type that pandas writes to Stata."""
    if field.is_id:
        return f"{field.sql}::VARCHAR"
    if field.type == "TIMESTAMP WITH TIME ZONE":
        return f"{field.sql} AT TIME ZONE 'UTC'"
    if field.is_nested:
        return _text(_json(field))
    return _text(field.sql) if field.type == "VARCHAR" else field.sql


def _json(field: ExportColumn) -> str:
    """Nested values as JSON; ids in it as text, because most readers of JSON make floats of numbers."""
    kind = re.sub(r"(^|\w*id\"? )BIGINT\b", r"\1VARCHAR", field.type)
    return f"to_json({field.sql}::{kind})::VARCHAR"


def _text(sql: str) -> str:
    """Text without the character 0, at which R and Stata would end it."""
    return f"replace({sql}, chr(0), '')"


def select_sql(mart: Mart, columns: Iterator[str], where: str) -> str:
    """The query of a mart's rows."""
    return f"SELECT {', '.join(columns)} FROM {sql_identifier(mart.name)}" + (f" WHERE {where}" if where else "")

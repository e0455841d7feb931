"""Coarse releases: marts with less detail, and the report of what still distinguishes their rows.

Accounts and ids have pseudonyms with a key of this release alone, which is stored outside of the exports so that a
removal finds withdrawn items. Times become days; `uploaded_at` is dropped, because it is the upper half of the id.
Numbers have two significant digits. Texts are dropped unless requested. A value of the API that fewer than
`SMALL_CELL` accounts (or rows, in a table without accounts) share is null, and so is a count over fewer accounts. The
order of the rows is random, because that of the warehouse follows time.
Not here: which columns identify people (see treatment.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from research_assets.export.columns import export_columns
from research_assets.export.request import ExportColumn, MartSelection
from research_assets.export.treatment import Treatment
from research_assets.settings import Settings
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_sql import sql_identifier
from research_assets.warehouse.reader import MARTS_SCHEMA, Mart

SMALL_CELL = 10
"""Smallest number of accounts or rows that share a released region, hashtag or similar value."""

DISCLOSURE = "DISCLOSURE.md"
SKIPPED_MARTS = ("codebook", "rejected_rows", "withdrawals")
SKIPPED_REASON = "a coarse release has no examples of values, no rejected rows and no list of removals"
_EXACT = frozenset({"inclusion_probability", "sampling_weight"})
_DROPPED = frozenset({"uploaded_at"})
_GROUP = frozenset({"study", "day", "state"})
_QUASI_IDENTIFIERS = ("study", "day", "created_at", "region_code", "duration_seconds", "is_verified")
_COUNTS = ("view_count", "like_count", "comment_count", "share_count", "favorites_count", "reply_count")
_COUNTS_OF_ACCOUNTS = ("follower_count", "following_count", "video_count", "n_videos")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Cells of a released table by some columns: rows that are alone, rows in small cells, and the smallest cell."""

    mart: str
    columns: tuple[str, ...]
    rows: int
    unique: int
    in_small_cells: int
    smallest: int


def release_key(settings: Settings, folder: str) -> Path:
    """Return the file with the key of the coarse release in a folder of the exports."""
    return settings.state / "keys" / "releases" / f"{folder}.key"


def release_keys(settings: Settings) -> list[Path]:
    """Return the files with the keys of all coarse releases."""
    return sorted(matching_paths(release_key(settings, "x").parent, "*.key"))


def coarsen(
    connection: duckdb.DuckDBPyConnection, selections: Sequence[MartSelection], *, texts: bool, simulated: bool
) -> list[MartSelection]:
    """Create a temporary table of each mart with coarse values, and return the selections of these tables.

    A temporary table has the name of its mart and hides it on this connection. `pseudonym` and `scrub` must be defined
    on it (see pseudonyms.py), with the key of the release.
    """
    return [_coarsen(connection, one, texts=texts, simulated=simulated) for one in selections]


def _coarsen(
    connection: duckdb.DuckDBPyConnection, selection: MartSelection, *, texts: bool, simulated: bool
) -> MartSelection:
    mart = selection.mart
    kept = [
        coarse
        for column in export_columns(mart, pseudonymous=True, simulated=simulated)
        if (coarse := _coarse(column, texts=texts)) is not None
    ]
    source = f"warehouse.{MARTS_SCHEMA}.{sql_identifier(mart.name)}"
    where = f"WHERE {selection.condition}" if selection.condition else ""
    accounts = "n_creators::BIGINT" if "n_creators" in mart.names else "NULL::BIGINT"
    values = ", ".join(f"{one.sql} AS {sql_identifier(one.name)}" for one in kept)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE coarse_rows AS SELECT row_number() OVER () AS coarse_row, "
        f"{accounts} AS coarse_accounts, {values or '1 AS nothing'} FROM {source} {where}"
    )
    username = next((one.name for one in kept if one.name == "username"), "")
    joins, expressions = [], []
    for number, column in enumerate(kept):
        name = sql_identifier(column.name)
        expression = name
        # Where the number of accounts is known, it alone decides.
        if _is_label(column) and "n_creators" not in mart.names:
            size = f"count(DISTINCT {sql_identifier(username)})" if username else "count(*)"
            if column.type == "VARCHAR[]":
                joins.append(_common_values(name, size, f"coarse_{number}"))
                expression = f"CASE WHEN {name} IS NOT NULL THEN coalesce(coarse_{number}.coarse_kept, []) END"
            else:
                expression = f"CASE WHEN {size} OVER (PARTITION BY {name}) >= {SMALL_CELL} THEN {name} END"
        is_group = column.name in _GROUP or column.sql == "true"
        if "n_creators" in mart.names and not is_group:
            expression = f"CASE WHEN coarse_accounts >= {SMALL_CELL} THEN {expression} END"
        expressions.append(f"{expression} AS {name}")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {sql_identifier(mart.name)} AS "
        f"SELECT {', '.join(expressions) or '1 AS nothing'} "
        f"FROM coarse_rows {' '.join(joins)} ORDER BY random()"
    )
    connection.execute("DROP TABLE coarse_rows")
    columns = tuple(replace(one, sql=sql_identifier(one.name)) for one in kept)
    return replace(selection, condition="", columns=columns)


def _common_values(name: str, size: str, alias: str) -> str:
    """Return a join with the elements of a list that enough accounts share, by row."""
    elements = f"(SELECT *, unnest({name}) AS coarse_element FROM coarse_rows)"
    return (
        f"LEFT JOIN (SELECT coarse_row, list(coarse_element) AS coarse_kept FROM {elements} WHERE coarse_element IN "
        f"(SELECT coarse_element FROM {elements} GROUP BY coarse_element HAVING {size} >= {SMALL_CELL}) "
        f"GROUP BY coarse_row) AS {alias} USING (coarse_row)"
    )


def _is_label(column: ExportColumn) -> bool:
    """Return whether a column has values of the API that few accounts may share; states and kinds are the project's."""
    return column.type in ("VARCHAR", "VARCHAR[]") and column.treatment == Treatment.LABEL


def _coarse(column: ExportColumn, *, texts: bool) -> ExportColumn | None:
    """Return a column of a pseudonymous export as it is in a coarse release; None if it is dropped."""
    if column.name in _DROPPED or column.is_id:
        return None
    if column.treatment == Treatment.TEXT:
        return column if texts and column.type == "VARCHAR" else None
    if column.is_nested and column.type != "VARCHAR[]":
        return None
    if column.type.startswith("TIMESTAMP"):
        day = f"({column.sql} AT TIME ZONE 'UTC')::DATE" if "TIME ZONE" in column.type else f"{column.sql}::DATE"
        return replace(column, type="DATE", sql=day, treatment="kept; day of the time (UTC)")
    is_number = "INT" in column.type or column.type.startswith(("DOUBLE", "FLOAT", "DECIMAL"))
    if is_number and column.name not in _EXACT:
        return replace(column, sql=_two_digits(column), treatment="kept; two significant digits")
    return column


def _two_digits(column: ExportColumn) -> str:
    value = f"{column.sql}::DOUBLE"
    return (
        f"CASE WHEN {value} = 0 THEN 0 WHEN isfinite({value}) "
        f"THEN try_cast(round({value}, 1 - floor(log10(abs({value})))::INTEGER) AS {column.type}) END"
    )


def read_disclosure(connection: duckdb.DuckDBPyConnection, selections: Sequence[MartSelection]) -> list[Disclosure]:
    """Return what distinguishes the rows of each released table with pseudonyms, without and with its counts."""
    found = []
    for selection in selections:
        names = [column.name for column in selection.columns]
        if not any("pseudonym" in column.treatment for column in selection.columns):
            continue
        known = tuple(name for name in _QUASI_IDENTIFIERS if name in names)
        counts = tuple(name for name in (*_COUNTS, *_COUNTS_OF_ACCOUNTS) if name in names)
        for columns in dict.fromkeys((known, (*known, *counts))):
            if columns:
                found.append(_disclosure(connection, selection.mart, columns))
    return found


def _disclosure(connection: duckdb.DuckDBPyConnection, mart: Mart, columns: tuple[str, ...]) -> Disclosure:
    ((rows, unique, small, smallest),) = connection.sql(
        "SELECT coalesce(sum(n), 0)::BIGINT, count(*) FILTER (n = 1), "
        f"coalesce(sum(n) FILTER (n < {SMALL_CELL}), 0)::BIGINT, coalesce(min(n), 0) "
        f"FROM (SELECT count(*) AS n FROM {sql_identifier(mart.name)} "
        f"GROUP BY {', '.join(map(sql_identifier, columns))})"
    ).fetchall()
    return Disclosure(mart.name, columns, rows, unique, small, smallest)


_NOT_ANONYMOUS = (
    "This release is coarse and is not anonymous. A row that is alone on columns that another person can know can be "
    "linked to its author. Decide with these numbers who may receive the data."
)


def render_disclosure(found: Sequence[Disclosure], *, texts: bool, simulated: bool) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Disclosure report",
        *(["**Simulated data.**"] * simulated),
        _NOT_ANONYMOUS,
        "Accounts and ids are pseudonyms with a key of this release alone. Times are days (UTC). Numbers have two "
        f"significant digits. Regions, hashtags and other values that fewer than {SMALL_CELL} accounts (or rows) "
        f"share are null, and so are counts over fewer than {SMALL_CELL} accounts. The order of the rows is random. "
        + (
            "Texts are contained on request; a search engine finds verbatim texts, so they identify their authors."
            if texts
            else "Texts are not contained."
        ),
    ]
    table = [
        f"| table | columns | rows | rows that are alone | rows in cells below {SMALL_CELL} | smallest cell |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        share = f"{one.unique / one.rows:.1%}" if one.rows else "no rows"
        table.append(
            f"| `{one.mart}` | {', '.join(one.columns)} | {one.rows:,} | {one.unique:,} ({share}) | "
            f"{one.in_small_cells:,} | {one.smallest:,} |"
        )
    lines.append("\n".join(table) if found else "No released table has rows of people.")
    lines.append("The numbers are those of the export, before any later removal. Pseudonyms are in no combination.")
    return "\n\n".join(lines) + "\n"

"""The mart `codebook`: each column of each mart with its description, unit, origin, fill rate and safe examples.

It is counted by queries over the finished marts and written into the same file before it is published. Descriptions,
units and origins are those of the dbt project. Not here: the page of the codebook (see report/codebook.py), and the
codebook of an export (see export/contents.py).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb
import orjson

from research_assets import fields
from research_assets.settings import Settings
from research_assets.warehouse.dbt_runner import prepare_manifest

MIN_VALUES = 10
"""Values that a column needs for examples; fewer could identify a person."""

MAX_CATEGORIES = 5
"""Categories shown as examples."""

EXAMPLE_ROWS = 100_000
"""Rows of all studies and days, about, that give the percentiles of the numbers of a larger mart."""

_KEY_COLUMNS = 6
"""First columns of a mart from which the rows for the percentiles are drawn; they contain most of its key."""

DESCRIPTION = """Grain: one column per mart, with its description, origin, fill rate and example values.

Examples are shown only for numbers that are not ids (10th, 50th and 90th percentile of all rows, or of about 100,000 \
rows that are drawn from all studies and days), for dates (first and last), for booleans and for declared categories \
(up to five values), and only if the column has at least ten values. Names, ids, links and user-written text are never \
shown."""

COLUMNS: Mapping[str, tuple[str, str, str | None]] = {
    "mart": ("varchar", "Name of the mart.", None),
    "column_number": ("integer", "Position of the column in the mart, from 1 (rank).", "rank"),
    "column_name": ("varchar", "Name of the column.", None),
    "description": ("varchar", "Description of the column.", None),
    "type": ("varchar", "DuckDB type of the column.", None),
    "unit": ("varchar", "Unit of numbers; UTC for days and timestamps; null for other columns.", None),
    "source_field": (
        "varchar",
        "Entity and field of the API that the column is from, with the API's names; null for columns of the project.",
        None,
    ),
    "available_since": (
        "varchar",
        "Day, or year, since which the API has had the field; null for columns of the project.",
        None,
    ),
    "n_rows": ("bigint", "Rows of the mart (rows); null for the codebook itself.", "rows"),
    "n_filled": ("bigint", "Rows in which the column is not null (rows).", "rows"),
    "fill_rate": (
        "double",
        "Share of the rows in which the column is not null (ratio, 0 to 1); null if there are no rows.",
        "ratio, 0 to 1",
    ),
    "fill_by_month": (
        "struct(month date, n_rows bigint, n_filled bigint, fill_rate double)[]",
        "Rows and filled rows by month: of `day`, else of the newest observation or video; null without a time column.",
        None,
    ),
    "examples": (
        "varchar",
        "Example values that are safe to show, by the rule in this mart's description; null for other columns.",
        None,
    ),
}
"""The codebook's own columns: type, description, unit."""


def write_codebook(settings: Settings) -> None:
    """Count the marts of the build and write the table `marts.codebook` into the build file.

    Raises duckdb.Error if the file cannot be read or written.
    """
    manifest = orjson.loads(prepare_manifest(settings).read_bytes())
    with duckdb.connect(str(settings.warehouse_build)) as db:
        create_codebook(db, manifest)


def create_codebook(db: duckdb.DuckDBPyConnection, manifest: Mapping[str, Any]) -> None:
    """Count the tables or views of the schema `marts` and create the table `marts.codebook`; `manifest` is dbt's."""
    marts = [
        node for node in manifest["nodes"].values() if node["resource_type"] == "model" and node["schema"] == "marts"
    ]
    db.execute("SET TimeZone = 'UTC'")
    db.execute("SET preserve_insertion_order = false")
    rows = [row for mart in sorted(marts, key=lambda mart: str(mart["name"])) for row in _count_mart(db, mart)]
    rows += [
        ("codebook", number, name, description, kind, unit, *[None] * 7)
        for number, (name, (kind, description, unit)) in enumerate(COLUMNS.items(), 1)
    ]
    definitions = ", ".join(f"{name} {kind}" for name, (kind, *_) in COLUMNS.items())
    # One transaction: DuckDB writes each one to its log.
    db.execute("BEGIN")
    db.execute(f"CREATE OR REPLACE TABLE marts.codebook ({definitions})")
    # One list for each column: a statement for each row takes twenty times as long.
    lists = ", ".join(f"unnest(?::{kind}[])" for kind, *_ in COLUMNS.values())
    db.execute(f"INSERT INTO marts.codebook SELECT {lists}", [list(values) for values in zip(*rows, strict=True)])
    db.execute(f"COMMENT ON TABLE marts.codebook IS {_literal(DESCRIPTION)}")
    for name, (_, description, _) in COLUMNS.items():
        db.execute(f"COMMENT ON COLUMN marts.codebook.{name} IS {_literal(description)}")
    db.execute("COMMIT")


def _count_mart(db: duckdb.DuckDBPyConnection, node: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return a row of the codebook for each column of a mart."""
    meta, columns = node["config"]["meta"], list(node["columns"].values())
    day, since = meta.get("month_column"), _availability()
    months = _fill_by_month(db, node["name"], day)
    n_rows = sum(total for _, total, _ in months)
    examples = _examples(db, node["name"], columns, meta.get("categories", ()), n_rows)
    rows = []
    for number, column in enumerate(columns, 1):
        name, source = column["name"], meta.get("source", {}).get(column["name"])
        n_filled = sum(counts[number - 1] for _, _, counts in months)
        by_month = [
            {
                "month": month,
                "n_rows": total,
                "n_filled": counts[number - 1],
                "fill_rate": counts[number - 1] / total,
            }
            for month, total, counts in months
            if month is not None
        ]
        rows.append(
            (
                node["name"],
                number,
                name,
                column["description"],
                column["data_type"],
                column["config"]["meta"].get("unit") or ("UTC" if _is_time(column) else None),
                source,
                since.get(source),
                n_rows,
                n_filled,
                n_filled / n_rows if n_rows else None,
                by_month or None,
                examples.get(name) if n_filled >= MIN_VALUES else None,
            )
        )
    return rows


def _fill_by_month(
    db: duckdb.DuckDBPyConnection, mart: str, day: str | None
) -> list[tuple[date | None, int, Sequence[int]]]:
    """Return the rows of each month, and those in which each column is filled; month None for rows without a day."""
    month = f"cast(date_trunc('month', {day}) as date)" if day else "cast(null as date)"
    rows = db.execute(f"SELECT {month}, count(*), count(COLUMNS(*)) FROM marts.{mart} GROUP BY 1 ORDER BY 1").fetchall()
    return [(month, total, counts) for month, total, *counts in rows]


def _examples(
    db: duckdb.DuckDBPyConnection,
    mart: str,
    columns: Sequence[Mapping[str, Any]],
    categories: Sequence[str],
    n_rows: int,
) -> dict[str, str]:
    """Return examples of the columns whose values identify nobody."""
    numbers, texts = list[str](), dict[str, str]()
    for column in columns:
        name = column["name"]
        if _is_time(column):
            texts[name] = f"[min({name})::DATE::VARCHAR, max({name})::DATE::VARCHAR]"
        elif column["data_type"] == "boolean" or name in categories:
            texts[name] = f"list_sort(list(DISTINCT {name}::VARCHAR))[:{MAX_CATEGORIES}]"
        elif column["data_type"] in ("bigint", "integer", "double") and not name.endswith("_id"):
            numbers.append(name)
    examples: dict[str, str] = {}
    if texts:
        [row] = db.execute(f"SELECT {', '.join(texts.values())} FROM marts.{mart}").fetchall()
        for name, values in zip(texts, row, strict=True):
            examples[name] = ", ".join(value for value in values or () if value is not None)
    if numbers:
        drawn = ""
        if n_rows > EXAMPLE_ROWS:
            # The same rows in every build: a repeated build must not change the examples.
            key = ", ".join(column["name"] for column in columns[:_KEY_COLUMNS])
            drawn = f" WHERE hash({key}) % {n_rows // EXAMPLE_ROWS} = 0"
        counts = ", ".join(f"count({name})" for name in numbers)
        quantiles = ", ".join(f"quantile_disc({name}, [0.1, 0.5, 0.9])" for name in numbers)
        [row] = db.execute(f"SELECT {counts}, {quantiles} FROM marts.{mart}{drawn}").fetchall()
        for name, n_filled, values in zip(numbers, row[: len(numbers)], row[len(numbers) :], strict=True):
            if n_filled >= MIN_VALUES:
                examples[name] = ", ".join(_format_number(value) for value in values)
    return examples


def _format_number(value: float) -> str:
    """Return a number with at most three decimal places.

    Of a fraction only 12 digits, because the engines round the last ones differently.
    """
    if isinstance(value, float):
        value = float(f"{value:.12g}")
    return str(int(value)) if value == int(value) else str(round(value, 3))


def _is_time(column: Mapping[str, Any]) -> bool:
    return column["data_type"] in ("date", "timestamptz")


def _availability() -> dict[str | None, str]:
    """Return the date since which the API has each field, by `entity.field`."""
    return {
        f"{entity.name}.{field.name}": field.since for entity in fields.ENTITIES.values() for field in entity.fields
    }


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

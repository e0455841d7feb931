"""Documentation data of an export: the codebook of its columns, the coverage of its studies, the software version.

Not here: the README that quotes them (see readme.py), the codebook page (see report/codebook.py).
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import duckdb

from research_assets.export import columns
from research_assets.export.request import ExportRequest, MartSelection
from research_assets.export.spss import spss_names
from research_assets.export.stata import stata_names
from research_assets.warehouse.reader import Mart, filter_condition

ORIGIN_COLUMNS = ("unit", "source_field", "available_since")
"""Columns of the mart `codebook` that codebook.csv adds to the descriptions."""


@dataclass(frozen=True, slots=True)
class CoverageCount:
    """Units of an entity of a study in one state, with the rows requested, reported by the API and retained."""

    study: str
    entity: str
    state: str
    units: int
    asked: int | None
    offered: int | None
    kept: int | None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """First and last publication day of the videos (ISO, empty without any), and first and last retrieval (UTC)."""

    first_day: str
    last_day: str
    first_at: datetime | None
    last_at: datetime | None


def software_version() -> str:
    """Return the names and versions of the software that writes exports."""
    return f"research-assets {version('research-assets')}, DuckDB {duckdb.__version__}"


def read_coverage_counts(
    connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart], request: ExportRequest
) -> list[CoverageCount]:
    """Return the coverage of the exported studies and days, as the report counts it; empty without the mart `coverage`.

    Of the searches only days are units: parts of a day, canary checks and searches for missing accounts are none.
    """
    if "coverage" not in marts:
        return []
    where = filter_condition(marts["coverage"], request.studies, request.first, request.last)
    rows = connection.sql(
        "SELECT study, entity, state, count(*), sum(asked)::BIGINT, sum(offered)::BIGINT, sum(kept)::BIGINT "
        f"FROM coverage WHERE (entity <> 'videos' OR unit_kind = 'day'){' AND ' + where if where else ''} "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return [CoverageCount(*row) for row in rows]


def read_retrieval(
    connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart], request: ExportRequest
) -> Retrieval:
    """Return when the exported videos were published and when the exported studies were retrieved."""

    def bounds(mart: str, first: str, last: str) -> tuple[Any, Any]:
        if mart not in marts or {first, last} - set(marts[mart].names):
            return None, None
        where = filter_condition(marts[mart], request.studies, request.first, request.last)
        query = f"SELECT min({first}), max({last}) FROM {mart} {'WHERE ' + where if where else ''}"
        (row,) = connection.sql(query).fetchall()
        return row[0], row[1]

    first_day, last_day = bounds("videos", "day", "day")
    return Retrieval(
        first_day.isoformat() if first_day else "",
        last_day.isoformat() if last_day else "",
        *bounds("coverage", "first_at", "last_at"),
    )


def read_column_origins(
    connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart]
) -> dict[tuple[str, str], Sequence[str]]:
    """Return `ORIGIN_COLUMNS` by mart and column; empty without the mart `codebook`."""
    if "codebook" not in marts:
        return {}
    rows = connection.sql(f"SELECT mart, column_name, {', '.join(ORIGIN_COLUMNS)} FROM codebook").fetchall()
    return {(mart, column): [value or "" for value in values] for mart, column, *values in rows}


def codebook_csv(
    selections: Sequence[MartSelection],
    request: ExportRequest,
    origins: Mapping[tuple[str, str], Sequence[str]],
    *,
    simulated: bool,
) -> str:
    """Return codebook.csv: one line per exported column, in the order of the files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    stata, spss, pseudonymous = "stata" in request.formats, "spss" in request.formats, request.has_pseudonyms
    heading = ["mart", "column", "type", "description", *(ORIGIN_COLUMNS if origins else ())]
    writer.writerow([*heading, *["name_in_stata"] * stata, *["name_in_spss"] * spss, *["treatment"] * pseudonymous])
    for selection in selections:
        mart = selection.mart.name
        export_columns = columns.selected_columns(selection, pseudonymous=pseudonymous, simulated=simulated)
        names = [column.name for column in export_columns]
        short, in_spss = stata_names(names), spss_names(names)
        for column in export_columns:
            origin = origins.get((mart, column.name), [""] * len(ORIGIN_COLUMNS)) if origins else []
            more = [short[column.name]] * stata + [in_spss[column.name]] * spss + [column.treatment] * pseudonymous
            writer.writerow([mart, column.name, column.type, column.description, *origin, *more])
    return text.getvalue()

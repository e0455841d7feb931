"""What stands behind an export's tables: the codebook of its columns, the coverage of its studies, the software."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import duckdb

from research_assets.export import columns
from research_assets.export.request import ExportRequest, MartSelection
from research_assets.export.stata import stata_names
from research_assets.warehouse.reader import Mart, filter_condition

ORIGIN_COLUMNS = ("unit", "source_field", "available_since")
"""What the mart `codebook` knows beyond the descriptions."""


@dataclass(frozen=True, slots=True)
class CoverageCount:
    """What is held of an entity of a study: units in a state, and the rows asked, offered and kept for them."""

    study: str
    entity: str
    state: str
    units: int
    asked: int | None
    offered: int | None
    kept: int | None


def software_version() -> str:
    """What made the export."""
    return f"research-assets {version('research-assets')}, DuckDB {duckdb.__version__}"


def read_coverage_counts(
    connection: duckdb.DuckDBPyConnection, known: Mapping[str, Mart], request: ExportRequest
) -> list[CoverageCount]:
    """The coverage of the exported studies and days, from the mart `coverage`; empty if there is none."""
    if "coverage" not in known:
        return []
    where = filter_condition(known["coverage"], request.studies, request.first, request.last)
    rows = connection.sql(
        "SELECT study, entity, state, count(*), sum(asked)::BIGINT, sum(offered)::BIGINT, sum(kept)::BIGINT "
        f"FROM coverage {'WHERE ' + where if where else ''} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return [CoverageCount(*row) for row in rows]


def read_column_origins(
    connection: duckdb.DuckDBPyConnection, known: Mapping[str, Mart]
) -> dict[tuple[str, str], Sequence[str]]:
    """Unit, source field and since when the API has it, by mart and column; empty without the mart `codebook`."""
    if "codebook" not in known:
        return {}
    rows = connection.sql(f"SELECT mart, column_name, {', '.join(ORIGIN_COLUMNS)} FROM codebook").fetchall()
    return {(mart, column): [value or "" for value in values] for mart, column, *values in rows}


def codebook_csv(
    chosen: Sequence[MartSelection], request: ExportRequest, origin: Mapping[tuple[str, str], Sequence[str]]
) -> str:
    """The columns of the exported tables as CSV: one line for each, in the order of the files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    stata, treated = "stata" in request.formats, request.pseudonymous
    heading = ["mart", "column", "type", "description", *(ORIGIN_COLUMNS if origin else ())]
    writer.writerow([*heading, *["name_in_stata"] * stata, *["treatment"] * treated])
    for part in chosen:
        fields = columns.export_columns(part.mart, pseudonymous=treated)
        short = stata_names([field.name for field in fields])
        for field in fields:
            reported = origin.get((part.mart.name, field.name), [""] * len(ORIGIN_COLUMNS)) if origin else []
            more = [short[field.name]] * stata + [field.treatment] * treated
            writer.writerow([part.mart.name, field.name, field.type, field.description, *reported, *more])
    return text.getvalue()

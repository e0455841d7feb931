"""Coding sheets: random samples of videos or comments with empty columns for hand coding, and sheets that come back.

A sheet is the table of its mart with the drawn rows, `draw_probability`, and the empty columns `CODE`, `CODER` and
`NOTE`. The draw orders the rows by a hash of seed and id, so it depends on nothing else. Not here: the estimators (see
estimates/proportions.py), the command (see cli/score.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from research_assets.estimates.proportions import CodedItem
from research_assets.export.columns import selected_columns
from research_assets.export.request import ExportColumn, ExportError, ExportRequest, MartSelection
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.text_files import TextFileError, read_table, read_text
from research_assets.warehouse.reader import MARTS_SCHEMA

KEYS = {"videos": "video_id", "comments": "comment_id"}
"""Column of the id in the marts from which a sample can be drawn."""

PROBABILITY, CODE, CODER, NOTE = "draw_probability", "code", "coder", "note"
_EMPTY = (
    ExportColumn(CODE, "VARCHAR", "", "Code given by hand; 1 or yes if the item is relevant, 0 or no if it is not."),
    ExportColumn(CODER, "VARCHAR", "", "Person who coded the item."),
    ExportColumn(NOTE, "VARCHAR", "", "Note of the coder."),
)
_YES, _NO = frozenset({"1", "yes", "y", "true", "x"}), frozenset({"0", "no", "n", "false"})


class CodingSheetError(ValueError):
    """A coding sheet that cannot be scored; nothing was changed."""


def draw(
    connection: duckdb.DuckDBPyConnection, selection: MartSelection, request: ExportRequest, *, simulated: bool
) -> MartSelection:
    """Create a temporary table with the drawn rows under the name of the mart, and return the selection of it.

    With `by`, each value of that column has the same number of rows, or all of its rows if there are fewer.
    """
    mart, key = selection.mart, KEYS[selection.mart.name]
    if request.by and request.by not in mart.names:
        raise ExportError(
            f"The mart {mart.name} has no column {request.by}; there are: {', '.join(mart.names)}. Nothing was "
            "exported."
        )
    stratum = sql_identifier(request.by) if request.by else "1"
    source = f"warehouse.{MARTS_SCHEMA}.{sql_identifier(mart.name)}"
    where = f"WHERE {selection.condition}" if selection.condition else ""
    ((population, strata),) = connection.sql(
        f"SELECT count(*), count(DISTINCT {stratum}) + max(({stratum} IS NULL)::INT) FROM {source} {where}"
    ).fetchall()
    strata = strata or 0
    if strata > request.draw:
        raise ExportError(
            f"The column {request.by} has {strata:,} values, more than the {request.draw:,} rows to draw. Nothing was "
            "exported. Draw more rows, or name a column with fewer values."
        )
    size = request.draw // max(strata, 1)
    columns = selected_columns(selection, pseudonymous=request.pseudonymous, simulated=simulated)
    marks = [one for one in columns if one.sql == "true"]
    first = [one for one in columns if one.name == key]
    rest = [one for one in columns if one.name != key and one not in marks]
    values = ", ".join(f"{one.sql} AS {sql_identifier(one.name)}" for one in (*first, *rest, *marks))
    rank = f"row_number() OVER (PARTITION BY {stratum} ORDER BY md5({sql_literal(str(request.seed))} || ':' || {key}))"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {sql_identifier(mart.name)} AS SELECT * FROM (SELECT {values}, {rank} AS "
        f"draw_rank, count(*) OVER (PARTITION BY {stratum}) AS draw_population, "
        f"least(1.0, {size} / draw_population)::DOUBLE AS {PROBABILITY}, NULL::VARCHAR AS {CODE}, "
        f"NULL::VARCHAR AS {CODER}, NULL::VARCHAR AS {NOTE} FROM {source} {where}) WHERE draw_rank <= {size} "
        f"ORDER BY {sql_identifier(key)}"
    )
    ((drawn,),) = connection.sql(f"SELECT count(*) FROM {sql_identifier(mart.name)}").fetchall()
    probability = ExportColumn(
        PROBABILITY, "DOUBLE", PROBABILITY, "Probability with which the row was drawn (ratio, 0 to 1)."
    )
    shown = (*first, probability, *_EMPTY, *rest, *marks)
    by = f", at most {size:,} of each value of {request.by}" if request.by else ""
    return replace(
        selection,
        condition="",
        note=f"random sample of {drawn:,} of {population:,} rows without replacement{by}, seed {request.seed}",
        columns=tuple(
            replace(one, sql=sql_identifier(one.name), treatment=one.treatment or ("kept" * request.pseudonymous))
            for one in shown
        ),
    )


@dataclass(frozen=True, slots=True)
class CodedSheet:
    """The coded items of a sheet, and the number of rows without a code."""

    items: tuple[CodedItem, ...]
    n_uncoded: int


def read_sheet(path: Path, code: str = CODE, rule: str = "") -> CodedSheet:
    """Return the items of a coding sheet. `rule` is `COLUMN` or `COLUMN=VALUE`; empty: the rule selects every row.

    The file is a CSV file with commas, semicolons or tabs. Raise CodingSheetError if it cannot be scored.
    """
    try:
        rows = read_table(read_text(path))
    except TextFileError as error:
        raise CodingSheetError(f"{path} {error}. Nothing was changed.") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    column, is_equal, wanted = rule.partition("=")
    for name in (PROBABILITY, code, *([column] if column else [])):
        if name not in header:
            raise CodingSheetError(
                f"{path} has no column {name}; there are: {', '.join(header) or 'none'}. Nothing was changed. Name a "
                "sheet that `research-assets export --draw` wrote."
            )
    items, n_uncoded = [], 0
    for line, cells in rows[1:]:
        row = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
        if not row[code].strip():
            n_uncoded += 1
            continue
        relevant = _is_yes(path, line, code, row[code])
        if not column:
            selected = True
        elif is_equal:
            selected = row[column].strip() == wanted
        else:
            selected = bool(row[column].strip()) and _is_yes(path, line, column, row[column])
        items.append(CodedItem(relevant, selected, _probability(path, line, row[PROBABILITY])))
    return CodedSheet(tuple(items), n_uncoded)


def _is_yes(path: Path, line: int, column: str, cell: str) -> bool:
    text = cell.strip().lower()
    if text not in _YES | _NO:
        raise CodingSheetError(
            f"{path}, line {line}: {cell.strip()!r} in the column {column} is neither yes nor no. Nothing was changed. "
            "Write 1 or yes, 0 or no, or nothing for a row without a code."
        )
    return text in _YES


def _probability(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell.strip().replace(",", "."))
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise CodingSheetError(
            f"{path}, line {line}: {cell.strip()!r} is no {PROBABILITY}. Nothing was changed. Restore the column from "
            "the sheet as it was exported."
        )
    return value


def draw_note(selections: Sequence[MartSelection]) -> str:
    """Return the sentence that states the draw of a coding sheet."""
    return " ".join(f"The table {one.mart.name} is a {one.note}." for one in selections if one.note)

"""The codebook as a page: one HTML file of all marts, beside the reports and in exports; it needs nothing either."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from research_assets.report.codebook import MONTH_BASIS, Codebook, CodebookColumn, CodebookMart, MonthFill
from research_assets.report.codebook_months import (
    JUMP_RATE,
    MIN_JUMP_ROWS,
    axis_svg,
    change_positions,
    fill_css,
    fill_svg,
    find_jumps,
    group_runs,
    summarize_fill,
)
from research_assets.report.methods_tables import api_changes_table
from research_assets.report.render import render_template
from research_assets.report.section import ReportSection, ReportTable, text_columns
from research_assets.report.words import NO_VALUE, format_percent, format_time, join_words, pluralize

CODEBOOK_FILE = "marts-codebook.html"
"""Its file; no study can be called so."""

API_CHANGES_ANCHOR = "breaks"
"""Its section of known breaks, beside those named like marts."""

_DATE_BASIS_TEXT = {
    "published": "publication",
    "observed": "asking",
    "": "publication for videos and comments, of asking for the rest",
}

_SAMPLE = [
    MonthFill(date(2026, month, 1), 100, filled)
    for month, filled in ((1, 100), (2, 100), (3, 60), (4, 60), (5, 0), (7, 8))
]
"""Months that show what a picture can tell; there is no sixth."""


@dataclass(frozen=True, slots=True)
class CodebookRow:
    """A column as a row of the page."""

    column: CodebookColumn
    rate: str
    picture: str
    months: Sequence[str]


@dataclass(frozen=True, slots=True)
class CodebookSection:
    """A mart as a section of the page."""

    name: str
    title: str
    grain: str
    sentences: Sequence[str]
    scale: str
    lines: Sequence[CodebookRow]
    tables: Sequence[ReportTable]


def render_codebook(book: Codebook, *, simulated: bool, built: datetime, now: datetime) -> str:
    """The whole document. `built` is when the marts were published."""
    parts = [_mart_section(mart, book) for mart in book.marts]
    tables = [replace(api_changes_table(book.api_changes), is_collapsed=False)] if book.api_changes else []
    last = ReportSection(
        API_CHANGES_ANCHOR,
        "Known breaks",
        [_API_CHANGES_NOTE] if tables else ["The warehouse lists no breaks."],
        tables=tables,
    )
    return render_template(
        "codebook.html",
        fill_css(),
        simulated=simulated,
        parts=parts,
        sections=[*parts, last],
        last=last,
        counts=f"{pluralize(sum(len(mart.columns) for mart in book.marts), 'column')} of {pluralize(len(parts), 'mart')}",
        sample=fill_svg(_SAMPLE, [one.month for one in _SAMPLE]),
        points=f"{JUMP_RATE * 100:.0f}",
        least=MIN_JUMP_ROWS,
        nothing=NO_VALUE,
        built=format_time(built),
        written=format_time(now),
        beside="",
    )


_API_CHANGES_NOTE = (
    "What is known to have changed in the API's data, and who tells of it. What researchers reported is reported, not "
    "proven; that a fill rate changes near a break does not show that the break is the cause."
)


def _mart_section(mart: CodebookMart, book: Codebook) -> CodebookSection:
    axis, epochs = mart.months, [epoch for epoch in book.api_changes if epoch.date_basis == mart.date_basis]
    marks = change_positions(epochs, axis)
    lines = [
        CodebookRow(
            column,
            format_percent(column.filled / column.rows) if column.rows else NO_VALUE,
            fill_svg(column.months, axis) if column.months else "",
            summarize_fill(column, book.api_changes),
        )
        for column in mart.columns
    ]
    sentences = [_size_text(mart)]
    if marks:
        numbered = join_words(list(dict.fromkeys(str(mark.number) for mark in marks)))
        sentences.append(f"Dashed lines above the bars: known breaks that begin or end in these months ({numbered}).")
    if broken := [f"`{column.name}`" for column in mart.columns if find_jumps(column.months)]:
        sentences.append(f"The fill rate breaks in {join_words(broken)}.")
    return CodebookSection(
        mart.name, mart.name, mart.grain, sentences, axis_svg(axis, marks) if axis else "", lines, _monthly_tables(mart)
    )


def _size_text(mart: CodebookMart) -> str:
    if mart.rows is None:
        return "It does not count itself."
    if not mart.months:
        return f"{pluralize(mart.rows, 'row')}." + (" They belong to no month." if mart.rows else "")
    with_month = max(sum(month.rows for month in column.months) for column in mart.columns)
    rest = f"; {pluralize(mart.rows - with_month, 'row')} of no month" if mart.rows > with_month else ""
    span = f"{mart.months[0]:%Y-%m} to {mart.months[-1]:%Y-%m}" if len(mart.months) > 1 else f"{mart.months[0]:%Y-%m}"
    by = (
        f" Months are those of `{MONTH_BASIS[mart.name][0]}`: of {_DATE_BASIS_TEXT[mart.date_basis]}."
        if mart.name in MONTH_BASIS
        else ""
    )
    return f"{pluralize(mart.rows, 'row')} of {pluralize(len(mart.months), 'month')}, {span}{rest}.{by}"


def _monthly_tables(mart: CodebookMart) -> list[ReportTable]:
    """The columns whose share is not the same in every month, with each month's share in words."""
    by_column = {column.name: group_runs(column.months) for column in mart.columns}
    rows = [
        [name, "; ".join(run.text for run in found)]
        for name, found in by_column.items()
        if len({run.percentage for run in found}) > 1
    ]
    if not rows:
        return []
    same = len(mart.columns) - len(rows)
    note = f"The other {pluralize(same, 'column')} {'has' if same == 1 else 'have'} one share in all months."
    return [ReportTable("By month, in numbers", text_columns("column", "filled"), rows, note=note if same else "")]

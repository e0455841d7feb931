"""The codebook as a page: one HTML file of all marts, beside the reports and in exports; it needs nothing either."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from research_assets.report.codebook import MONTH_OF, Book, Described, MartBook, Month
from research_assets.report.codebook_months import JUMP, JUMP_ROWS, css, in_short, jumps, marks_of, picture, runs, scale
from research_assets.report.methods_tables import breaks
from research_assets.report.render import render
from research_assets.report.section import Section, Table, texts
from research_assets.report.words import NOTHING, counted, listed, moment, percent

NAME = "marts-codebook.html"
"""Its file; no study can be called so."""

BREAKS = "breaks"
"""Its section of known breaks, beside those named like marts."""

_CLOCKS = {
    "published": "publication",
    "observed": "asking",
    "": "publication for videos and comments, of asking for the rest",
}

_SAMPLE = [
    Month(date(2026, month, 1), 100, filled) for month, filled in ((1, 100), (2, 100), (3, 60), (4, 60), (5, 0), (7, 8))
]
"""Months that show what a picture can tell; there is no sixth."""


@dataclass(frozen=True, slots=True)
class Line:
    """A column as a row of the page."""

    column: Described
    rate: str
    picture: str
    months: Sequence[str]


@dataclass(frozen=True, slots=True)
class Part:
    """A mart as a section of the page."""

    name: str
    title: str
    grain: str
    sentences: Sequence[str]
    scale: str
    lines: Sequence[Line]
    tables: Sequence[Table]


def codebook_page(book: Book, *, simulated: bool, built: datetime, now: datetime) -> str:
    """The whole document. `built` is when the marts were published."""
    parts = [_part(mart, book) for mart in book.marts]
    tables = [replace(breaks(book.epochs), folded=False)] if book.epochs else []
    last = Section(BREAKS, "Known breaks", [_BREAKS] if tables else ["The warehouse lists no breaks."], tables=tables)
    return render(
        "codebook.html",
        css(),
        simulated=simulated,
        parts=parts,
        sections=[*parts, last],
        last=last,
        counts=f"{counted(sum(len(mart.columns) for mart in book.marts), 'column')} of {counted(len(parts), 'mart')}",
        sample=picture(_SAMPLE, [one.month for one in _SAMPLE]),
        points=f"{JUMP * 100:.0f}",
        least=JUMP_ROWS,
        nothing=NOTHING,
        built=moment(built),
        written=moment(now),
        beside="",
    )


_BREAKS = (
    "What is known to have changed in the API's data, and who tells of it. What researchers reported is reported, not "
    "proven; that a fill rate changes near a break does not show that the break is the cause."
)


def _part(mart: MartBook, book: Book) -> Part:
    axis, epochs = mart.months, [epoch for epoch in book.epochs if epoch.clock == mart.clock]
    marks = marks_of(epochs, axis)
    lines = [
        Line(
            column,
            percent(column.filled / column.rows) if column.rows else NOTHING,
            picture(column.months, axis) if column.months else "",
            in_short(column, book.epochs),
        )
        for column in mart.columns
    ]
    sentences = [_size(mart)]
    if marks:
        numbered = listed(list(dict.fromkeys(str(mark.number) for mark in marks)))
        sentences.append(f"Dashed lines above the bars: known breaks that begin or end in these months ({numbered}).")
    if broken := [f"`{column.name}`" for column in mart.columns if jumps(column.months)]:
        sentences.append(f"The fill rate breaks in {listed(broken)}.")
    return Part(mart.name, mart.name, mart.grain, sentences, scale(axis, marks) if axis else "", lines, _numbers(mart))


def _size(mart: MartBook) -> str:
    if mart.rows is None:
        return "It does not count itself."
    if not mart.months:
        return f"{counted(mart.rows, 'row')}." + (" They belong to no month." if mart.rows else "")
    with_month = max(sum(month.rows for month in column.months) for column in mart.columns)
    rest = f"; {counted(mart.rows - with_month, 'row')} of no month" if mart.rows > with_month else ""
    span = f"{mart.months[0]:%Y-%m} to {mart.months[-1]:%Y-%m}" if len(mart.months) > 1 else f"{mart.months[0]:%Y-%m}"
    by = f" Months are those of `{MONTH_OF[mart.name][0]}`: of {_CLOCKS[mart.clock]}." if mart.name in MONTH_OF else ""
    return f"{counted(mart.rows, 'row')} of {counted(len(mart.months), 'month')}, {span}{rest}.{by}"


def _numbers(mart: MartBook) -> list[Table]:
    """The columns whose share is not the same in every month, with each month's share in words."""
    by_column = {column.name: runs(column.months) for column in mart.columns}
    rows = [
        [name, "; ".join(run.words for run in found)]
        for name, found in by_column.items()
        if len({run.told for run in found}) > 1
    ]
    if not rows:
        return []
    same = len(mart.columns) - len(rows)
    note = f"The other {counted(same, 'column')} {'has' if same == 1 else 'have'} one share in all months."
    return [Table("By month, in numbers", texts("column", "filled"), rows, note=note if same else "")]

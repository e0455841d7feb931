"""What the marts `codebook` and `epochs` say of all columns, as plain values. `codebook_page` shows them.

Rates are of all studies together: the marts are. A report counts anew for its own study.
"""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from html import escape
from itertools import groupby, pairwise

import duckdb

from research_assets.report import drawing, queries
from research_assets.report.data import ApiChange
from research_assets.report.drawing import ChangeMarker, change_markers
from research_assets.report.elements import ReportSection, ReportTable, text_columns
from research_assets.report.formatting import (
    NO_VALUE,
    format_number,
    format_percent,
    format_time,
    join_words,
    pluralize,
)
from research_assets.report.methods import api_changes_table
from research_assets.report.page import render_template
from research_assets.warehouse.reader import read_marts

# JOINED: """How a column is filled month by month: as a picture in a table's cell, and in words.
#
# A bar's height is the share of the month's rows, so that it is read without colour.
# """


# JOINED: """The codebook as a page: one HTML file of all marts, beside the reports and in exports; it needs nothing either."""


MART_ORDER = (
    "videos",
    "video_observations",
    "comments",
    "users",
    "user_observations",
    "follows",
    "engagements",
    "hashtags",
    "hashtag_pairs",
    "creators",
    "study_days",
    "coverage",
    "quota_usage",
    "api_changes",
    "codebook",
)
"""The marts as a reader meets them; one that is not among them comes last."""

MONTH_BASIS: Mapping[str, tuple[str, str]] = {
    "videos": ("day", "published"),
    "video_observations": ("day", "published"),
    "comments": ("day", "published"),
    "hashtags": ("day", "published"),
    "hashtag_pairs": ("day", "published"),
    "creators": ("last_video_at", "published"),
    "study_days": ("day", "published"),
    "users": ("last_seen_at", "observed"),
    "user_observations": ("day", "observed"),
    "follows": ("last_seen_at", "observed"),
    "engagements": ("last_seen_at", "observed"),
    "quota_usage": ("day", "observed"),
    "coverage": ("partition_day", ""),
}
"""The column that gives a row its month, as dbt's meta has it, and the clock that it is on; the coverage is on both."""


@dataclass(frozen=True, slots=True)
class MonthFill:
    """The rows of a mart in one month, and those of them in which a column is not null."""

    month: date
    rows: int
    filled: int

    @property
    def rate(self) -> float:
        """The part that is filled, 0 to 1; there is at least one row."""
        return self.filled / self.rows


@dataclass(frozen=True, slots=True)
class CodebookColumn:
    """A column of a mart: what the project says of it, and how many of the mart's `rows` fill it (None: not counted).

    `source` is the API's field, `since` from when on the API has it; texts are empty where there is nothing to say.
    """

    name: str
    type: str
    unit: str
    description: str
    source: str
    since: str
    rows: int | None
    filled: int
    examples: str
    months: Sequence[MonthFill]


@dataclass(frozen=True, slots=True)
class CodebookMart:
    """A mart with its columns, in order; `grain` says what one row is."""

    name: str
    grain: str
    columns: Sequence[CodebookColumn]

    @property
    def rows(self) -> int | None:
        """Rows of the mart; None for the codebook, which does not count itself."""
        return self.columns[0].rows

    @property
    def months(self) -> list[date]:
        """The months in which it has rows, in order."""
        return sorted({month.month for column in self.columns for month in column.months})

    @property
    def date_basis(self) -> str:
        """The clock that its months are on, `published` or `observed`; empty if they are on neither or both."""
        return MONTH_BASIS.get(self.name, ("", ""))[1]


@dataclass(frozen=True, slots=True)
class Codebook:
    """All marts, and the known breaks in the API's data."""

    marts: Sequence[CodebookMart]
    api_changes: Sequence[ApiChange]


def read_codebook(connection: duckdb.DuckDBPyConnection) -> Codebook | None:
    """The codebook of a connection as `reading.connect` gives it; None if the warehouse has none."""
    known = read_marts(connection)
    if "codebook" not in known:
        return None
    columns: dict[str, list[CodebookColumn]] = {}
    for mart, name, kind, unit, description, source, since, rows, filled, examples, months in connection.execute(
        queries.CODEBOOK_SQL
    ).fetchall():
        by_month = [MonthFill(one["month"], one["n_rows"], one["n_filled"]) for one in months or ()]
        columns.setdefault(mart, []).append(
            CodebookColumn(name, kind, unit, description, source, since, rows, filled, examples, by_month)
        )
    if not columns:
        return None
    changes = (
        [ApiChange(*row) for row in connection.execute(queries.API_CHANGES_SQL).fetchall()] if "api_changes" in known else []
    )
    names = sorted(columns, key=lambda name: (MART_ORDER.index(name) if name in MART_ORDER else len(MART_ORDER), name))
    grains = {name: known[name].description.removeprefix("Grain: ") if name in known else "" for name in names}
    return Codebook([CodebookMart(name, grains[name], columns[name]) for name in names], changes)


JUMP_RATE, MIN_JUMP_ROWS = 0.25, 30
"""A fill rate breaks where it differs by so much from that of the month with rows before, both with so many or more."""

MAX_RUNS_SHOWN = 6
"""Runs that a picture's label reads out; more are left to the table."""

MAX_CHARACTERS = 90
"""Pixels that the names of two months take side by side."""

_WIDTH, _WIDEST = 200.0, 16.0
_TOP, _FOOT, _HEIGHT = 7, 25, 27
"""Pixels: of the picture and of a month at most; from a full bar's top to its foot, and the picture's height."""


@dataclass(frozen=True, slots=True)
class FillJump:
    """A month whose fill rate is far from that of the month with rows before it."""

    month: date
    before: float
    after: float

    @property
    def text(self) -> str:
        """`2024-07: from 0 % to 100 %`."""
        return f"{self.month:%Y-%m}: from {format_percent(self.before)} to {format_percent(self.after)}"


@dataclass(frozen=True, slots=True)
class FillRun:
    """Months on end that are told as one percentage."""

    months: Sequence[MonthFill]
    percentage: str

    @property
    def text(self) -> str:
        """`2026-02: 12.1 %`, `2026-02 to 2026-05: 100 %`."""
        first, last = self.months[0].month, self.months[-1].month
        return f"{first:%Y-%m}{'' if first == last else f' to {last:%Y-%m}'}: {self.percentage}"

    @property
    def counts(self) -> str:
        """The same with the rows that it is the share of."""
        rows, filled = (sum(counts) for counts in zip(*((one.rows, one.filled) for one in self.months), strict=True))
        return f"{self.text} ({format_number(filled)} of {pluralize(rows, 'row')})"


def find_jumps(months: Sequence[MonthFill]) -> list[FillJump]:
    """The months in which the fill rate breaks, by `JUMP` and `JUMP_ROWS`."""
    return [
        FillJump(after.month, before.rate, after.rate)
        for before, after in pairwise(months)
        if min(before.rows, after.rows) >= MIN_JUMP_ROWS and abs(after.rate - before.rate) >= JUMP_RATE
    ]


def group_runs(months: Sequence[MonthFill]) -> list[FillRun]:
    """The months in runs of one percentage; a month without rows parts them."""
    found = []
    keyed = [(_month_number(one.month) - index, format_percent(one.rate), one) for index, one in enumerate(months)]
    for (_, reported), together in groupby(keyed, key=lambda row: row[:2]):
        found.append(FillRun([one for *_, one in together], reported))
    return found


def summarize_fill(column: CodebookColumn, changes: Sequence[ApiChange]) -> list[str]:
    """What the picture shows, a line each: the range, and the jumps with what is known to lie near."""
    months = column.months
    if not months:
        return []
    least, most = (choose(months, key=lambda one: one.rate) for choose in (min, max))
    if format_percent(least.rate) == format_percent(most.rate):
        lines = [f"{format_percent(least.rate)} in {'each month' if len(months) > 1 else f'{months[0].month:%Y-%m}'}"]
    else:
        lines = [
            f"{format_percent(least.rate)} ({least.month:%Y-%m}) to {format_percent(most.rate)} ({most.month:%Y-%m})"
        ]
    return lines + [jump.text + _nearby_changes(jump, column.since, changes) for jump in find_jumps(months)]


def _nearby_changes(jump: FillJump, since: str, changes: Sequence[ApiChange]) -> str:
    """The field's own beginning, or else the breaks that begin or end in a jump's month or in the one before."""
    if len(since) == len("2024-07-09") and _is_near(date.fromisoformat(since), jump.month):
        return "; the API got the field about then"
    near = [
        change for change in changes if any(edge and _is_near(edge, jump.month) for edge in (change.first, change.last))
    ]
    return f"; near break {join_words([str(change.number) for change in near])}" if near else ""


def change_positions(changes: Sequence[ApiChange], axis: Sequence[date]) -> list[ChangeMarker]:
    """Where breaks begin or end within the months of an axis, in order of time."""
    if not axis:
        return []
    last = axis[-1]
    return change_markers(changes, axis[0], last.replace(day=monthrange(last.year, last.month)[1]))


def fill_svg(months: Sequence[MonthFill], axis: Sequence[date]) -> str:
    """Bars by month as SVG, on an axis that all columns of a mart share."""
    place = _Axis(axis)
    found = group_runs(months)
    label = (
        "; ".join(run.text for run in found) if len(found) <= MAX_RUNS_SHOWN else "Shares by month, in numbers below"
    )
    parts = []
    for run in found:
        frame = "".join(place.bar(one.month, 1) for one in run.months)
        bars = "".join(place.bar(one.month, one.rate) for one in run.months if one.filled)
        whole = all(one.filled == one.rows for one in run.months)
        paths = ("" if whole else f'<path class="frame" d="{frame}"/>') + (f'<path d="{bars}"/>' if bars else "")
        parts.append(f"<g><title>{escape(run.counts)}</title>{paths}</g>")
    for jump in find_jumps(months):
        left = place.left(jump.month) + place.step / 2 - 3.5
        parts.append(f'<path class="jump" d="M{left:.1f} 0h7l-3.5 5.5z"><title>{escape(jump.text)}</title></path>')
    return place.svg(label, "".join(parts))


def axis_svg(axis: Sequence[date], marks: Sequence[ChangeMarker]) -> str:
    """The axis of a mart's pictures as SVG: its first and its last month, and breaks as dashed lines."""
    place = _Axis(axis)
    ends = f'<text x="0" y="11">{axis[0]:%Y-%m}</text>'
    if place.wide >= MAX_CHARACTERS:
        ends += f'<text x="{place.wide:g}" y="11" text-anchor="end">{axis[-1]:%Y-%m}</text>'
    lines = []
    for mark in marks:
        part = (mark.day.day - 1) / monthrange(mark.day.year, mark.day.month)[1]
        line = f"M{place.left(mark.day) + part * place.step:.1f} 15V{_HEIGHT}"
        lines.append(f'<path class="break" d="{line}"><title>{escape(mark.text)}</title></path>')
    return place.svg(f"{axis[0]:%Y-%m} to {axis[-1]:%Y-%m}", ends + "".join(lines))


class _Axis:
    """Where the months of a mart lie, in pixels from the left."""

    def __init__(self, axis: Sequence[date]) -> None:
        self._first = _month_number(axis[0])
        count = _month_number(axis[-1]) - self._first + 1
        self.step = min(_WIDEST, _WIDTH / count)
        self.wide = count * self.step

    def left(self, month: date) -> float:
        return (_month_number(month) - self._first) * self.step

    def bar(self, month: date, rate: float) -> str:
        """A month's bar as part of a path; what is not quite empty is seen."""
        high, wide = max(rate * (_FOOT - _TOP), 1.5), self.step - min(1.0, self.step / 4)
        return f"M{self.left(month):.1f} {_FOOT}h{wide:.1f}v-{high:.1f}h-{wide:.1f}z"

    def svg(self, label: str, inner: str) -> str:
        wide = max(self.wide, MAX_CHARACTERS / 2)
        return (
            f'<svg class="months" role="img" aria-label="{escape(label)}" width="{wide:g}" height="{_HEIGHT}" '
            f'viewBox="0 0 {wide:g} {_HEIGHT}">{inner}</svg>'
        )


def fill_css() -> str:
    """The look of the pictures, once for all of them."""
    return (
        f".months path {{ fill: {drawing.BLUE}; }} .months .frame {{ fill: {drawing.GRID}; }} "
        f".months .jump {{ fill: {drawing.RED}; stroke: {drawing.INK}; stroke-width: .6; }} "
        f".months .break {{ fill: none; stroke: {drawing.INK}; stroke-width: 1.1; stroke-dasharray: 3 2; }} "
        f".months text {{ font: 11px {drawing.FONT}; fill: {drawing.SOFT}; }}"
    )


def _month_number(month: date) -> int:
    return month.year * 12 + month.month


def _is_near(day: date, month: date) -> bool:
    """Whether a day lies in a month or in the one before."""
    return 0 <= _month_number(month) - _month_number(day) <= 1


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


def render_codebook(codebook: Codebook, *, simulated: bool, built: datetime, now: datetime) -> str:
    """The whole document. `built` is when the marts were published."""
    parts = [_mart_section(mart, codebook) for mart in codebook.marts]
    tables = [replace(api_changes_table(codebook.api_changes), is_collapsed=False)] if codebook.api_changes else []
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
        counts=f"{pluralize(sum(len(mart.columns) for mart in codebook.marts), 'column')} of {pluralize(len(parts), 'mart')}",
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


def _mart_section(mart: CodebookMart, codebook: Codebook) -> CodebookSection:
    axis, changes = mart.months, [change for change in codebook.api_changes if change.date_basis == mart.date_basis]
    marks = change_positions(changes, axis)
    lines = [
        CodebookRow(
            column,
            format_percent(column.filled / column.rows) if column.rows else NO_VALUE,
            fill_svg(column.months, axis) if column.months else "",
            summarize_fill(column, codebook.api_changes),
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

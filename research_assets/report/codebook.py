"""The codebook of the marts: all columns with descriptions, sources and monthly fill rates, and its page.

Fill rates are over all studies, because the marts are. The page is self-contained: one HTML file next to the reports
and in exports.
Not here: fill rates of one study (see methods.py), codebook.csv of an export (see export/contents.py).
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby, pairwise

import duckdb

from research_assets.planning.messages import pluralize
from research_assets.report import drawing, queries
from research_assets.report.data import ApiChange
from research_assets.report.drawing import ChangeMarker, change_markers
from research_assets.report.elements import ReportSection, ReportTable, text_columns
from research_assets.report.formatting import NO_VALUE, format_number, format_percent, format_time, join_words
from research_assets.report.methods import api_changes_table
from research_assets.report.page import render_template
from research_assets.text import svg_text
from research_assets.warehouse.reader import read_marts

CODEBOOK_FILE = "marts-codebook.html"
"""Name of the file. A study cannot have this name."""

API_CHANGES_ANCHOR = "known-changes"
"""Id of the section of API changes; the ids of the other sections are names of marts."""

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
    "sounds",
    "playlists",
    "mentions",
    "video_renames",
    "renames",
    "creators",
    "study_days",
    "observation_rounds",
    "coverage",
    "rejected_rows",
    "population",
    "repeatability",
    "verification",
    "withdrawals",
    "quota_usage",
    "api_changes",
    "codebook",
)
"""Order of the marts on the page. Marts that are not listed come last."""

MONTH_BASIS: Mapping[str, tuple[str, str]] = {
    "videos": ("day", "published"),
    "video_observations": ("day", "published"),
    "comments": ("day", "published"),
    "hashtags": ("day", "published"),
    "hashtag_pairs": ("day", "published"),
    "sounds": ("last_video_at", "published"),
    "playlists": ("last_seen_at", "observed"),
    "mentions": ("day", "published"),
    "video_renames": ("day", "published"),
    "renames": ("renamed_at", "observed"),
    "creators": ("last_video_at", "published"),
    "study_days": ("day", "published"),
    "observation_rounds": ("day", "published"),
    "users": ("last_seen_at", "observed"),
    "user_observations": ("day", "observed"),
    "follows": ("last_seen_at", "observed"),
    "engagements": ("last_seen_at", "observed"),
    "quota_usage": ("day", "observed"),
    "rejected_rows": ("day", "observed"),
    "coverage": ("partition_day", ""),
    "verification": ("day", "published"),
    "population": ("day", "published"),
    "repeatability": ("day", "published"),
    "withdrawals": ("withdrawn_at", "observed"),
}
"""The column that determines the month of a row (`month_column` in dbt's meta), and the date basis of that column.

The mart `coverage` has publication dates for videos and comments and collection dates for the rest: basis empty.
"""

JUMP_RATE, MIN_JUMP_ROWS = 0.25, 30
"""A fill rate jumps if it differs by this share from that of the previous month with rows, and both have these rows."""

MAX_RUNS_SHOWN = 6
"""Maximum number of runs in the label of a picture for screen readers; more are in the table only."""

MAX_CHARACTERS = 90
"""Width of two month labels next to each other (pixels)."""

_MAX_WIDTH, _MAX_STEP = 200.0, 16.0
"""Maximum width of a picture and of a month (pixels)."""

_TOP, _FOOT, _HEIGHT = 7, 25, 27
"""Top and foot of a full bar, and height of a picture (pixels)."""


@dataclass(frozen=True, slots=True)
class MonthFill:
    """Rows of a mart in one month, and those in which a column is not null."""

    month: date
    rows: int
    filled: int

    @property
    def rate(self) -> float:
        """Share of filled rows, 0 to 1. There is at least one row."""
        return self.filled / self.rows


@dataclass(frozen=True, slots=True)
class CodebookColumn:
    """A column of a mart with its description and fill. `rows` is None if the fill was not counted.

    `source` is the field of the API and `since` the date of its introduction. Texts are empty if they do not apply.
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
    """A mart with its columns in order. `grain` describes one row."""

    name: str
    grain: str
    columns: Sequence[CodebookColumn]

    @property
    def rows(self) -> int | None:
        """Rows of the mart; None for the mart `codebook`, which does not count itself."""
        return self.columns[0].rows

    @property
    def months(self) -> list[date]:
        """Months in which the mart has rows, in order."""
        return sorted({month.month for column in self.columns for month in column.months})

    @property
    def date_basis(self) -> str:
        """Date basis of the months: `published` or `observed`; empty for none or both."""
        return MONTH_BASIS.get(self.name, ("", ""))[1]


@dataclass(frozen=True, slots=True)
class Codebook:
    """All marts, and the known API changes."""

    marts: Sequence[CodebookMart]
    api_changes: Sequence[ApiChange]


def read_codebook(connection: duckdb.DuckDBPyConnection) -> Codebook | None:
    """Return the codebook from a connection of `connect_read_only`; None if the warehouse has no codebook."""
    marts = read_marts(connection)
    if "codebook" not in marts:
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
        [ApiChange(*row) for row in connection.execute(queries.API_CHANGES_SQL).fetchall()]
        if "api_changes" in marts
        else []
    )
    names = sorted(columns, key=lambda name: (MART_ORDER.index(name) if name in MART_ORDER else len(MART_ORDER), name))
    grains = {name: marts[name].description.removeprefix("Grain: ") if name in marts else "" for name in names}
    return Codebook([CodebookMart(name, grains[name], columns[name]) for name in names], changes)


_EXAMPLES = re.compile("(<br><span>for example )(.*?)(</span>)", re.DOTALL)


def map_examples(page: str, change: Callable[[str], str]) -> str:
    """Return a page of `render_codebook` with changed examples of values; those that become empty are left out."""

    def changed(found: re.Match[str]) -> str:
        examples = change(found[2])
        return f"{found[1]}{examples}{found[3]}" if examples else ""

    return _EXAMPLES.sub(changed, page)


@dataclass(frozen=True, slots=True)
class FillJump:
    """A month whose fill rate differs strongly from that of the previous month with rows."""

    month: date
    before: float
    after: float

    @property
    def text(self) -> str:
        """The jump as text: `2024-07: from 0 % to 100 %`."""
        return f"{self.month:%Y-%m}: from {format_percent(self.before)} to {format_percent(self.after)}"


@dataclass(frozen=True, slots=True)
class FillRun:
    """Consecutive months with the same rounded percentage."""

    months: Sequence[MonthFill]
    percentage: str

    @property
    def text(self) -> str:
        """The run as text: `2026-02: 12.1 %`, `2026-02 to 2026-05: 100 %`."""
        first, last = self.months[0].month, self.months[-1].month
        return f"{first:%Y-%m}{'' if first == last else f' to {last:%Y-%m}'}: {self.percentage}"

    @property
    def counts(self) -> str:
        """The run as text with numerator and denominator: `2026-02: 12.5 % (1 of 8 rows)`."""
        rows, filled = (sum(counts) for counts in zip(*((one.rows, one.filled) for one in self.months), strict=True))
        return f"{self.text} ({format_number(filled)} of {pluralize(rows, 'row')})"


def find_jumps(months: Sequence[MonthFill]) -> list[FillJump]:
    """Return the months in which the fill rate jumps, by `JUMP_RATE` and `MIN_JUMP_ROWS`."""
    return [
        FillJump(after.month, before.rate, after.rate)
        for before, after in pairwise(months)
        if min(before.rows, after.rows) >= MIN_JUMP_ROWS and abs(after.rate - before.rate) >= JUMP_RATE
    ]


def group_runs(months: Sequence[MonthFill]) -> list[FillRun]:
    """Return runs of months with the same percentage. A month without rows ends a run."""
    runs = []
    keyed = [(_month_number(one.month) - index, format_percent(one.rate), one) for index, one in enumerate(months)]
    for (_, percentage), together in groupby(keyed, key=lambda row: row[:2]):
        runs.append(FillRun([one for *_, one in together], percentage))
    return runs


def summarize_fill(column: CodebookColumn, changes: Sequence[ApiChange]) -> list[str]:
    """Return a picture as lines of text: the range, and each jump with the API changes close to it."""
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
    """Return the introduction of the field, or the changes that begin or end in the month of a jump or just before."""
    if len(since) == len("2024-07-09") and _is_near(date.fromisoformat(since), jump.month):
        return "; the API introduced the field at about this time"
    near = [
        change for change in changes if any(edge and _is_near(edge, jump.month) for edge in (change.first, change.last))
    ]
    return f"; close to API change {join_words([str(change.number) for change in near])}" if near else ""


def change_positions(changes: Sequence[ApiChange], axis: Sequence[date]) -> list[ChangeMarker]:
    """Return markers of the changes that begin or end within the months of an axis, in order of time."""
    if not axis:
        return []
    last = axis[-1]
    return change_markers(changes, axis[0], last.replace(day=monthrange(last.year, last.month)[1]))


def fill_svg(months: Sequence[MonthFill], axis: Sequence[date]) -> str:
    """Return bars by month as SVG, on the axis that all columns of a mart share.

    The height of a bar is the share of the month's rows, so that it does not depend on colour.
    """
    scale = _MonthScale(axis)
    runs = group_runs(months)
    label = (
        "; ".join(run.text for run in runs) if len(runs) <= MAX_RUNS_SHOWN else "Shares by month, see the table below"
    )
    parts = []
    for run in runs:
        frame = "".join(scale.bar(one.month, 1) for one in run.months)
        bars = "".join(scale.bar(one.month, one.rate) for one in run.months if one.filled)
        is_full = all(one.filled == one.rows for one in run.months)
        paths = ("" if is_full else f'<path class="frame" d="{frame}"/>') + (f'<path d="{bars}"/>' if bars else "")
        parts.append(f"<g><title>{svg_text(run.counts)}</title>{paths}</g>")
    for jump in find_jumps(months):
        left = scale.left(jump.month) + scale.step / 2 - 3.5
        parts.append(f'<path class="jump" d="M{left:.1f} 0h7l-3.5 5.5z"><title>{svg_text(jump.text)}</title></path>')
    return scale.svg(label, "".join(parts))


def axis_svg(axis: Sequence[date], markers: Sequence[ChangeMarker]) -> str:
    """Return the axis of a mart's pictures as SVG: the first and the last month, and API changes as dashed lines."""
    scale = _MonthScale(axis)
    ends = f'<text x="0" y="11">{axis[0]:%Y-%m}</text>'
    if scale.width >= MAX_CHARACTERS:
        ends += f'<text x="{scale.width:g}" y="11" text-anchor="end">{axis[-1]:%Y-%m}</text>'
    lines = []
    for marker in markers:
        part = (marker.day.day - 1) / monthrange(marker.day.year, marker.day.month)[1]
        line = f"M{scale.left(marker.day) + part * scale.step:.1f} 15V{_HEIGHT}"
        lines.append(f'<path class="change" d="{line}"><title>{svg_text(marker.text)}</title></path>')
    return scale.svg(f"{axis[0]:%Y-%m} to {axis[-1]:%Y-%m}", ends + "".join(lines))


class _MonthScale:
    """Positions of the months of a mart, in pixels from the left."""

    def __init__(self, axis: Sequence[date]) -> None:
        self._first = _month_number(axis[0])
        count = _month_number(axis[-1]) - self._first + 1
        self.step = min(_MAX_STEP, _MAX_WIDTH / count)
        self.width = count * self.step

    def left(self, month: date) -> float:
        return (_month_number(month) - self._first) * self.step

    def bar(self, month: date, rate: float) -> str:
        """Return the bar of a month as part of a path. A bar is at least 1.5 pixels high, so that it stays visible."""
        height, width = max(rate * (_FOOT - _TOP), 1.5), self.step - min(1.0, self.step / 4)
        return f"M{self.left(month):.1f} {_FOOT}h{width:.1f}v-{height:.1f}h-{width:.1f}z"

    def svg(self, label: str, inner: str) -> str:
        width = max(self.width, MAX_CHARACTERS / 2)
        return (
            f'<svg class="months" role="img" aria-label="{svg_text(label)}" width="{width:g}" height="{_HEIGHT}" '
            f'viewBox="0 0 {width:g} {_HEIGHT}">{inner}</svg>'
        )


def fill_css() -> str:
    """Return the CSS of all pictures, in both colour schemes."""
    dark = _picture_colours(*(drawing.DARK_COLOURS[colour] for colour in _COLOURS))
    return (
        f"{_picture_colours(*_COLOURS)} .months .jump {{ stroke-width: .6; }} "
        ".months .change { stroke-width: 1.1; stroke-dasharray: 3 2; } "
        f".months text {{ font: {drawing.TEXT_SIZE - 1}px var(--sans); }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n"
    )


_COLOURS = (drawing.BLUE, drawing.GRID, drawing.INK, drawing.SOFT)
"""Colours of bars, frames, lines and texts of a picture."""


def _picture_colours(bar: str, frame: str, line: str, text: str) -> str:
    return (
        f".months path {{ fill: {bar}; }} .months .frame {{ fill: {frame}; }} "
        f".months .jump {{ fill: {drawing.RED}; stroke: {line}; }} .months .change {{ fill: none; stroke: {line}; }} "
        f".months text {{ fill: {text}; }}"
    )


def _month_number(month: date) -> int:
    return month.year * 12 + month.month


def _is_near(day: date, month: date) -> bool:
    """Return whether a day lies in a month or in the month before."""
    return 0 <= _month_number(month) - _month_number(day) <= 1


_DATE_BASIS_TEXT = {
    "published": "publication date",
    "observed": "collection date",
    "": "publication date for videos and comments, collection date for the rest",
}

_API_CHANGES_NOTE = (
    "Known changes and incidents of the API, with their sources. Reports of researchers are reports, not proof. A fill "
    "rate that changes close to an API change does not show that the API change is the cause."
)

_SAMPLE = [
    MonthFill(date(2026, month, 1), 100, filled)
    for month, filled in ((1, 100), (2, 100), (3, 60), (4, 60), (5, 0), (7, 8))
]
"""Months of the example picture. The sixth month has no rows."""


@dataclass(frozen=True, slots=True)
class CodebookRow:
    """A column as a row of the page."""

    column: CodebookColumn
    rate: str
    picture: str
    months: Sequence[str]


@dataclass(frozen=True, slots=True)
class CodebookSection:
    """A mart as a section of the page. `scale` is the SVG of the month axis."""

    name: str
    title: str
    grain: str
    sentences: Sequence[str]
    scale: str
    rows: Sequence[CodebookRow]
    tables: Sequence[ReportTable]


def render_codebook(codebook: Codebook, *, simulated: bool, built: datetime, now: datetime) -> str:
    """Return the HTML of the codebook. `built` is the time at which the marts were published."""
    marts = [_mart_section(mart, codebook) for mart in codebook.marts]
    tables = [replace(api_changes_table(codebook.api_changes), is_collapsed=False)] if codebook.api_changes else []
    api_changes = ReportSection(
        API_CHANGES_ANCHOR,
        "Known API changes",
        [_API_CHANGES_NOTE] if tables else ["The warehouse lists no API changes."],
        tables=tables,
    )
    n_columns = sum(len(mart.columns) for mart in codebook.marts)
    return render_template(
        "codebook.html",
        fill_css(),
        simulated=simulated,
        marts=marts,
        sections=[*marts, api_changes],
        api_changes=api_changes,
        counts=f"{pluralize(n_columns, 'column')} of {pluralize(len(marts), 'mart')}",
        sample=fill_svg(_SAMPLE, [one.month for one in _SAMPLE]),
        jump_points=f"{JUMP_RATE * 100:.0f}",
        min_jump_rows=MIN_JUMP_ROWS,
        no_value=NO_VALUE,
        published=format_time(built),
        written=format_time(now),
        codebook_file="",
    )


def _mart_section(mart: CodebookMart, codebook: Codebook) -> CodebookSection:
    axis, changes = mart.months, [change for change in codebook.api_changes if change.date_basis == mart.date_basis]
    markers = change_positions(changes, axis)
    rows = [
        CodebookRow(
            column,
            format_percent(column.filled / column.rows) if column.rows else NO_VALUE,
            fill_svg(column.months, axis) if column.months else "",
            summarize_fill(column, codebook.api_changes),
        )
        for column in mart.columns
    ]
    sentences = [_size_text(mart)]
    if markers:
        numbers = join_words(list(dict.fromkeys(str(marker.number) for marker in markers)))
        sentences.append(f"Dashed lines above the bars mark known API changes that begin or end there ({numbers}).")
    if jumping := [f"`{column.name}`" for column in mart.columns if find_jumps(column.months)]:
        sentences.append(f"The fill rate jumps in {join_words(jumping)}.")
    scale = axis_svg(axis, markers) if axis else ""
    return CodebookSection(mart.name, mart.name, mart.grain, sentences, scale, rows, _monthly_tables(mart))


def _size_text(mart: CodebookMart) -> str:
    if mart.rows is None:
        return "The codebook does not count its own rows."
    if not mart.months:
        return f"{pluralize(mart.rows, 'row')}." + (" These rows have no month." if mart.rows else "")
    with_month = max(sum(month.rows for month in column.months) for column in mart.columns)
    rest = f"; {pluralize(mart.rows - with_month, 'row')} without a month" if mart.rows > with_month else ""
    period = f"{mart.months[0]:%Y-%m}"
    if len(mart.months) > 1:
        period += f" to {mart.months[-1]:%Y-%m}"
    basis = (
        f" The month is that of `{MONTH_BASIS[mart.name][0]}` ({_DATE_BASIS_TEXT[mart.date_basis]})."
        if mart.name in MONTH_BASIS
        else ""
    )
    return f"{pluralize(mart.rows, 'row')} of {pluralize(len(mart.months), 'month')}, {period}{rest}.{basis}"


def _monthly_tables(mart: CodebookMart) -> list[ReportTable]:
    """Return a table of the columns whose share differs between months; empty if there are none."""
    by_column = {column.name: group_runs(column.months) for column in mart.columns}
    rows = [
        [name, "; ".join(run.text for run in runs)]
        for name, runs in by_column.items()
        if len({run.percentage for run in runs}) > 1
    ]
    if not rows:
        return []
    same = len(mart.columns) - len(rows)
    note = f"The other {pluralize(same, 'column')} {'has' if same == 1 else 'have'} the same share in all months."
    return [ReportTable("Fill by month", text_columns("column", "filled"), rows, note=note if same else "")]

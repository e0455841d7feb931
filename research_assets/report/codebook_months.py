"""How a column is filled month by month: as a picture in a table's cell, and in words.

A bar's height is the share of the month's rows, so that it is read without colour.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from itertools import groupby, pairwise

from research_assets.report import style
from research_assets.report.chart_epochs import ChangeMarker, change_markers
from research_assets.report.codebook import CodebookColumn, MonthFill
from research_assets.report.facts import ApiChange
from research_assets.report.words import format_number, format_percent, join_words, pluralize

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
    for (_, told), together in groupby(keyed, key=lambda row: row[:2]):
        found.append(FillRun([one for *_, one in together], told))
    return found


def summarize_fill(column: CodebookColumn, epochs: Sequence[ApiChange]) -> list[str]:
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
    return lines + [jump.text + _nearby_changes(jump, column.since, epochs) for jump in find_jumps(months)]


def _nearby_changes(jump: FillJump, since: str, epochs: Sequence[ApiChange]) -> str:
    """The field's own beginning, or else the breaks that begin or end in a jump's month or in the one before."""
    if len(since) == len("2024-07-09") and _is_near(date.fromisoformat(since), jump.month):
        return "; the API got the field about then"
    near = [epoch for epoch in epochs if any(edge and _is_near(edge, jump.month) for edge in (epoch.first, epoch.last))]
    return f"; near break {join_words([str(epoch.number) for epoch in near])}" if near else ""


def change_positions(epochs: Sequence[ApiChange], axis: Sequence[date]) -> list[ChangeMarker]:
    """Where breaks begin or end within the months of an axis, in order of time."""
    if not axis:
        return []
    last = axis[-1]
    return change_markers(epochs, axis[0], last.replace(day=monthrange(last.year, last.month)[1]))


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
        f".months path {{ fill: {style.BLUE}; }} .months .frame {{ fill: {style.GRID}; }} "
        f".months .jump {{ fill: {style.RED}; stroke: {style.INK}; stroke-width: .6; }} "
        f".months .break {{ fill: none; stroke: {style.INK}; stroke-width: 1.1; stroke-dasharray: 3 2; }} "
        f".months text {{ font: 11px {style.FONT}; fill: {style.SOFT}; }}"
    )


def _month_number(month: date) -> int:
    return month.year * 12 + month.month


def _is_near(day: date, month: date) -> bool:
    """Whether a day lies in a month or in the one before."""
    return 0 <= _month_number(month) - _month_number(day) <= 1

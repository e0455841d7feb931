"""Breaks in the API's data as marks on an axis of time: a dashed line where one begins or ends, with its number.

Only epochs whose clock is that of the axis belong on it: whoever calls chooses them. A number is the same on every
chart, in the table of the methods and in the codebook.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from research_assets.report import style
from research_assets.report.chart import WIDTH, chart_data, time_axis, vega_time
from research_assets.report.epoch_words import change_period
from research_assets.report.facts import ApiChange

if TYPE_CHECKING:
    import altair as alt

START_MARK, END_MARK = "\N{BLACK RIGHT-POINTING POINTER}", "\N{BLACK LEFT-POINTING POINTER}"
"""Beside a number: on which side of the line the break lies."""

_CHARACTER = 7.5
"""Width of a character of a label at most (pixels)."""


@dataclass(frozen=True, slots=True)
class ChangeMarker:
    """Where a line stands: before the first hour of `day`; its label, and the break that it is of."""

    day: date
    number: int
    label: str
    text: str


def change_markers(epochs: Sequence[ApiChange], first: date, last: date) -> list[ChangeMarker]:
    """The beginnings and ends that lie within these days, in order of time."""
    marks = []
    for epoch in epochs:
        words = f"{epoch.number}: {epoch.title} ({change_period(epoch)})"
        if epoch.first and epoch.first == epoch.last:
            marks.append(ChangeMarker(epoch.first, epoch.number, str(epoch.number), words))
            continue
        if epoch.first:
            marks.append(ChangeMarker(epoch.first, epoch.number, f"{epoch.number}{START_MARK}", words))
        if epoch.last:
            marks.append(ChangeMarker(epoch.last + timedelta(days=1), epoch.number, f"{END_MARK}{epoch.number}", words))
    return sorted((mark for mark in marks if first <= mark.day <= last), key=lambda mark: (mark.day, mark.label))


def markers_text(marks: Sequence[ChangeMarker]) -> str:
    """The marks of a chart in words for its caption; empty if there are none."""
    if not marks:
        return ""
    words = "; ".join(dict.fromkeys(mark.text for mark in marks))
    return f"Dashed lines are known breaks in the API's data (1{START_MARK} begins, {END_MARK}1 has ended): {words}."


def marker_layers(marks: Sequence[ChangeMarker], first: date, last: date) -> "list[alt.Chart]":
    """The lines with their labels, as layers of a chart whose axis of time has these ends; none without marks."""
    import altair as alt

    if not marks:
        return []
    x = time_axis(first, last)
    lines = [{"start": vega_time(mark.day), "tip": mark.text} for mark in marks]
    labels = [
        {"start": vega_time(group[0].day), "label": _marker_label(group), "tip": "; ".join(mark.text for mark in group)}
        for group in _group_markers(marks, ((last - first).days + 1) / WIDTH)
    ]
    return [
        alt.Chart(chart_data(lines))
        .mark_rule(strokeDash=[4, 3], color=style.INK, strokeWidth=1.2)
        .encode(x=x, description="tip:N"),
        alt.Chart(chart_data(labels))
        .mark_text(y=-8, align="left", dx=-4, fontWeight="bold")
        .encode(x=x, text="label:N", description="tip:N"),
    ]


def _marker_label(group: Sequence[ChangeMarker]) -> str:
    return ", ".join(mark.label for mark in group)


def _group_markers(marks: Sequence[ChangeMarker], days_per_pixel: float) -> list[list[ChangeMarker]]:
    """Marks whose labels would touch share one."""
    groups: list[list[ChangeMarker]] = []
    for mark in marks:
        if groups:
            wide = (len(_marker_label(groups[-1])) + 1) * _CHARACTER * days_per_pixel
            if (mark.day - groups[-1][0].day).days < wide:
                groups[-1].append(mark)
                continue
        groups.append([mark])
    return groups

"""Breaks in the API's data as marks on an axis of time: a dashed line where one begins or ends, with its number.

Only epochs whose clock is that of the axis belong on it: whoever calls chooses them. A number is the same on every
chart, in the table of the methods and in the codebook.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from research_assets.report import style
from research_assets.report.chart import WIDTH, instant, time_axis, values_of
from research_assets.report.epoch_words import span
from research_assets.report.facts import Epoch

if TYPE_CHECKING:
    import altair as alt

BEGINS, ENDS = "\N{BLACK RIGHT-POINTING POINTER}", "\N{BLACK LEFT-POINTING POINTER}"
"""Beside a number: on which side of the line the break lies."""

_CHARACTER = 7.5
"""Width of a character of a label at most (pixels)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a line stands: before the first hour of `day`; its label, and the break that it is of."""

    day: date
    number: int
    label: str
    words: str


def edges(epochs: Sequence[Epoch], first: date, last: date) -> list[Mark]:
    """The beginnings and ends that lie within these days, in order of time."""
    marks = []
    for epoch in epochs:
        words = f"{epoch.number}: {epoch.title} ({span(epoch)})"
        if epoch.first and epoch.first == epoch.last:
            marks.append(Mark(epoch.first, epoch.number, str(epoch.number), words))
            continue
        if epoch.first:
            marks.append(Mark(epoch.first, epoch.number, f"{epoch.number}{BEGINS}", words))
        if epoch.last:
            marks.append(Mark(epoch.last + timedelta(days=1), epoch.number, f"{ENDS}{epoch.number}", words))
    return sorted((mark for mark in marks if first <= mark.day <= last), key=lambda mark: (mark.day, mark.label))


def told(marks: Sequence[Mark]) -> str:
    """The marks of a chart in words for its caption; empty if there are none."""
    if not marks:
        return ""
    words = "; ".join(dict.fromkeys(mark.words for mark in marks))
    return f"Dashed lines are known breaks in the API's data (1{BEGINS} begins, {ENDS}1 has ended): {words}."


def marked(marks: Sequence[Mark], first: date, last: date) -> "list[alt.Chart]":
    """The lines with their labels, as layers of a chart whose axis of time has these ends; none without marks."""
    import altair as alt

    if not marks:
        return []
    x = time_axis(first, last)
    lines = [{"start": instant(mark.day), "tip": mark.words} for mark in marks]
    labels = [
        {"start": instant(group[0].day), "label": _label(group), "tip": "; ".join(mark.words for mark in group)}
        for group in _grouped(marks, ((last - first).days + 1) / WIDTH)
    ]
    return [
        alt.Chart(values_of(lines))
        .mark_rule(strokeDash=[4, 3], color=style.INK, strokeWidth=1.2)
        .encode(x=x, description="tip:N"),
        alt.Chart(values_of(labels))
        .mark_text(y=-8, align="left", dx=-4, fontWeight="bold")
        .encode(x=x, text="label:N", description="tip:N"),
    ]


def _label(group: Sequence[Mark]) -> str:
    return ", ".join(mark.label for mark in group)


def _grouped(marks: Sequence[Mark], days_per_pixel: float) -> list[list[Mark]]:
    """Marks whose labels would touch share one."""
    groups: list[list[Mark]] = []
    for mark in marks:
        if groups:
            wide = (len(_label(groups[-1])) + 1) * _CHARACTER * days_per_pixel
            if (mark.day - groups[-1][0].day).days < wide:
                groups[-1].append(mark)
                continue
        groups.append([mark])
    return groups

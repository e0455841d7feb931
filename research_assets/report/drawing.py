"""How a report looks where shape carries meaning: states, colours, patterns. One table, for charts and page alike.

Colours are from Okabe and Ito's palette, which people with any kind of colour vision can tell apart. Each state has a
pattern or a lightness of its own besides, so that a page printed in grey says the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
from typing import TYPE_CHECKING

from research_assets.report.data import ApiChange
from research_assets.report.formatting import change_period

if TYPE_CHECKING:
    import altair as alt
import re
import struct
import zlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import altair as alt

# JOINED: """What all charts of a report share: the data, the look, the size, the axis of time (UTC).
#
# Every mark tells its number in words (`tip`), which becomes its tooltip.
# """


# JOINED: """Breaks in the API's data as marks on an axis of time: a dashed line where one begins or ends, with its number.
#
# Only epochs whose clock is that of the axis belong on it: whoever calls chooses them. A number is the same on every
# chart, in the table of the methods and in the codebook.
# """


# JOINED: """A chart into a picture: SVG for the page, PNG for the UI. Drawn here, with nothing fetched and no script left in.
#
# What Vega cannot do is done to its SVG: patterns, tooltips that need no script (`<title>`), names that stay unique when
# several pictures stand on one page.
# """


INK = "#1d2329"
SOFT = "#5b6670"
GRID = "#e3e7ea"
BAND = "#f3f1ec"
BLUE = "#0072b2"
SKY = "#56b4e9"
ORANGE = "#e69f00"
RED = "#d55e00"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"


@dataclass(frozen=True, slots=True)
class StateStyle:
    """How a state is drawn: its fill, and the lines over it if it has some; `words` is what a reader is told."""

    fill: str
    pattern: str
    label: str


STATE_STYLES: dict[str, StateStyle] = {
    "complete": StateStyle(BLUE, "", "complete"),
    "refused": StateStyle("#8a939b", "", "refused (not disclosed)"),
    "missing": StateStyle("#c9ced3", "M2 -1V7M5 -1V7", "missing (not found)"),
    "partial": StateStyle("#d3ecfa", "M-1 5L5 -1M1 7L7 1", "partial (goes on)"),
    "too_fresh": StateStyle("#ffffff", "M-1 3H7", "too fresh"),
    "suspicious": StateStyle("#fdf0cf", "M1 1h1.6v1.6h-1.6zM4 4h1.6v1.6h-1.6z", "suspicious (asked again)"),
    "quarantined": StateStyle("#f3c9ad", "M-1 -1L7 7M-1 7L7 -1", "quarantined (given up for now)"),
    "not_asked": StateStyle("#f1eee7", "", "not asked"),
}
"""By the states of the mart `coverage`, in the order of a legend."""

PATTERN_COLOURS: dict[str, str] = {
    "missing": "#5b6670",
    "partial": "#0072b2",
    "too_fresh": "#b8bfc5",
    "suspicious": "#b67c00",
    "quarantined": "#a84300",
}
"""Colour of a pattern's lines."""

OUTCOME_STATES: dict[str, str] = {
    "answered": "complete",
    "failed": "quarantined",
    "refused at the day's end": "refused",
}
"""What became of a request, and the state whose look it borrows."""


def key_colour(name: str) -> str:
    """The colour that stands for a pattern while Vega draws; Vega has no patterns, so `draw` puts them in later."""
    look = STATE_STYLES[name]
    return f"#fe00{list(STATE_STYLES).index(name):02x}" if look.pattern else look.fill


def svg_pattern(name: str, identity: str) -> str:
    """An SVG `<pattern>` of a state."""
    look = STATE_STYLES[name]
    filled = name == "suspicious"
    paint = (
        f'fill="{PATTERN_COLOURS[name]}"'
        if filled
        else f'fill="none" stroke="{PATTERN_COLOURS[name]}" stroke-width="1.1"'
    )
    return (
        f'<pattern id="{identity}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{look.fill}"/><path d="{look.pattern}" {paint}/></pattern>'
    )


def pattern_names() -> list[str]:
    """States that have a pattern."""
    return [name for name, look in STATE_STYLES.items() if look.pattern]


WIDTH = 700
"""Width of a whole chart (pixels)."""

MIN_DAYS = 14
"""Days on an axis of time at least, so that a single day is a bar and no wall."""

MAX_DAYS = 184
"""Days that are drawn as days, so that each is wide enough to show its pattern; more are drawn as weeks."""


def chart_data(rows: Sequence[Mapping[str, Any]]) -> "alt.Data":
    """Rows as the data of a chart."""
    import altair as alt

    return alt.Data(values=[dict(row) for row in rows])  # type: ignore[no-untyped-call]


def with_theme(chart: "alt.TopLevelMixin") -> "alt.TopLevelMixin":
    """The chart with the look that all share."""
    text = {"labelFont": FONT, "titleFont": FONT, "labelColor": INK, "titleColor": SOFT}
    axis = {"gridColor": GRID, "domainColor": SOFT, "tickColor": SOFT, "titleFontWeight": "normal"}
    config: dict[str, Any] = {
        "font": FONT,
        "view": {"stroke": None},
        "axis": text | axis | {"labelFontSize": 12, "titleFontSize": 12, "labelOverlap": True},
        "legend": text
        | {
            "title": None,
            "orient": "top",
            "labelFontSize": 12,
            "symbolStrokeWidth": 0.6,
            "symbolSize": 130,
            "labelLimit": 260,
        },
        "title": {
            "font": FONT,
            "fontSize": 13,
            "anchor": "start",
            "frame": "group",
            "color": INK,
            "fontWeight": "bold",
        },
        "text": {"font": FONT, "fontSize": 12, "color": INK},
        "background": "white",
    }
    look: alt.TopLevelMixin = chart.configure(**config)
    return look


def log_axis_ticks(least: float, most: float) -> list[float]:
    """Powers of ten for an axis from at most `least` to at least `most`, both above 0."""
    low, high = floor(log10(least)), ceil(log10(most))
    return [10.0**power for power in range(low, high + 1)]


def vega_time(day: date, hours: float = 0) -> str:
    """A moment so many hours after a day's start, as Vega reads it."""
    return (datetime.combine(day, time(0)) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_axis(first: date, last: date) -> "alt.X":
    """An axis of UTC time from the start of one day to the end of another."""
    import altair as alt

    days = (last - first).days + 1
    form = "%-d %b" if days <= 300 else "%b %Y"
    return alt.X(
        "start:T",
        title=None,
        scale=alt.Scale(type="utc", domain=[vega_time(first), vega_time(last + timedelta(days=1))], nice=False),
        axis=alt.Axis(format=form, grid=False, tickCount=min(days, 10)),
    )


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


def change_markers(changes: Sequence[ApiChange], first: date, last: date) -> list[ChangeMarker]:
    """The beginnings and ends that lie within these days, in order of time."""
    marks = []
    for change in changes:
        words = f"{change.number}: {change.title} ({change_period(change)})"
        if change.first and change.first == change.last:
            marks.append(ChangeMarker(change.first, change.number, str(change.number), words))
            continue
        if change.first:
            marks.append(ChangeMarker(change.first, change.number, f"{change.number}{START_MARK}", words))
        if change.last:
            marks.append(
                ChangeMarker(change.last + timedelta(days=1), change.number, f"{END_MARK}{change.number}", words)
            )
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
        .mark_rule(strokeDash=[4, 3], color=INK, strokeWidth=1.2)
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


MAX_PNG_BYTES = 100_000
"""A picture goes into the event log of Dagster, which keeps one of each run."""

_SVG = "http://www.w3.org/2000/svg"
_MARK = f"{{{_SVG}}}"
_PNG = b"\x89PNG\r\n\x1a\n"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def to_svg(chart: "alt.TopLevelMixin", name: str, words: str) -> str:
    """A chart as an SVG element that can stand in HTML.

    `name` makes its ids unique on the page; `words` say to those who do not see it what it shows.
    """
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict())
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    for element in list(root.iter()):
        _add_tooltip(element)
        _rename(element, name)
    definitions = ElementTree.Element(f"{_MARK}defs")
    used = {value for element in root.iter() for value in element.attrib.values()}
    for state in pattern_names():
        identity = f"{name}-{state}"
        if f"url(#{identity})" in used:
            definitions.append(
                ElementTree.fromstring(svg_pattern(state, identity).replace("<pattern", f'<pattern xmlns="{_SVG}"'))
            )
    root.insert(0, definitions)
    root.set("role", "img")
    root.set("aria-label", words)
    return ElementTree.tostring(root, encoding="unicode")


def to_png(svg_text: str) -> bytes:
    """A picture made by `svg`, as PNG; sharp if that stays below `MOST_BYTES`."""
    import vl_convert

    drawn = b""
    for scale in (1.5, 1.0):
        drawn = _recompress(vl_convert.svg_to_png(svg_text, scale=scale))
        if len(drawn) < MAX_PNG_BYTES:
            break
    return drawn


def _recompress(picture: bytes) -> bytes:
    """The same PNG, packed as small as it goes: vl-convert packs fast, to several times the size."""
    chunks, place = [], len(_PNG)
    while place < len(picture):
        (length,) = struct.unpack_from(">I", picture, place)
        chunks.append((picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]))
        place += 12 + length
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    head, *_ = chunks
    parts = [head, (b"IDAT", pixels), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _add_tooltip(element: ElementTree.Element) -> None:
    """Turn what Vega tells of a mark into a tooltip, and leave out what only tells that it is a mark."""
    label = element.attrib.pop("aria-label", None)
    role = element.attrib.pop("aria-roledescription", None)
    element.attrib.pop("role", None)
    element.attrib.pop("aria-hidden", None)
    element.attrib.pop("class", None)
    if label and role and role not in ("axis", "legend", "title") and not role.startswith("group"):
        title = ElementTree.Element(f"{_MARK}title")
        title.text = label
        element.insert(0, title)


def _rename(element: ElementTree.Element, name: str) -> None:
    """Ids and references get the picture's name; the colours that stand for patterns become these."""
    colours = {key_colour(state): f"url(#{name}-{state})" for state in pattern_names()}
    for attribute, value in element.attrib.items():
        if attribute == "id":
            element.set(attribute, f"{name}-{value}")
        elif value in colours:
            element.set(attribute, colours[value])
        elif "url(#" in value:
            element.set(attribute, _REFERENCE.sub(rf"url(#{name}-\1)", value))

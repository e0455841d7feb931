"""Drawing of charts: state styles, theme, time axis, markers of API changes, and conversion to SVG and PNG.

Colours are from the palette of Okabe and Ito, which is distinguishable with any kind of colour vision. Each state
also has its own pattern or lightness, so that a page printed in grey shows the same information.
Not here: the charts of a report (see charts.py), the bars of the codebook (see codebook.py).
"""

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from research_assets.report.data import ApiChange
from research_assets.report.fonts import FALLBACK, FOLDER, text_width
from research_assets.report.formatting import change_period
from research_assets.text import chart_value
from research_assets.units.coverage import state_label

if TYPE_CHECKING:
    import altair as alt

INK = "#1d2329"
SOFT = "#5b6670"
GRID = "#e3e7ea"
BLUE = "#0072b2"
SKY = "#56b4e9"
ORANGE = "#e69f00"
RED = "#d55e00"
WHITE = "#fff"
"""White in both colour schemes. The background of a chart has the name `white`, which the dark scheme replaces."""

BAND_EDGE = "#c9c3b6"
DARK_PAPER = "#15191d"

DARK_COLOURS: dict[str, str] = {
    "white": DARK_PAPER,
    INK: "#e4e8eb",
    SOFT: "#a4afb8",
    GRID: "#363e45",
    BLUE: "#2478b4",
    BAND_EDGE: "#66717a",
    "#8a939b": "#66717a",
    "#c9ced3": "#4a535b",
    "#d3ecfa": "#16384c",
    "#ffffff": DARK_PAPER,
    "#fdf0cf": "#4a3a0d",
    "#f3c9ad": "#5a2c12",
    "#f1eee7": "#2c3137",
    "#b8bfc5": "#66717a",
    "#b67c00": "#e6bd4a",
    "#a84300": "#e57a3c",
}
"""Colours of the dark colour scheme in place of those that are drawn; other colours are the same in both."""

_DARK_PATTERNS = {BLUE: SKY}
"""Line colours of patterns that differ from the fill of the same colour in the dark colour scheme."""

WIDTH = 700
"""Width of a chart (pixels)."""

TEXT_SIZE = 12
"""Size of labels (pixels)."""

MIN_DAYS = 14
"""Minimum number of days on a time axis, so that a single day is drawn as a bar of normal width."""

MAX_DAYS = 184
"""Maximum number of days that are drawn as days, so that patterns stay visible. More days are drawn as weeks."""

MAX_PNG_BYTES = 100_000
"""Maximum size of a PNG, because Dagster stores one in its event log for each run."""


@dataclass(frozen=True, slots=True)
class StateStyle:
    """Style of a state: fill colour, SVG path of the pattern over it (empty: none), and label in the legend."""

    fill: str
    pattern: str
    label: str


STATE_STYLES: dict[str, StateStyle] = {
    "complete": StateStyle(BLUE, "", "complete"),
    "refused": StateStyle("#8a939b", "", "refused (not disclosed)"),
    "missing": StateStyle("#c9ced3", "M2 -1V7M5 -1V7", "missing (not found)"),
    "partial": StateStyle("#d3ecfa", "M-1 5L5 -1M1 7L7 1", "partial (continues)"),
    "too_fresh": StateStyle("#ffffff", "M-1 3H7", state_label("too_fresh")),
    "suspicious": StateStyle("#fdf0cf", "M1 1h1.6v1.6h-1.6zM4 4h1.6v1.6h-1.6z", "suspicious (rechecked)"),
    "quarantined": StateStyle("#f3c9ad", "M-1 -1L7 7M-1 7L7 -1", "quarantined (retried later)"),
    "not_asked": StateStyle("#f1eee7", "", state_label("not_asked")),
}
"""Styles by the states of the mart `coverage`, in the order of a legend."""

PATTERN_COLOURS: dict[str, str] = {
    "missing": "#5b6670",
    "partial": "#0072b2",
    "too_fresh": "#b8bfc5",
    "suspicious": "#b67c00",
    "quarantined": "#a84300",
}
"""Line colours of patterns, by state."""

OUTCOME_STATES: dict[str, str] = {
    "answered": "complete",
    "failed": "quarantined",
    "rejected (daily quota exhausted)": "refused",
}
"""Labels of request outcomes, with the state whose style they share."""


def dark_css() -> str:
    """Return the CSS that gives charts the dark colour scheme. A style of the page takes precedence over an attribute.

    Paper is white, so a printed page has the colours that are drawn.
    """
    rules = [
        f'.chart [{attribute}="{light}"] {{ {attribute}: {dark}; }}'
        for attribute, colours in (("fill", DARK_COLOURS), ("stroke", DARK_COLOURS | _DARK_PATTERNS))
        for light, dark in colours.items()
    ]
    return "\n".join(["@media screen and (prefers-color-scheme: dark) {", *rules, "}\n"])


def key_colour(name: str) -> str:
    """Return the fill of a state while Vega draws it.

    Vega has no patterns, so a state with a pattern gets a reserved colour that `to_svg` replaces by the pattern.
    """
    style = STATE_STYLES[name]
    return f"#fe00{list(STATE_STYLES).index(name):02x}" if style.pattern else style.fill


def svg_pattern(name: str, identity: str) -> str:
    """Return the SVG element `<pattern>` of a state."""
    style = STATE_STYLES[name]
    filled = name == "suspicious"
    paint = (
        f'fill="{PATTERN_COLOURS[name]}"'
        if filled
        else f'fill="none" stroke="{PATTERN_COLOURS[name]}" stroke-width="1.1"'
    )
    return (
        f'<pattern id="{identity}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{style.fill}"/><path d="{style.pattern}" {paint}/></pattern>'
    )


def pattern_names() -> list[str]:
    """Return the states that have a pattern."""
    return [name for name, style in STATE_STYLES.items() if style.pattern]


def chart_data(rows: Sequence[Mapping[str, Any]]) -> "alt.Data":
    """Return rows as the data of a chart. The field `tip` of a row becomes the tooltip of its mark."""
    import altair as alt

    return alt.Data(values=[dict(row) for row in rows])  # type: ignore[no-untyped-call]


def with_theme(chart: "alt.TopLevelMixin") -> "alt.TopLevelMixin":
    """Return the chart with the theme that all charts share."""
    text = {"labelFont": FALLBACK, "titleFont": FALLBACK, "labelColor": INK, "titleColor": SOFT}
    axis = {"gridColor": GRID, "domainColor": SOFT, "tickColor": SOFT, "titleFontWeight": "normal"}
    config: dict[str, Any] = {
        "font": FALLBACK,
        "view": {"stroke": None},
        "axis": text | axis | {"labelFontSize": TEXT_SIZE, "titleFontSize": TEXT_SIZE, "labelOverlap": True},
        "legend": text
        | {
            "title": None,
            "orient": "top",
            "labelFontSize": TEXT_SIZE,
            "symbolStrokeWidth": 0.6,
            "symbolSize": 130,
            "labelLimit": 260,
        },
        "title": {
            "font": FALLBACK,
            "fontSize": 13,
            "anchor": "start",
            "frame": "group",
            "color": INK,
            "fontWeight": "bold",
        },
        "text": {"font": FALLBACK, "fontSize": TEXT_SIZE, "color": INK},
        "background": "white",
    }
    configured: alt.TopLevelMixin = chart.configure(**config)
    return configured


def log_axis_ticks(least: float, most: float) -> list[float]:
    """Return at most 14 powers of ten for an axis that covers `least` to `most`, both above 0."""
    low, high = floor(log10(least)), ceil(log10(most))
    step = 1 + (high - low) // 13
    return [10.0 ** min(power, 308) for power in range(low, high + step, step)]


def vega_time(day: date, hours: float = 0) -> str:
    """Return the time that is `hours` after the start of a UTC day, in the format of Vega."""
    return (datetime.combine(day, time(0)) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_axis(first: date, last: date) -> "alt.X":
    """Return a time axis from the start of one UTC day to the end of another."""
    import altair as alt

    days = (last - first).days + 1
    form = "%-d %b" if days <= 300 else "%b %Y"
    return alt.X(
        "start:T",
        title=None,
        scale=alt.Scale(type="utc", domain=[vega_time(first), vega_time(last + timedelta(days=1))], nice=False),
        axis=alt.Axis(format=form, grid=False, tickCount=min(days, 10)),
    )


START_MARK, END_MARK = "\N{BLACK RIGHT-POINTING TRIANGLE}", "\N{BLACK LEFT-POINTING TRIANGLE}"
"""Marks next to the number of an API change: the side of the line on which the change is in force."""


@dataclass(frozen=True, slots=True)
class ChangeMarker:
    """A line at the start of `day` where an API change begins or has ended, with its label and tooltip text."""

    day: date
    number: int
    label: str
    text: str


def change_markers(changes: Sequence[ApiChange], first: date, last: date) -> list[ChangeMarker]:
    """Return markers of the changes that begin or end within these days, in order of time.

    Callers pass only changes whose date basis is that of the axis. The number of a change is the same on every chart,
    in the methods section and in the codebook.
    """
    markers = []
    for change in changes:
        text = f"{change.number}: {change.title} ({change_period(change)})"
        if change.first and change.first == change.last:
            markers.append(ChangeMarker(change.first, change.number, str(change.number), text))
            continue
        if change.first:
            markers.append(ChangeMarker(change.first, change.number, f"{change.number}{START_MARK}", text))
        if change.last:
            day_after = change.last + timedelta(days=1)
            markers.append(ChangeMarker(day_after, change.number, f"{END_MARK}{change.number}", text))
    return sorted(
        (marker for marker in markers if first <= marker.day <= last), key=lambda marker: (marker.day, marker.label)
    )


def markers_text(markers: Sequence[ChangeMarker]) -> str:
    """Return the caption sentence about the markers of a chart; empty without markers."""
    if not markers:
        return ""
    changes = "; ".join(dict.fromkeys(marker.text for marker in markers))
    return f"Dashed lines mark known API changes (1{START_MARK} begins, {END_MARK}1 has ended): {changes}."


def marker_layers(markers: Sequence[ChangeMarker], first: date, last: date) -> "list[alt.Chart]":
    """Return lines and labels as layers of a chart whose time axis has these ends; no layers without markers."""
    import altair as alt

    if not markers:
        return []
    x = time_axis(first, last)
    lines = [{"start": vega_time(marker.day), "tip": marker.text} for marker in markers]
    labels = [
        {
            "start": vega_time(group[0].day),
            "label": _marker_label(group),
            "tip": "; ".join(marker.text for marker in group),
        }
        for group in _group_markers(markers, ((last - first).days + 1) / WIDTH)
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
    return ", ".join(marker.label for marker in group)


def _group_markers(markers: Sequence[ChangeMarker], days_per_pixel: float) -> list[list[ChangeMarker]]:
    """Return markers in groups that share a label, because separate labels would overlap."""
    groups: list[list[ChangeMarker]] = []
    for marker in markers:
        if groups:
            label_days = text_width(_marker_label(groups[-1]) + "  ", TEXT_SIZE, 700) * days_per_pixel
            if (marker.day - groups[-1][0].day).days < label_days:
                groups[-1].append(marker)
                continue
        groups.append([marker])
    return groups


_SVG = "http://www.w3.org/2000/svg"
_MARK = f"{{{_SVG}}}"
_PNG = b"\x89PNG\r\n\x1a\n"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def to_svg(chart: "alt.TopLevelMixin", name: str, alternative_text: str) -> str:
    """Return a chart as an SVG element for HTML, with patterns and with tooltips that need no script (`<title>`).

    `name` makes the ids in it unique on the page. Screen readers read `alternative_text`. The chart library can end the
    process, so only the process of drawing_process.py calls this function.
    """
    vl_convert = _chart_library()
    svg: str = vl_convert.vegalite_to_svg(chart_value(chart.to_dict()))
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
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
    root.set("aria-label", alternative_text)
    return ElementTree.tostring(root, encoding="unicode")


@cache
def _chart_library() -> Any:
    """Return the chart library, which lays out texts with the font of the pages."""
    import vl_convert

    vl_convert.register_font_directory(str(FOLDER))
    return vl_convert


def to_png(svg_text: str) -> bytes:
    """Return an SVG of `to_svg` as PNG, at 1.5 times its size if that stays below `MAX_PNG_BYTES`."""
    vl_convert = _chart_library()
    png = b""
    for scale in (1.5, 1.0):
        png = _recompress(vl_convert.svg_to_png(svg_text, scale=scale))
        if len(png) < MAX_PNG_BYTES:
            break
    return png


def _recompress(png: bytes) -> bytes:
    """Return the same PNG at the highest compression level; vl-convert writes files of several times that size."""
    chunks, offset = [], len(_PNG)
    while offset < len(png):
        (length,) = struct.unpack_from(">I", png, offset)
        chunks.append((png[offset + 4 : offset + 8], png[offset + 8 : offset + 8 + length]))
        offset += 12 + length
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    head, *_ = chunks
    parts = [head, (b"IDAT", pixels), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _add_tooltip(element: ElementTree.Element) -> None:
    """Turn the label of a mark into a tooltip and remove the attributes that only say that it is a mark."""
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
    """Prefix ids and references with the name of the chart and replace reserved colours by patterns."""
    colours = {key_colour(state): f"url(#{name}-{state})" for state in pattern_names()}
    for attribute, value in element.attrib.items():
        if attribute == "id":
            element.set(attribute, f"{name}-{value}")
        elif value in colours:
            element.set(attribute, colours[value])
        elif "url(#" in value:
            element.set(attribute, _REFERENCE.sub(rf"url(#{name}-\1)", value))

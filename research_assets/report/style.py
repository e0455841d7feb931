"""How a report looks where shape carries meaning: states, colours, patterns. One table, for charts and page alike.

Colours are from Okabe and Ito's palette, which people with any kind of colour vision can tell apart. Each state has a
pattern or a lightness of its own besides, so that a page printed in grey says the same.
"""

from dataclasses import dataclass

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

"""What all charts of a report share: the data, the look, the size, the axis of time (UTC).

Every mark tells its number in words (`tip`), which becomes its tooltip.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from research_assets.report import style

if TYPE_CHECKING:
    import altair as alt

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
    text = {"labelFont": style.FONT, "titleFont": style.FONT, "labelColor": style.INK, "titleColor": style.SOFT}
    axis = {"gridColor": style.GRID, "domainColor": style.SOFT, "tickColor": style.SOFT, "titleFontWeight": "normal"}
    config: dict[str, Any] = {
        "font": style.FONT,
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
            "font": style.FONT,
            "fontSize": 13,
            "anchor": "start",
            "frame": "group",
            "color": style.INK,
            "fontWeight": "bold",
        },
        "text": {"font": style.FONT, "fontSize": 12, "color": style.INK},
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

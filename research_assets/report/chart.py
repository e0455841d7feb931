"""What all charts of a report share: the data, the look, the size.

Every mark tells its number in words (`tip`), which becomes its tooltip.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from research_assets.report import style

if TYPE_CHECKING:
    import altair as alt

WIDTH = 700
"""Width of a whole chart (pixels)."""


def values_of(rows: Sequence[Mapping[str, Any]]) -> "alt.Data":
    """Rows as the data of a chart."""
    import altair as alt

    return alt.Data(values=[dict(row) for row in rows])  # type: ignore[no-untyped-call]


def finished(chart: "alt.TopLevelMixin") -> "alt.TopLevelMixin":
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


def decades(least: float, most: float) -> list[float]:
    """Powers of ten for an axis from at most `least` to at least `most`, both above 0."""
    low, high = floor(log10(least)), ceil(log10(most))
    return [10.0**power for power in range(low, high + 1)]

"""Charts of the content: rankings, distributions, degrees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from research_assets.report import style
from research_assets.report.chart import WIDTH, chart_data, log_axis_ticks, with_theme
from research_assets.report.facts import DegreeShare, Distribution, RankedItem
from research_assets.report.words import format_number, format_percent

if TYPE_CHECKING:
    import altair as alt

_BAR_WIDTH = 310
"""Width of the bars of a ranking (pixels)."""
_LABEL_WIDTH = 190
"""Width of its names at most (pixels)."""


def ranking_chart(rows: Sequence[RankedItem], what: str, sign: str) -> "alt.TopLevelMixin":
    """Hashtags or creators by videos, with the median views of these videos beside."""
    import altair as alt

    values = [
        {
            "name": sign + row.name,
            "videos": row.videos,
            "n": format_number(row.videos),
            "views": row.views_median,
            "tip": f"{sign}{row.name}: {format_number(row.videos)} videos, median {format_number(row.views_median)} views",
        }
        for row in rows
    ]
    height = alt.Step(20)
    order = [sign + row.name for row in rows]
    y = alt.Y(
        "name:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelLimit=_LABEL_WIDTH, domain=False, ticks=False, labelPadding=6),
    )
    base = alt.Chart(chart_data(values))
    most = max(row.videos for row in rows)
    x = alt.X(
        "videos:Q",
        title=f"videos {what}",
        scale=alt.Scale(domain=[0, most * 1.12], nice=False),
        axis=alt.Axis(tickCount=5, format=",d", tickMinStep=1),
    )
    bars = base.mark_bar(fill=style.BLUE, height=12).encode(x=x, y=y, description="tip:N")
    numbers = base.mark_text(align="left", dx=4).encode(x=x, y=y, text="n:N")
    left = alt.layer(bars, numbers).properties(width=_BAR_WIDTH, height=height)
    seen = [value for value in values if value["views"]]
    medians = [row.views_median for row in rows if row.views_median]
    if not medians:
        return with_theme(left)
    ticks = log_axis_ticks(min(medians), max(medians) * 1.01)
    right = (
        alt.Chart(chart_data(seen))
        .mark_point(shape="diamond", filled=True, fill=style.RED, stroke=style.INK, strokeWidth=0.6, size=55, opacity=1)
        .encode(
            x=alt.X(
                "views:Q",
                title="median views (log scale)",
                scale=alt.Scale(type="log", domain=[ticks[0], ticks[-1]], nice=False),
                axis=alt.Axis(format="~s", values=ticks),
            ),
            y=alt.Y(
                "name:N", sort=order, title=None, axis=alt.Axis(labels=False, domain=False, ticks=False, grid=True)
            ),
            description="tip:N",
        )
        .properties(width=WIDTH - _BAR_WIDTH - _LABEL_WIDTH, height=height)
    )
    return with_theme(alt.hconcat(left, right, spacing=14))


def distribution_chart(parts: Sequence[Distribution], *, log: bool = True) -> "alt.TopLevelMixin":
    """Histograms two by two, each with its median; on a log scale zeros stand apart on the left."""
    import altair as alt

    panels = [_histogram(part, log=log) for part in parts]
    rows = [alt.hconcat(*panels[start : start + 2], spacing=34) for start in range(0, len(panels), 2)]
    return with_theme(alt.vconcat(*rows, spacing=20))


def _histogram(part: Distribution, *, log: bool) -> "alt.LayerChart | alt.FacetChart":
    import altair as alt

    low, high = (0.28, 0.62) if log else (0.0, 0.0)
    rows: list[dict[str, Any]] = [
        {
            "low": one.low,
            "high": one.high,
            "n": one.number,
            "tip": f"{_span(one.low, one.high, log=log)}: {format_number(one.number)} {part.unit}",
        }
        for one in part.bins
    ]
    if log:
        if part.zeros:
            rows.append(
                {"low": low, "high": high, "n": part.zeros, "tip": f"0: {format_number(part.zeros)} {part.unit}"}
            )
        most = max([10.0, *(one.high for one in part.bins)])
        ticks = [0.42, *(10.0**power for power in range(12) if 10.0**power <= most)]
        scale = alt.Scale(type="log", domain=[0.25, most], nice=False)
        axis = alt.Axis(
            values=ticks, labelExpr="datum.value < 1 ? '0' : format(datum.value, '~s')", grid=False, labelOverlap=False
        )
    else:
        least, most = min(one.low for one in part.bins), max(one.high for one in part.bins)
        # Some twenty bins wide, so that a single one is a bar.
        most = max(most, least + 10 * (part.bins[0].high - part.bins[0].low))
        scale = alt.Scale(domain=[least, most], nice=False)
        axis = alt.Axis(tickCount=6, grid=False, format="~r" if most < 10 else ",d")
    top = max(row["n"] for row in rows)
    base = alt.Chart(chart_data(rows))
    bars = base.mark_bar(fill=style.BLUE, stroke=style.INK, strokeWidth=0.4).encode(
        x=alt.X("low:Q", title=None, scale=scale, axis=axis),
        x2="high:Q",
        y=alt.Y(
            "n:Q",
            title=part.unit,
            scale=alt.Scale(domain=[0, top * 1.14]),
            axis=alt.Axis(tickCount=4, format=",d" if top < 100_000 else "~s", tickMinStep=1),
        ),
        y2=alt.Y2Datum(0),
        description="tip:N",
    )
    median = part.median if part.median is not None else 0.0
    place = {"at": max(median, 0.42) if log else median, "words": f"median {format_number(part.median)}"}
    rule = alt.Chart(chart_data([place])).encode(x="at:Q")
    right = (log and median > 0 and median**2 > most) or (not log and median > (least + most) / 2)
    layers = [
        bars,
        rule.mark_rule(color=style.RED, strokeWidth=2, strokeDash=[5, 3]),
        rule.mark_text(align="right" if right else "left", dx=-5 if right else 5, y=5, fontWeight="bold").encode(
            text="words:N"
        ),
    ]
    return alt.layer(*layers).properties(width=(WIDTH - 60) // 2, height=130, title=part.name)


def _span(low: float, high: float, *, log: bool) -> str:
    if not log:
        return f"{low:g} to under {high:g}"
    return f"{low:,.0f}" if high - low <= 1 else f"{low:,.0f} to {high - 1:,.0f}"


def degree_chart(rows: Sequence[DegreeShare]) -> "alt.TopLevelMixin":
    """The share of accounts with at least a degree, for followers and followed accounts, both axes logarithmic."""
    import altair as alt

    words = {"followers": "followers held (in-degree)", "following": "followed accounts held (out-degree)"}
    values = [
        {
            "degree": row.degree,
            "share": row.share,
            "kind": words[row.direction],
            "tip": f"{format_percent(row.share)} of accounts have {format_number(row.degree)} or more {words[row.direction]}",
        }
        for row in rows
    ]
    least = min(row.share for row in rows)
    present = [words[name] for name in words if any(row.direction == name for row in rows)]
    looks = {words["followers"]: ("circle", style.BLUE), words["following"]: ("triangle-up", style.ORANGE)}
    points = (
        alt.Chart(chart_data(values))
        .mark_point(filled=True, size=70, opacity=1, stroke=style.INK, strokeWidth=0.6)
        .encode(
            x=alt.X(
                "degree:Q",
                title="degree, at least (log scale)",
                scale=alt.Scale(type="log", domain=[0.8, 1.5 * max(row.degree for row in rows)], nice=False),
                axis=alt.Axis(format="~s", values=log_axis_ticks(1, max(row.degree for row in rows))),
            ),
            y=alt.Y(
                "share:Q",
                title="share of accounts (log scale)",
                scale=alt.Scale(type="log", domain=[0.7 * least, 1.4], nice=False),
                axis=alt.Axis(format="~%", values=log_axis_ticks(least, 1)),
            ),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=present, range=[looks[name][0] for name in present])),
            fill=alt.Fill("kind:N", scale=alt.Scale(domain=present, range=[looks[name][1] for name in present])),
            description="tip:N",
        )
    )
    return with_theme(points.properties(width=WIDTH, height=230))

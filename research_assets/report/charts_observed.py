"""The chart of observations: when the videos held were looked at, on the clock of asking, not of publication."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from research_assets.report import style
from research_assets.report.chart import MIN_DAYS, WIDTH, chart_data, time_axis, vega_time, with_theme
from research_assets.report.chart_epochs import ChangeMarker, marker_layers
from research_assets.report.facts import DailyObservations
from research_assets.report.words import format_number

if TYPE_CHECKING:
    import altair as alt

OBSERVATION_COLOURS = {"first look": style.BLUE, "looked at again": style.SKY}
"""Kinds of observations and their colours, light and dark enough for grey print."""


def observations_chart(
    observed: Sequence[DailyObservations], marks: Sequence[ChangeMarker], step: int
) -> "alt.TopLevelMixin":
    """Observations by UTC day, first looks and later ones; below, the median views at first look; epochs are marked.

    The marks are those of observation; `step` says how many days a bar stands for.
    """
    import altair as alt

    first, last = observed[0].day, observed[-1].day + timedelta(days=step - 1)
    first = min(first, last - timedelta(days=MIN_DAYS - 1))
    x = time_axis(first, last)
    bars: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for one in observed:
        low = 0
        for kind, count in zip(OBSERVATION_COLOURS, (one.n_first, one.n_observations - one.n_first), strict=True):
            if count:
                tip = f"{one.day}: {format_number(count)} videos, {kind}"
                times = {"start": vega_time(one.day, 2 * step), "end": vega_time(one.day, 22 * step)}
                bars.append(times | {"low": low, "high": low + count, "kind": kind, "tip": tip})
            low += count
        if one.views_median is not None:
            tip = f"{one.day}: median {format_number(one.views_median)} views at first look, {format_number(one.age_median)} days old"
            points.append({"start": vega_time(one.day, 12 * step), "views": one.views_median, "tip": tip})
    present = [kind for kind in OBSERVATION_COLOURS if any(bar["kind"] == kind for bar in bars)]
    volume = (
        alt.Chart(chart_data(bars))
        .mark_bar(stroke=style.INK, strokeWidth=0.4)
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y("low:Q", title="videos observed", axis=alt.Axis(tickCount=4, format=",d", tickMinStep=1)),
            y2="high:Q",
            fill=alt.Fill(
                "kind:N", scale=alt.Scale(domain=present, range=[OBSERVATION_COLOURS[kind] for kind in present])
            ),
            description="tip:N",
        )
    )
    panels = [alt.layer(volume, *marker_layers(marks, first, last)).properties(width=WIDTH, height=150)]
    if points:
        medians = (
            alt.Chart(chart_data(points))
            .mark_point(shape="diamond", filled=True, fill=style.RED, stroke=style.INK, strokeWidth=0.6, opacity=1)
            .encode(
                x=x,
                y=alt.Y(
                    "views:Q",
                    title="median views",
                    scale=alt.Scale(zero=True),
                    axis=alt.Axis(tickCount=4, format=",d" if max(p["views"] for p in points) < 100_000 else "~s"),
                ),
                size=alt.value(55),
                description="tip:N",
            )
        )
        title = "Views of videos when first looked at"
        panels.append(
            alt.layer(medians, *marker_layers(marks, first, last)).properties(width=WIDTH, height=110, title=title)
        )
    return with_theme(alt.vconcat(*panels, spacing=14))

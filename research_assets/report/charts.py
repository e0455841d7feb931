"""The charts of a report: volume, coverage, quota usage, observations, rankings, distributions and degrees.

Bars and points have a field `tip`, which becomes their tooltip. Times are UTC.
Not here: theme, axes, markers and conversion to SVG (see drawing.py), captions (see sections.py).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any, TypeGuard

from research_assets.planning.messages import pluralize
from research_assets.report import drawing
from research_assets.report.data import (
    DailyObservations,
    DailyRequests,
    DegreeShare,
    Distribution,
    RankedItem,
    StudyDay,
    UnitGroup,
)
from research_assets.report.drawing import (
    MIN_DAYS,
    WIDTH,
    ChangeMarker,
    chart_data,
    log_axis_ticks,
    marker_layers,
    time_axis,
    vega_time,
    with_theme,
)
from research_assets.report.fonts import fit_text
from research_assets.report.formatting import format_number, format_percent, unit_label
from research_assets.text import distinct_labels, short_label

if TYPE_CHECKING:
    import altair as alt


def _state_fill(names: Sequence[str], domain: Sequence[str], *, legend: bool = True) -> "alt.Fill":
    """Return the fill by label. `names` are the labels in the data, `domain` the states whose style they take."""
    import altair as alt

    colours = [drawing.key_colour(state) for state in domain]
    return alt.Fill(
        "state:N",
        scale=alt.Scale(domain=list(names), range=colours),
        legend=alt.Legend(columns=4, columnPadding=24, symbolStrokeColor=drawing.SOFT) if legend else None,
    )


def volume_chart(days: Sequence[StudyDay], markers: Sequence[ChangeMarker], step: int) -> "alt.TopLevelMixin":
    """Return videos by publication day, with a band behind days that are not complete.

    `markers` are those of publication dates. A bar covers `step` days.
    """
    import altair as alt

    first, last = days[0].day, days[-1].day + timedelta(days=step - 1)
    present = [state for state in drawing.STATE_STYLES if any(day.state == state for day in days)]
    labels = {state: style.label for state, style in drawing.STATE_STYLES.items()}
    margin = 0.04 * 24 * step
    bars = [
        {
            "start": vega_time(day.day, margin),
            "end": vega_time(day.day, 24 * step - margin),
            "videos": day.videos,
            "state": labels[day.state],
            "tip": f"{day.day}: {pluralize(day.videos, 'video')}, {labels[day.state]}",
        }
        for day in days
    ]
    top = max(1, 1.06 * max(day.videos for day in days))
    last = max(last, first + timedelta(days=MIN_DAYS - 1))
    x = time_axis(first, last)
    layers: list[alt.Chart] = []
    bands = _state_bands(days, step)
    if bands:
        layers.append(
            alt.Chart(chart_data(bands))
            .mark_rect(stroke=drawing.BAND_EDGE, strokeWidth=0.6, clip=True)
            .encode(
                x=x,
                x2="end:T",
                fill=_state_fill([labels[state] for state in present], present),
                fillOpacity=alt.value(0.4),
                description="tip:N",
            )
        )
    layers.append(
        alt.Chart(chart_data(bars))
        .mark_bar(stroke=drawing.INK, strokeWidth=0.4, clip=True)
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y(
                "videos:Q",
                title="videos",
                axis=alt.Axis(tickCount=5, format=",d", tickMinStep=1),
                scale=alt.Scale(domain=[0, top], nice=False),
            ),
            y2=alt.Y2Datum(0),
            fill=_state_fill([labels[state] for state in present], present, legend=not bands and len(present) > 1),
            description="tip:N",
        )
    )
    layers += marker_layers(markers, first, last)
    return with_theme(alt.layer(*layers).properties(width=WIDTH, height=230))


def _state_bands(days: Sequence[StudyDay], step: int) -> list[dict[str, Any]]:
    """Return one band for each run of adjacent days in the same state, other than `complete`."""
    bands = []
    for state, together in groupby(days, key=lambda day: day.state):
        run = list(together)
        if state != "complete":
            until = run[-1].day + timedelta(days=step)
            label = drawing.STATE_STYLES[state].label
            dates = f"{run[0].day}" if len(run) == 1 and step == 1 else f"{run[0].day} to {until - timedelta(days=1)}"
            bands.append(
                {"start": vega_time(run[0].day), "end": vega_time(until), "state": label, "tip": f"{dates}: {label}"}
            )
    return bands


def coverage_chart(units: Sequence[UnitGroup]) -> "alt.TopLevelMixin":
    """Return the share of units in each state, by kind of unit, with the numbers of units in the bars."""
    import altair as alt

    present = [state for state in drawing.STATE_STYLES if any(group.state == state for group in units)]
    rows = []
    for (entity, kind), together in groupby(units, key=lambda group: (group.entity, group.kind)):
        groups = sorted(together, key=lambda group: list(drawing.STATE_STYLES).index(group.state))
        total, begin = sum(group.units for group in groups), 0
        label = f"{unit_label(entity, kind)} ({pluralize(total, 'unit')})"
        for group in groups:
            style, share, end = drawing.STATE_STYLES[group.state], group.units / total, begin + group.units
            rows.append(
                {
                    "row": label,
                    "low": begin / total,
                    "high": end / total,
                    "middle": (begin + end) / 2 / total,
                    "state": style.label,
                    "n": format_number(group.units) if share >= 0.05 else "",
                    "ink": drawing.WHITE if group.state == "complete" else drawing.INK,
                    "tip": f"{label}: {format_number(group.units)} {style.label}, {format_percent(share)}",
                }
            )
            begin = end
    base = alt.Chart(chart_data(rows)).encode(
        y=alt.Y(
            "row:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False, labelPadding=8)
        )
    )
    names = [drawing.STATE_STYLES[state].label for state in present]
    bars = base.mark_bar(stroke=drawing.INK, strokeWidth=0.5, height=17).encode(
        x=alt.X(
            "low:Q", title="share of units", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
        ),
        x2="high:Q",
        fill=_state_fill(names, present),
        description="tip:N",
    )
    # Without a white edge numbers would be illegible on a pattern.
    position = {"x": alt.X("middle:Q"), "text": alt.Text("n:N")}
    halo = (
        base.mark_text(stroke="white", strokeWidth=3.5, fontWeight="bold")
        .encode(**position)
        .transform_filter(f"datum.ink != '{drawing.WHITE}'")
    )
    text = base.mark_text(fontWeight="bold").encode(**position, color=alt.Color("ink:N", scale=None, legend=None))
    return with_theme(alt.layer(bars, halo, text).properties(width=WIDTH - 210, height=alt.Step(26)))


def quota_chart(
    requests: Sequence[DailyRequests], caps: Mapping[str, int], markers: Sequence[ChangeMarker], step: int
) -> "alt.TopLevelMixin":
    """Return requests by UTC day, pool and outcome.

    `markers` are those of collection dates. A bar covers `step` days. The cap of a pool is drawn only if a bar covers
    one day and the largest is above 30 % of the cap.
    """
    import altair as alt

    first = min(one.day for one in requests)
    last = max(one.day for one in requests) + timedelta(days=step - 1)
    first = min(first, last - timedelta(days=MIN_DAYS - 1))
    present = {row["state"] for row in _stack_outcomes(requests, step)}
    outcomes = [name for name in drawing.OUTCOME_STATES if name in present]
    fill = _state_fill(outcomes, [drawing.OUTCOME_STATES[name] for name in outcomes])
    panels = []
    for pool in sorted({one.pool for one in requests}, reverse=True):
        rows = _stack_outcomes([one for one in requests if one.pool == pool], step)
        bars = (
            alt.Chart(chart_data(rows))
            .mark_bar(stroke=drawing.INK, strokeWidth=0.4)
            .encode(
                x=time_axis(first, last),
                x2="end:T",
                y=alt.Y("low:Q", title="requests", axis=alt.Axis(tickCount=4, format=",d")),
                y2="high:Q",
                fill=fill,
                description="tip:N",
            )
        )
        layers: list[alt.Chart] = [bars, *marker_layers(markers, first, last)]
        cap = caps.get(pool)
        if cap and step == 1 and max((row["high"] for row in rows), default=0) > 0.3 * cap:
            value = {"cap": cap, "tip": f"daily cap of the pool: {format_number(cap)} requests"}
            line = alt.Chart(chart_data([value])).encode(y="cap:Q")
            layers.append(line.mark_rule(strokeDash=[6, 3], color=drawing.INK).encode(description="tip:N"))
        title = f"Pool {pool}" + (f": {format_number(cap)} requests per day, shared by all studies" if cap else "")
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=110, title=title))
    return with_theme(alt.vconcat(*panels, spacing=14))


def _stack_outcomes(requests: Sequence[DailyRequests], step: int) -> list[dict[str, Any]]:
    """Return one stacked bar for each outcome that occurred on a day."""
    rows = []
    for one in requests:
        low = 0
        for name, count in zip(drawing.OUTCOME_STATES, (one.answered, one.failed, one.refused), strict=True):
            if count:
                rows.append(
                    {
                        "start": vega_time(one.day, 2 * step),
                        "end": vega_time(one.day, 22 * step),
                        "low": low,
                        "high": low + count,
                        "state": name,
                        "tip": f"{one.day}, pool {one.pool}: {format_number(count)} {name}",
                    }
                )
            low += count
    return rows


OBSERVATION_COLOURS = {"first observation": drawing.BLUE, "later observation": drawing.SKY}
"""Colours of kinds of observations, which differ in lightness for grey print."""


def observations_chart(
    observed: Sequence[DailyObservations], markers: Sequence[ChangeMarker], step: int
) -> "alt.TopLevelMixin":
    """Return first and later observations by UTC day, above the median views at the first observation.

    `markers` are those of collection dates. A bar covers `step` days.
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
                tip = f"{one.day}: {pluralize(count, 'video')}, {kind}"
                times = {"start": vega_time(one.day, 2 * step), "end": vega_time(one.day, 22 * step)}
                bars.append(times | {"low": low, "high": low + count, "kind": kind, "tip": tip})
            low += count
        if one.views_median is not None and isfinite(one.views_median):
            tip = (
                f"{one.day}: median {format_number(one.views_median)} views at first observation, median age "
                f"{format_number(one.age_median)} days"
            )
            points.append({"start": vega_time(one.day, 12 * step), "views": one.views_median, "tip": tip})
    present = [kind for kind in OBSERVATION_COLOURS if any(bar["kind"] == kind for bar in bars)]
    volume = (
        alt.Chart(chart_data(bars))
        .mark_bar(stroke=drawing.INK, strokeWidth=0.4)
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y("low:Q", title="observations", axis=alt.Axis(tickCount=4, format=",d", tickMinStep=1)),
            y2="high:Q",
            fill=alt.Fill(
                "kind:N", scale=alt.Scale(domain=present, range=[OBSERVATION_COLOURS[kind] for kind in present])
            ),
            description="tip:N",
        )
    )
    panels = [alt.layer(volume, *marker_layers(markers, first, last)).properties(width=WIDTH, height=150)]
    if points:
        medians = (
            alt.Chart(chart_data(points))
            .mark_point(shape="diamond", filled=True, fill=drawing.RED, stroke=drawing.INK, strokeWidth=0.6, opacity=1)
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
        title = "Views of videos at their first observation"
        panels.append(
            alt.layer(medians, *marker_layers(markers, first, last)).properties(width=WIDTH, height=110, title=title)
        )
    return with_theme(alt.vconcat(*panels, spacing=14))


_BAR_WIDTH = 310
"""Width of the bars of a ranking (pixels)."""
_LABEL_WIDTH = 190
"""Maximum width of the labels of a ranking (pixels)."""
_NUMBER_WIDTH = 25
"""Width of the number behind equal names (pixels)."""


def ranking_chart(rows: Sequence[RankedItem], axis_title: str, sign: str) -> "alt.TopLevelMixin":
    """Return hashtags or creators by number of videos, next to the median views of these videos.

    `sign` precedes each name: `#`, `@` or nothing. A name that could be wider than its place is cut.
    """
    import altair as alt

    # Names can have the characters of any script, and the widths of those that the font lacks are not known.
    names = [fit_text(short_label(sign + row.name), _LABEL_WIDTH - _NUMBER_WIDTH, drawing.TEXT_SIZE) for row in rows]
    order = distinct_labels(names)
    values = [
        {
            "name": label,
            "videos": row.videos,
            "n": format_number(row.videos),
            "views": row.views_median,
            "tip": (
                f"{short_label(sign + row.name)}: {pluralize(row.videos, 'video')}, median "
                f"{format_number(row.views_median)} views"
            ),
        }
        for label, row in zip(order, rows, strict=True)
    ]
    height = alt.Step(20)
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
        title=axis_title,
        scale=alt.Scale(domain=[0, most * 1.12], nice=False),
        axis=alt.Axis(tickCount=5, format=",d", tickMinStep=1),
    )
    bars = base.mark_bar(fill=drawing.BLUE, height=12).encode(x=x, y=y, description="tip:N")
    numbers = base.mark_text(align="left", dx=4).encode(x=x, y=y, text="n:N")
    left = alt.layer(bars, numbers).properties(width=_BAR_WIDTH, height=height)
    # A logarithmic axis has no place for 0 or a negative number.
    medians = [row.views_median for row in rows if _is_positive(row.views_median)]
    with_views = [value for value, row in zip(values, rows, strict=True) if _is_positive(row.views_median)]
    if not medians:
        return with_theme(left)
    ticks = log_axis_ticks(min(medians), max(medians) * 1.01)
    right = (
        alt.Chart(chart_data(with_views))
        .mark_point(
            shape="diamond", filled=True, fill=drawing.RED, stroke=drawing.INK, strokeWidth=0.6, size=55, opacity=1
        )
        .encode(
            x=alt.X(
                "views:Q",
                title="median views (log scale)",
                scale=alt.Scale(type="log", domain=[ticks[0], ticks[-1]], nice=False),
                axis=alt.Axis(format="~s", values=ticks),
            ),
            y=alt.Y(
                "name:N",
                sort=order,
                title=None,
                # All names, so that the rows are those of the bars. Some names have no point.
                scale=alt.Scale(domain=order),
                axis=alt.Axis(labels=False, domain=False, ticks=False, grid=True),
            ),
            description="tip:N",
        )
        .properties(width=WIDTH - _BAR_WIDTH - _LABEL_WIDTH, height=height)
    )
    return with_theme(alt.hconcat(left, right, spacing=14))


def _is_positive(number: float | None) -> TypeGuard[float]:
    return number is not None and 0 < number < inf


def distribution_chart(parts: Sequence[Distribution], *, log: bool = True) -> "alt.TopLevelMixin":
    """Return histograms in rows of two, each with its median. On a log scale zeros are a separate bar on the left."""
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
            "tip": f"{_bin_text(one.low, one.high, log=log)}: {format_number(one.number)} {part.unit}",
        }
        for one in part.bins
    ]
    if log:
        if part.weighted_zeros:
            tip = f"0: {format_number(part.weighted_zeros)} {part.unit}"
            rows.append({"low": low, "high": high, "n": part.weighted_zeros, "tip": tip})
        most = max([10.0, *(one.high for one in part.bins)])
        ticks = [0.42, *(10.0**power for power in range(12) if 10.0**power <= most)]
        scale = alt.Scale(type="log", domain=[0.25, most], nice=False)
        axis = alt.Axis(
            values=ticks, labelExpr="datum.value < 1 ? '0' : format(datum.value, '~s')", grid=False, labelOverlap=False
        )
    else:
        least, most = min(one.low for one in part.bins), max(one.high for one in part.bins)
        # At least ten bins wide; without it a single bin would fill the panel.
        most = max(most, least + 10 * (part.bins[0].high - part.bins[0].low))
        scale = alt.Scale(domain=[least, most], nice=False)
        axis = alt.Axis(tickCount=6, grid=False, format="~r" if most < 10 else ",d")
    top = max((row["n"] for row in rows), default=1)
    base = alt.Chart(chart_data(rows))
    bars = base.mark_bar(fill=drawing.BLUE, stroke=drawing.INK, strokeWidth=0.4).encode(
        x=alt.X("low:Q", title=None, scale=scale, axis=axis),
        x2="high:Q",
        y=alt.Y(
            "n:Q",
            title=f"{part.unit} (weighted)" if part.is_weighted else part.unit,
            scale=alt.Scale(domain=[0, top * 1.14]),
            axis=alt.Axis(tickCount=4, format=",d" if top < 100_000 else "~s", tickMinStep=1),
        ),
        y2=alt.Y2Datum(0),
        description="tip:N",
    )
    median = part.median if part.median is not None and isfinite(part.median) else 0.0
    label = {"x": max(median, 0.42) if log else median, "text": f"median {format_number(part.median)}"}
    rule = alt.Chart(chart_data([label])).encode(x="x:Q")
    right = (log and median > sqrt(most)) or (not log and median > (least + most) / 2)
    layers = [
        bars,
        rule.mark_rule(color=drawing.RED, strokeWidth=2, strokeDash=[5, 3]),
        rule.mark_text(align="right" if right else "left", dx=-5 if right else 5, y=5, fontWeight="bold").encode(
            text="text:N"
        ),
    ]
    return alt.layer(*layers).properties(width=(WIDTH - 60) // 2, height=130, title=part.name)


def _bin_text(low: float, high: float, *, log: bool) -> str:
    if not log:
        return f"{low:g} to under {high:g}"
    return f"{low:,.0f}" if high - low <= 1 else f"{low:,.0f} to {high - 1:,.0f}"


def degree_chart(rows: Sequence[DegreeShare]) -> "alt.TopLevelMixin":
    """Return the share of accounts with at least a given degree, by direction, on two logarithmic axes."""
    import altair as alt

    labels = {"followers": "followers (in-degree)", "following": "followed accounts (out-degree)"}
    values = [
        {
            "degree": row.degree,
            "share": row.share,
            "kind": labels[row.direction],
            "tip": (
                f"{format_percent(row.share)} of accounts have {format_number(row.degree)} or more "
                f"{labels[row.direction]}"
            ),
        }
        for row in rows
    ]
    least = min(row.share for row in rows)
    present = [labels[name] for name in labels if any(row.direction == name for row in rows)]
    styles = {labels["followers"]: ("circle", drawing.BLUE), labels["following"]: ("triangle-up", drawing.ORANGE)}
    points = (
        alt.Chart(chart_data(values))
        .mark_point(filled=True, size=70, opacity=1, stroke=drawing.INK, strokeWidth=0.6)
        .encode(
            x=alt.X(
                "degree:Q",
                title="minimum degree (log scale)",
                scale=alt.Scale(type="log", domain=[0.8, 1.5 * max(row.degree for row in rows)], nice=False),
                axis=alt.Axis(format="~s", values=log_axis_ticks(1, max(row.degree for row in rows))),
            ),
            y=alt.Y(
                "share:Q",
                title="share of accounts (log scale)",
                scale=alt.Scale(type="log", domain=[0.7 * least, 1.4], nice=False),
                axis=alt.Axis(format="~%", values=log_axis_ticks(least, 1)),
            ),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=present, range=[styles[name][0] for name in present])),
            fill=alt.Fill("kind:N", scale=alt.Scale(domain=present, range=[styles[name][1] for name in present])),
            description="tip:N",
        )
    )
    return with_theme(points.properties(width=WIDTH, height=230))

"""Charts of what is held and what it cost: volume by day, coverage by entity, quota by day. Time is UTC."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from research_assets.report import style
from research_assets.report.chart import MIN_DAYS, WIDTH, chart_data, time_axis, vega_time, with_theme
from research_assets.report.chart_epochs import ChangeMarker, marker_layers
from research_assets.report.facts import DailyRequests, StudyDay, UnitGroup
from research_assets.report.words import format_number, format_percent, pluralize, unit_label

if TYPE_CHECKING:
    import altair as alt


def _state_fill(names: Sequence[str], domain: Sequence[str], *, legend: bool = True) -> "alt.Fill":
    """Fill by state; `names` are the words in the data, `domain` the states whose look they take."""
    import altair as alt

    colours = [style.key_colour(state) for state in domain]
    return alt.Fill(
        "state:N",
        scale=alt.Scale(domain=list(names), range=colours),
        legend=alt.Legend(columns=4, symbolStrokeColor=style.SOFT) if legend else None,
    )


def volume_chart(days: Sequence[StudyDay], marks: Sequence[ChangeMarker], step: int) -> "alt.TopLevelMixin":
    """Videos held by day; days that are not complete stand in a band with their state; epochs are marked.

    The marks are those of publication; `step` says how many days a bar stands for.
    """
    import altair as alt

    first, last = days[0].day, days[-1].day + timedelta(days=step - 1)
    present = [state for state in style.STATE_STYLES if any(day.state == state for day in days)]
    words = {state: style.STATE_STYLES[state].label for state in style.STATE_STYLES}
    margin = 0.04 * 24 * step
    bars = [
        {
            "start": vega_time(day.day, margin),
            "end": vega_time(day.day, 24 * step - margin),
            "videos": day.videos,
            "state": words[day.state],
            "tip": f"{day.day}: {format_number(day.videos)} videos, {words[day.state]}",
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
            .mark_rect(stroke="#c9c3b6", strokeWidth=0.6, clip=True)
            .encode(
                x=x,
                x2="end:T",
                fill=_state_fill([words[state] for state in present], present),
                fillOpacity=alt.value(0.4),
                description="tip:N",
            )
        )
    layers.append(
        alt.Chart(chart_data(bars))
        .mark_bar(stroke=style.INK, strokeWidth=0.4, clip=True)
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y(
                "videos:Q",
                title="videos held",
                axis=alt.Axis(tickCount=5, format=",d", tickMinStep=1),
                scale=alt.Scale(domain=[0, top], nice=False),
            ),
            y2=alt.Y2Datum(0),
            fill=_state_fill([words[state] for state in present], present, legend=not bands and len(present) > 1),
            description="tip:N",
        )
    )
    layers += marker_layers(marks, first, last)
    return with_theme(alt.layer(*layers).properties(width=WIDTH, height=230))


def _state_bands(days: Sequence[StudyDay], step: int) -> list[dict[str, Any]]:
    """Neighbouring days of one state that is not complete, together."""
    bands = []
    for state, together in groupby(days, key=lambda day: day.state):
        run = list(together)
        if state != "complete":
            until = run[-1].day + timedelta(days=step)
            words = style.STATE_STYLES[state].label
            span = f"{run[0].day}" if len(run) == 1 and step == 1 else f"{run[0].day} to {until - timedelta(days=1)}"
            bands.append(
                {"start": vega_time(run[0].day), "end": vega_time(until), "state": words, "tip": f"{span}: {words}"}
            )
    return bands


def coverage_chart(units: Sequence[UnitGroup]) -> "alt.TopLevelMixin":
    """Of each entity's units the share in each state, with their numbers in the bars."""
    import altair as alt

    present = [state for state in style.STATE_STYLES if any(group.state == state for group in units)]
    rows = []
    for (entity, kind), together in groupby(units, key=lambda group: (group.entity, group.kind)):
        groups = sorted(together, key=lambda group: list(style.STATE_STYLES).index(group.state))
        total, begin = sum(group.units for group in groups), 0
        label = f"{unit_label(entity, kind)} ({pluralize(total, kind)})"
        for group in groups:
            share, end = group.units / total, begin + group.units
            rows.append(
                {
                    "row": label,
                    "low": begin / total,
                    "high": end / total,
                    "middle": (begin + end) / 2 / total,
                    "state": style.STATE_STYLES[group.state].label,
                    "n": format_number(group.units) if share >= 0.05 else "",
                    "ink": "white" if group.state == "complete" else style.INK,
                    "tip": f"{label}: {format_number(group.units)} {style.STATE_STYLES[group.state].label}, {format_percent(share)}",
                }
            )
            begin = end
    base = alt.Chart(chart_data(rows)).encode(
        y=alt.Y(
            "row:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False, labelPadding=8)
        )
    )
    names = [style.STATE_STYLES[state].label for state in present]
    bars = base.mark_bar(stroke=style.INK, strokeWidth=0.5, height=17).encode(
        x=alt.X(
            "low:Q", title="share of units", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
        ),
        x2="high:Q",
        fill=_state_fill(names, present),
        description="tip:N",
    )
    # A white edge keeps numbers legible on a pattern.
    shown = {"x": alt.X("middle:Q"), "text": alt.Text("n:N")}
    halo = (
        base.mark_text(stroke="white", strokeWidth=3.5, fontWeight="bold")
        .encode(**shown)
        .transform_filter("datum.ink != 'white'")
    )
    text = base.mark_text(fontWeight="bold").encode(**shown, color=alt.Color("ink:N", scale=None, legend=None))
    return with_theme(alt.layer(bars, halo, text).properties(width=WIDTH - 210, height=alt.Step(26)))


def quota_chart(
    spent: Sequence[DailyRequests], caps: Mapping[str, int], marks: Sequence[ChangeMarker], step: int
) -> "alt.TopLevelMixin":
    """Requests of the study by UTC day and pool, by how they ended; the pool's cap where it comes near.

    The marks are those of observation; `step` says how many days a bar stands for; there is no cap for several.
    """
    import altair as alt

    first, last = min(one.day for one in spent), max(one.day for one in spent) + timedelta(days=step - 1)
    first = min(first, last - timedelta(days=MIN_DAYS - 1))
    present = {row["state"] for row in _stack_outcomes(spent, step)}
    outcomes = [name for name in style.OUTCOME_STATES if name in present]
    fill = _state_fill(outcomes, [style.OUTCOME_STATES[name] for name in outcomes])
    panels = []
    for pool in sorted({one.pool for one in spent}, reverse=True):
        rows = _stack_outcomes([one for one in spent if one.pool == pool], step)
        bars = (
            alt.Chart(chart_data(rows))
            .mark_bar(stroke=style.INK, strokeWidth=0.4)
            .encode(
                x=time_axis(first, last),
                x2="end:T",
                y=alt.Y("low:Q", title="requests", axis=alt.Axis(tickCount=4, format=",d")),
                y2="high:Q",
                fill=fill,
                description="tip:N",
            )
        )
        layers: list[alt.Chart] = [bars, *marker_layers(marks, first, last)]
        cap = caps.get(pool)
        if cap and step == 1 and max(row["high"] for row in rows) > 0.3 * cap:
            line = alt.Chart(chart_data([{"cap": cap, "tip": f"cap of the pool: {format_number(cap)}"}])).encode(
                y="cap:Q"
            )
            layers.append(line.mark_rule(strokeDash=[6, 3], color=style.INK).encode(description="tip:N"))
        title = f"Pool {pool}" + (f": {format_number(cap)} requests a day for all studies together" if cap else "")
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=110, title=title))
    return with_theme(alt.vconcat(*panels, spacing=14))


def _stack_outcomes(spent: Sequence[DailyRequests], step: int) -> list[dict[str, Any]]:
    """A bar for each outcome that occurred, on top of those before it."""
    rows = []
    for one in spent:
        low = 0
        for name, count in zip(style.OUTCOME_STATES, (one.answered, one.failed, one.refused), strict=True):
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

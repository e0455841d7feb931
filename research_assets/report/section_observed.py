"""The section about when the videos were looked at: the clock on which most breaks in the API's data run."""

from datetime import date

from research_assets.report import charts_observed, draw
from research_assets.report.chart_epochs import change_markers, markers_text
from research_assets.report.facts import ReportData
from research_assets.report.section import ReportFigure, ReportSection, ReportTable, number_columns, time_columns
from research_assets.report.words import format_number, join_words, pluralize


def observations_section(facts: ReportData) -> ReportSection:
    """Observations of videos by UTC day, with the breaks that are decided by the day of asking."""
    name, title = "observed", "When the videos were observed"
    if not (days := _observed_days(facts)):
        return ReportSection(name, title, ["No video was observed yet, so there are no days to show."])
    rows, weekly = facts.observed, facts.observed_step > 1
    unit = "week" if weekly else "day"
    looks, first = sum(one.n_observations for one in rows), sum(one.n_first for one in rows)
    later = f" and {pluralize(looks - first, 'later one')}" if looks > first else ""
    when = f"between {days[0]} and {days[1]}" if days[0] < days[1] else f"on {days[0]}"
    sentences = [
        (
            f"Videos were observed {when} (UTC): {pluralize(first, 'first look')}{later}. This is another clock than the "
            "one above: a video belongs to the day on which it was published, its counts and fields to the day on "
            "which they were asked. Most known breaks in the API's data part rows by the day of asking."
        ),
        _changes_in_force(facts, *days),
    ]
    figures = [_observations_figure(facts, unit, *days)] if len(rows) > 1 else []
    columns = [
        *time_columns(f"{unit} of asking"),
        *number_columns(
            "observations", "first looks", "later looks", "median views at first look", "median age then, days"
        ),
    ]
    cells = [
        [str(one.day), format_number(one.n_observations), format_number(one.n_first), format_number(one.n_observations - one.n_first),
         format_number(one.views_median), format_number(one.age_median)]
        for one in rows
    ]  # fmt: skip
    return ReportSection(name, title, sentences, figures, [ReportTable(f"Observations by {unit}", columns, cells)])


def _observed_days(facts: ReportData) -> tuple[date, date] | None:
    """The first and the last day on which a video was observed."""
    first, last = facts.observed_range
    return (first.date(), last.date()) if first and last else None


def _observations_figure(facts: ReportData, unit: str, first: date, last: date) -> ReportFigure:
    marks = change_markers(facts.api_changes_of("observed"), first, last)
    words = (
        f"Observations of videos by UTC {unit} of asking, and the median views of the videos first looked at then. "
        f"Older videos have more views; the table has their median age beside. {markers_text(marks)}"
    )
    chart = charts_observed.observations_chart(facts.observed, marks, facts.observed_step)
    drawn = draw.to_svg(chart, "observed", f"Observations of videos by {unit} of asking")
    return ReportFigure("observed", drawn, words.strip())


def _changes_in_force(facts: ReportData, first: date, last: date) -> str:
    """The breaks that began before the first observation and had not ended by the last."""
    whole = [
        epoch
        for epoch in facts.api_changes_of("observed")
        if (epoch.first is None or epoch.first < first) and (epoch.last is None or epoch.last >= last)
    ]
    if not whole:
        return "No known break was in force during all of these days."
    numbered = join_words([str(epoch.number) for epoch in whole])
    return (
        f"{pluralize(len(whole), 'known break')} began before the first of these days and, as far as is known, had not "
        f"ended on the last: {numbered} in the table of breaks under methods. All of these rows lie within, so no line "
        "parts them."
    )

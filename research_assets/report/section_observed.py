"""The section about when the videos were looked at: the clock on which most breaks in the API's data run."""

from datetime import date

from research_assets.report import charts_observed, draw
from research_assets.report.chart_epochs import edges, told
from research_assets.report.facts import Facts
from research_assets.report.section import Figure, Section, Table, numbers, times
from research_assets.report.words import counted, listed, number


def observed(facts: Facts) -> Section:
    """Observations of videos by UTC day, with the breaks that are decided by the day of asking."""
    name, title = "observed", "When the videos were observed"
    if not (days := _days(facts)):
        return Section(name, title, ["No video was observed yet, so there are no days to show."])
    rows, weekly = facts.observed, facts.observed_step > 1
    unit = "week" if weekly else "day"
    looks, first = sum(one.looks for one in rows), sum(one.first_looks for one in rows)
    later = f" and {counted(looks - first, 'later one')}" if looks > first else ""
    when = f"between {days[0]} and {days[1]}" if days[0] < days[1] else f"on {days[0]}"
    sentences = [
        (
            f"Videos were observed {when} (UTC): {counted(first, 'first look')}{later}. This is another clock than the "
            "one above: a video belongs to the day on which it was published, its counts and fields to the day on "
            "which they were asked. Most known breaks in the API's data part rows by the day of asking."
        ),
        _in_force(facts, *days),
    ]
    figures = [_figure(facts, unit, *days)] if len(rows) > 1 else []
    columns = [
        *times(f"{unit} of asking"),
        *numbers("observations", "first looks", "later looks", "median views at first look", "median age then, days"),
    ]
    cells = [
        [str(one.day), number(one.looks), number(one.first_looks), number(one.looks - one.first_looks),
         number(one.views_median), number(one.age_median)]
        for one in rows
    ]  # fmt: skip
    return Section(name, title, sentences, figures, [Table(f"Observations by {unit}", columns, cells)])


def _days(facts: Facts) -> tuple[date, date] | None:
    """The first and the last day on which a video was observed."""
    first, last = facts.seen
    return (first.date(), last.date()) if first and last else None


def _figure(facts: Facts, unit: str, first: date, last: date) -> Figure:
    marks = edges(facts.epochs_of("observed"), first, last)
    words = (
        f"Observations of videos by UTC {unit} of asking, and the median views of the videos first looked at then. "
        f"Older videos have more views; the table has their median age beside. {told(marks)}"
    )
    chart = charts_observed.observations(facts.observed, marks, facts.observed_step)
    drawn = draw.svg(chart, "observed", f"Observations of videos by {unit} of asking")
    return Figure("observed", drawn, words.strip())


def _in_force(facts: Facts, first: date, last: date) -> str:
    """The breaks that began before the first observation and had not ended by the last."""
    whole = [
        epoch
        for epoch in facts.epochs_of("observed")
        if (epoch.first is None or epoch.first < first) and (epoch.last is None or epoch.last >= last)
    ]
    if not whole:
        return "No known break was in force during all of these days."
    numbered = listed([str(epoch.number) for epoch in whole])
    return (
        f"{counted(len(whole), 'known break')} began before the first of these days and, as far as is known, had not "
        f"ended on the last: {numbered} in the table of breaks under methods. All of these rows lie within, so no line "
        "parts them."
    )

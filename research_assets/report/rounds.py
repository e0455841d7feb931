"""The section of a report on complete observations of days: their yield, and the survival of videos between them.

Not here: the estimators (see estimates/), the attrition of the methods section (see methods.py).
"""

from math import sqrt

from research_assets.estimates.survival import Survival
from research_assets.estimates.yields import Yield
from research_assets.planning.messages import pluralize
from research_assets.report.data import ReportData
from research_assets.report.elements import ReportSection, ReportTable, number_columns
from research_assets.report.formatting import (
    NO_VALUE,
    format_interval,
    format_number,
    format_percent,
    format_share,
    was_were,
)

_COUNTS_NOTE = (
    "Reported and returned: rows of the API. First seen, seen again and missed: videos that were not observed before, "
    "that were, and that were observed before but not returned. Reappeared: seen again after the observation before "
    "had missed them."
)
_SURVIVAL_NOTE = (
    "At risk: videos that were observed before, without those that an earlier observation and all later ones missed. "
    "Lost: at risk, and missed by this observation and all later ones. Survival: product of 1 - lost / at risk, from "
    "the second observation on. The interval and the second standard error are those of a jackknife by creator; the "
    "first one is Greenwood's, which assumes that videos are independent. If creators do not differ, the interval is "
    "Greenwood's as well."
)


def rounds_section(data: ReportData) -> ReportSection:
    """Return the yield of the first complete observations, and what later ones returned again."""
    name, title = "rounds", "Yield and survival"
    if not data.rounds:
        return ReportSection(name, title, ["No day has a complete observation yet."])
    sentences = [text for text in (_yield_text(data), _survival_text(data), _reappeared_text(data)) if text]
    columns = number_columns(
        "observation", "days", "median age, days", "reported", "returned", "first seen", "seen again", "missed",
        "reappeared"
    )  # fmt: skip
    rows = [
        [
            format_number(number)
            for number in (
                one.number, one.days, one.age, one.offered, one.kept, one.first_seen, one.seen_again, one.missed,
                one.reappeared
            )
        ]
        for one in data.rounds
    ]  # fmt: skip
    tables = [ReportTable("Complete observations of days", columns, rows, is_collapsed=False, note=_COUNTS_NOTE)]
    if survival := [[format_number(one.number), *_cells(one.survival)] for one in data.rounds if one.survival]:
        columns = number_columns(
            "observation", "at risk", "lost", "survival", "interval, 95 %", "error (Greenwood)", "error (jackknife)"
        )
        table = ReportTable("Survival of videos", columns, survival, is_collapsed=False, note=_SURVIVAL_NOTE)
        tables.append(table)
    return ReportSection(name, title, sentences, [], tables)


def _rest(data: ReportData) -> str:
    n_elements = sum(one.elements for one in data.rejected if one.entity == "videos")
    if not n_elements:
        return "The API gives no reason for the rest."
    return (
        f"The rest was not returned, without a reason, or is no usable row ({pluralize(n_elements, 'element')} in all "
        "observations)."
    )


def _yield_text(data: ReportData) -> str:
    found = data.first_yield
    if not found:
        return "The first complete observations of the days reported no video."
    return (
        f"At the first complete observation of {pluralize(data.rounds[0].days, 'day')}, the API reported "
        f"{pluralize(found.reported, 'matching video')} and returned {format_number(found.returned)} "
        f"({format_percent(found.share)}; {format_interval(found.interval())}). "
        f"{f'{_rest(data)} ' if found.returned < found.reported else ''}"
        + (
            f"The interval is that of a ratio of totals over {pluralize(found.n_searches, 'search', 'searches')}, and "
            "allows for searches that differ; days that were searched together count as one."
            if found.shows_difference
            else f"The interval assumes that rows are returned independently, because {_no_difference(found)}."
        )
    )


def _no_difference(found: Yield) -> str:
    if found.n_searches == 1:
        return "there was one search"
    return f"the {found.n_searches:,} searches do not differ in their yield"


def _survival_text(data: ReportData) -> str:
    last = data.rounds[-1]
    if not last.survival:
        lack = (
            "No video was known before a second complete observation"
            if last.number > 1
            else "No day has a second complete observation"
        )
        return f"{lack}, so it is not known how many videos become unavailable."
    survival, interval = last.survival, last.survival.interval()
    return (
        f"After {pluralize(last.number, 'complete observation')} (median age {format_number(last.age)} days) an "
        f"estimated {format_percent(survival.share)} of the videos are still returned"
        f"{f' ({format_interval(interval)})' if interval else ''}. A video counts as lost if the newest complete "
        "observations of its day did not return it. It became unavailable at some time since it was last observed, and "
        "may reappear. Videos that were gone before the first observation are not counted."
    )


def _reappeared_text(data: ReportData) -> str:
    missed, reappeared = (sum(one.missed for one in data.rounds), sum(one.reappeared for one in data.rounds))
    if not missed:
        return ""
    return (
        f"Complete observations missed earlier videos {pluralize(missed, 'time')}; {pluralize(reappeared, 'video')} "
        f"{was_were(reappeared)} returned again after a miss ({format_share(reappeared, missed)} of the misses)."
    )


def _cells(survival: Survival) -> list[str]:
    interval = survival.interval()
    return [
        format_number(survival.at_risk),
        format_number(survival.lost),
        format_percent(survival.share),
        " to ".join(map(format_percent, interval)) if interval else NO_VALUE,
        *(NO_VALUE if one is None else format_percent(sqrt(one)) for one in (survival.greenwood, survival.jackknife)),
    ]

"""The section of a report on days that were collected twice within a day: whether both returned the same videos.

Not here: the comparison itself (see the mart repeatability).
"""

from collections.abc import Sequence
from math import hypot

from research_assets.planning.messages import pluralize
from research_assets.report.data import RepeatedDay
from research_assets.report.elements import ReportSection, ReportTable, number_columns, time_columns
from research_assets.report.formatting import (
    error_text,
    format_minute,
    format_number,
    format_share,
    round_finite,
    was_were,
)


def repeatability_section(days: Sequence[RepeatedDay], share: float) -> ReportSection | None:
    """Return the section; None if no day was collected twice and the study plans none (`share` 0)."""
    name, title = "repeatability", "Repeatability of searches"
    if not days:
        return ReportSection(name, title, ["No day was collected twice within a day yet."]) if share else None
    both, either = sum(one.n_both for one in days), sum(one.n_either for one in days)
    estimate = sum(one.chapman_estimate for one in days)
    error = hypot(*(one.chapman_standard_error for one in days))
    repeated = f"{pluralize(len(days), 'day')} {was_were(len(days))} collected twice within a day."
    if either:
        repeated = (
            f"{repeated} Of {pluralize(either, 'video')} that either collection returned, both returned "
            f"{format_number(both)} ({format_share(both, either)}, Jaccard's index)."
        )
    bound = (
        "Chapman's estimate of the number of videos that the API could return for these days is "
        f"{format_number(round_finite(estimate))}{error_text(error)}. It is a lower bound: a "
        "video that one collection misses is more likely to be missed by the other as well."
    )
    rows = [
        [str(one.day), format_minute(one.first_ended_at), format_minute(one.second_ended_at),
         format_number(one.n_first), format_number(one.n_second), format_number(one.n_both),
         format_share(one.n_both, one.n_either) if one.n_either else "",
         format_number(one.chapman_estimate)]
        for one in days
    ]  # fmt: skip
    columns = [
        *time_columns("day", "first", "second"),
        *number_columns("first collection", "second collection", "both", "Jaccard", "Chapman"),
    ]
    note = "Videos by collection. Times are UTC, of the end of each."
    table = ReportTable("Days collected twice", columns, rows, note=note)
    return ReportSection(name, title, [repeated, bound], [], [table])

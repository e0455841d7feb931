"""The section of a report on days that were collected twice within a day: whether both returned the same videos.

Not here: the comparison itself (see the mart repeatability).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import hypot

import duckdb

from research_assets.planning.messages import pluralize
from research_assets.report.elements import ReportSection, ReportTable, number_columns, time_columns
from research_assets.report.formatting import (
    error_text,
    format_minute,
    format_number,
    format_share,
    round_finite,
    was_were,
)

REPEATED_DAYS_SQL = """
select day, first_ended_at, second_ended_at, n_first, n_second, n_both, chapman_estimate, chapman_standard_error
from marts.repeatability where study = $study order by day
"""


@dataclass(frozen=True, slots=True)
class RepeatedDay:
    """A row of the mart `repeatability`."""

    day: date
    first_ended_at: datetime
    second_ended_at: datetime
    n_first: int
    n_second: int
    n_both: int
    chapman_estimate: float
    chapman_standard_error: float

    @property
    def n_either(self) -> int:
        """Videos that either collection returned."""
        return self.n_first + self.n_second - self.n_both


def read_repeated_days(connection: duckdb.DuckDBPyConnection, study: str) -> list[RepeatedDay]:
    """Return the days of a study that were collected twice within a day."""
    return [RepeatedDay(*row) for row in connection.execute(REPEATED_DAYS_SQL, {"study": study}).fetchall()]


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

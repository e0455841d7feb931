"""The section of a report on the numbers of videos that random draws estimate, beside the collected videos.

Not here: the draws (see collect/population.py), the estimate (see estimates/population.py, and the mart population).
"""

from collections.abc import Sequence

from research_assets.planning.messages import pluralize
from research_assets.report.data import EstimatedDay
from research_assets.report.elements import ReportSection, ReportTable, number_columns, time_columns
from research_assets.report.formatting import format_minute, format_number, format_share, round_finite

_SMALL_P = 0.01


def _number(value: float | None) -> str:
    return "unknown" if value is None else format_number(round_finite(value))


def _share(day: EstimatedDay) -> str:
    # The draws are from the videos that the API returns now. Of those that it no longer returns none can be drawn.
    if day.n_still_returned is None or day.estimate is None:
        return ""
    return format_share(day.n_still_returned, day.estimate)


def population_section(days: Sequence[EstimatedDay]) -> ReportSection | None:
    """Return the section; None if no draws were sent."""
    if not days:
        return None
    unequal = sum(one.least_p_value is not None and one.least_p_value < _SMALL_P for one in days)
    sentences = [
        (
            "The number of videos that the API returns for the query was estimated in "
            f"{pluralize(len(days), 'run')} of random draws, from the videos that pairs of draws share. The limits are "
            "exact 95 % limits for the number of shared videos. Each estimate is a lower bound: if the API draws some "
            "videos more often than others, with coefficient of variation CV, it is about N/(1 + CV²)."
        )
    ]
    if unequal:
        sentences.append(
            f"In {pluralize(unequal, 'run')}, the hours, regions or lengths of the drawn videos differ from those of "
            f"equal probabilities (p < {_SMALL_P:g} in one of three tests), so the true number is probably higher."
        )
    rows = [
        [str(one.day), format_minute(one.ended_at), format_number(one.n_draws), format_number(one.n_distinct),
         format_number(one.n_shared), _number(one.estimate), _number(one.estimate_low), _number(one.estimate_high),
         "" if one.least_p_value is None else f"{one.least_p_value:.3f}",
         *("" if number is None else format_number(number) for number in (one.n_videos_held, one.n_still_returned)),
         _share(one)]
        for one in days
    ]  # fmt: skip
    columns = [
        *time_columns("day", "drawn"),
        *number_columns("draws", "distinct", "shared", "estimate", "lower limit", "upper limit", "least p"),
        *number_columns("collected", "still returned", "share"),
    ]
    note = (
        "Videos; times are UTC, of the last draw. Least p: the smallest of the tests of equal probability by hour of "
        "upload, region and length. Collected: videos of a complete day. Still returned: those of them that its newest "
        "complete observation or a later attempt returned. Share: these as a share of the estimate."
    )
    table = ReportTable("Estimated numbers of videos", columns, rows, note=note)
    return ReportSection("population", "Number of matching videos", sentences, [], [table])

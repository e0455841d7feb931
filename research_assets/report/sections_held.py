"""The sections about what is held and what it cost: volume by day, coverage, quota."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from research_assets.clock import week_of
from research_assets.collect.coverage import SETTLED, worst_state
from research_assets.report import charts_held, draw, style
from research_assets.report.chart import MAX_DAYS
from research_assets.report.chart_epochs import change_markers, markers_text
from research_assets.report.facts import DailyRequests, ReportData, StudyDay, UnitGroup
from research_assets.report.section import (
    ReportFigure,
    ReportSection,
    ReportTable,
    number_columns,
    text_columns,
    time_columns,
)
from research_assets.report.words import (
    UNIT_LABELS,
    format_minute,
    format_number,
    format_share,
    join_words,
    pluralize,
    state_label,
    unit_label,
)

MAX_MISSING_ROWS = 100
"""Reasons in a table at most, the most frequent."""


def volume_section(facts: ReportData) -> ReportSection:
    """Videos by day of publication, with what is not complete and the epochs of the API marked."""
    name, title = "volume", "Volume by day"
    if not facts.days:
        return ReportSection(
            name, title, ["No day of this study was asked yet, and none is due: there is nothing to show."]
        )
    days, weekly = facts.days, len(facts.days) > MAX_DAYS
    marks = change_markers(facts.api_changes_of("published"), days[0].day, days[-1].day)
    chart = charts_held.volume_chart(_group_by_week(days) if weekly else days, marks, 7 if weekly else 1)
    unit = "week" if weekly else "day"
    words = [f"Videos held by {unit} of publication, UTC."]
    if any(day.state != "complete" for day in days):
        words.append(f"Where a {unit} is not complete, a pattern fills its height; its bar shows what is held so far.")
    words.append(markers_text(marks))
    if facts.api_changes_of("observed"):
        words.append("Breaks that are decided by the day of asking stand under the next heading.")
    rows = [
        [str(day.day), state_label(day.state), format_number(day.offered), format_number(day.kept), format_number(day.videos),
         format_number(day.creators), format_number(day.comments), format_number(day.views_median)]
        for day in days
    ]  # fmt: skip
    columns = [
        *time_columns("day"),
        *text_columns("state"),
        *number_columns("offered", "kept", "videos", "creators", "comments", "median views"),
    ]
    return ReportSection(
        name,
        title,
        _volume_sentences(days),
        [
            ReportFigure(
                "volume",
                draw.to_svg(chart, "volume", f"Videos held by {unit} of publication"),
                " ".join(filter(None, words)),
            )
        ],
        [ReportTable("Days", columns, rows, note=_OFFERED_NOTE)],
    )


_OFFERED_NOTE = (
    "Offered: raw hits of the search, deliverable or not; where days shared a search, its hits are shared out among "
    "them. Kept: what arrived."
)


def _volume_sentences(days: Sequence[StudyDay]) -> list[str]:
    states = Counter(day.state for day in days)
    videos = f"{pluralize(sum(day.videos for day in days), 'video')} of {pluralize(len(days), 'day')} are held."
    others = [f"{amount} {state_label(state)}" for state, amount in _ordered_states(states) if state != "complete"]
    complete = (
        f"{pluralize(states['complete'], 'day')} {'is' if states['complete'] == 1 else 'are'} complete; the others are "
        f"not: {join_words(others)}."
        if others
        else "Every day is complete."
    )
    sentences = [f"{videos} {complete} A video belongs to the day on which it was published (UTC)."]
    if held := [day for day in days if day.state == "complete" and day.videos]:
        most, least = max(held, key=lambda day: day.videos), min(held, key=lambda day: day.videos)
        mean = sum(day.videos for day in held) / len(held)
        sentences.append(
            f"A complete day with videos has {format_number(round(mean, 1))} of them on average, {format_number(least.videos)} at "
            f"least ({least.day}) and {format_number(most.videos)} at most ({most.day})."
        )
    return sentences


def _ordered_states(states: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(state, states[state]) for state in style.STATE_STYLES if states.get(state)]


def _group_by_week(days: Sequence[StudyDay]) -> list[StudyDay]:
    """Weeks from the first day on; the worst state of a week's days speaks for it."""
    weeks = []
    for start in range(0, len(days), 7):
        week = days[start : start + 7]
        state = worst_state([day.state for day in week])
        weeks.append(replace(week[0], state=state, videos=sum(day.videos for day in week)))
    return weeks


def coverage_section(facts: ReportData) -> ReportSection:
    """What was asked of each entity, and what became of it; what is missing, by reason."""
    name, title = "coverage", "Coverage by entity"
    if not facts.units:
        return ReportSection(name, title, ["Nothing of this study was asked yet."])
    total = sum(group.units for group in facts.units)
    settled = sum(group.units for group in facts.units if group.state in SETTLED)
    complete = sum(group.units for group in facts.units if group.state == "complete")
    waiting = total - settled
    sentences = [
        (
            "A unit is what can be complete: a day of the search, the comments of a video, the replies of a comment, "
            f"an account's profile or list. Of {pluralize(total, 'unit')}, {format_number(complete)} "
            f"({format_share(complete, total)}) are complete, and of {format_number(settled - complete)} it is known that the "
            "API gives nothing. "
        )
        + ("Nothing that can be had is missing." if not waiting else f"{pluralize(waiting, 'unit')} can still be had.")
    ]
    ordered = ordered_units(facts.units)
    chart = charts_held.coverage_chart(ordered)
    rows = [
        [unit_label(group.entity, group.kind), state_label(group.state), format_number(group.units),
         format_number(group.asked), format_number(group.offered), format_number(group.kept), format_number(group.expected),
         format_number(round(group.requests, 1))]
        for group in ordered
    ]  # fmt: skip
    told = sorted(facts.gaps, key=lambda gap: -gap.units)[:MAX_MISSING_ROWS]
    gaps = [
        [
            unit_label(gap.entity, gap.kind),
            state_label(gap.state),
            gap.reason,
            format_number(gap.units),
            format_minute(gap.next_try),
        ]
        for gap in told
    ]
    columns = [
        *text_columns("what", "state"),
        *number_columns("units", "asked", "offered", "kept", "expected", "requests"),
    ]
    note = (
        "Rows. Asked: places on the pages that were asked for. Offered: raw hits that the API counted. Kept: "
        "distinct rows that arrived. Expected: what another field promised, such as the comment count of a video."
    )
    tables = [ReportTable("Units by state", columns, rows, note=note)]
    if gaps:
        headings = [*text_columns("what", "state", "reason"), *number_columns("units"), *time_columns("next try (UTC)")]
        more = len(facts.gaps) - len(told)
        rest = f"And {pluralize(more, 'rarer reason')}." if more else ""
        tables.append(ReportTable("Not held, by reason", headings, gaps, is_collapsed=False, note=rest))
    words = "Of the units of each entity, the share in each state; the numbers are units."
    return ReportSection(
        name,
        title,
        sentences,
        [ReportFigure("coverage", draw.to_svg(chart, "coverage", "Coverage by entity"), words)],
        tables,
    )


def ordered_units(units: Sequence[UnitGroup]) -> list[UnitGroup]:
    """In the order of the work: the search first, then what hangs on it."""
    order = list(UNIT_LABELS)
    place = {key: index for index, key in enumerate(order)}
    states = list(style.STATE_STYLES)
    return sorted(
        units, key=lambda group: (place.get((group.entity, group.kind), len(order)), states.index(group.state))
    )


def quota_section(facts: ReportData, caps: Mapping[str, int]) -> ReportSection:
    """Requests of the study by day and endpoint. `caps` are the requests a day of each pool."""
    name, title = "quota", "Quota used"
    if not facts.daily_requests:
        return ReportSection(name, title, ["No request was sent for this study yet."])
    overall = facts.overall
    days = len({one.day for one in facts.daily_requests})
    sentences = [
        (
            f"{pluralize(overall.requests, 'request')} took a place in the quota, on {pluralize(days, 'day')}: "
            f"{format_number(overall.requests - overall.failed)} were answered, {format_number(overall.failed - overall.refused)} "
            f"failed, and {format_number(overall.refused)} found the day's quota spent. Failed requests cost quota too; an "
            "account that cannot be found or is private counts as a failed request."
        )
    ]
    weekly = (facts.daily_requests[-1].day - facts.daily_requests[0].day).days > MAX_DAYS
    marks = change_markers(facts.api_changes_of("observed"), facts.daily_requests[0].day, facts.daily_requests[-1].day)
    chart = charts_held.quota_chart(
        _requests_by_week(facts.daily_requests) if weekly else facts.daily_requests, caps, marks, 7 if weekly else 1
    )
    rows = [
        [one.pool, one.endpoint, format_number(one.requests), format_number(one.failed - one.refused), format_number(one.refused),
         format_number(one.rows), format_number(one.latency and round(one.latency))]
        for one in facts.endpoints
    ]  # fmt: skip
    columns = [
        *text_columns("pool", "endpoint"),
        *number_columns("requests", "failed", "refused", "rows", "latency, ms"),
    ]
    daily = [
        [str(one.day), one.pool, format_number(one.answered), format_number(one.failed), format_number(one.refused)]
        for one in facts.daily_requests
    ]
    return ReportSection(
        name,
        title,
        sentences,
        [
            ReportFigure(
                "quota",
                draw.to_svg(chart, "quota", "Requests by day"),
                f"Requests of this study by UTC {'week' if weekly else 'day'} of the quota. {markers_text(marks)}".strip(),
            )
        ],
        [
            ReportTable("By endpoint", columns, rows, note="Latency: the largest of the daily medians."),
            ReportTable(
                "By day",
                [*time_columns("day"), *text_columns("pool"), *number_columns("answered", "failed", "refused")],
                daily,
            ),
        ],
    )


def _requests_by_week(spent: Sequence[DailyRequests]) -> list[DailyRequests]:
    """Requests by week, named by its Monday."""
    weeks: dict[tuple[date, str], DailyRequests] = {}
    for one in spent:
        key = (week_of(one.day), one.pool)
        held = weeks.get(key, DailyRequests(*key, 0, 0, 0))
        weeks[key] = DailyRequests(
            *key, held.answered + one.answered, held.failed + one.failed, held.refused + one.refused
        )
    return list(weeks.values())

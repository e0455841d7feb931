"""The sections about what is held and what it cost: volume by day, coverage, quota."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from research_assets.clock import week_of
from research_assets.collect.coverage import SETTLED, worst_state
from research_assets.report import charts_held, draw, style
from research_assets.report.chart import MOST_DAYS
from research_assets.report.chart_epochs import edges, told
from research_assets.report.facts import Day, Facts, Spent, Units
from research_assets.report.section import Figure, Section, Table, numbers, texts, times
from research_assets.report.words import (
    ENTITY_WORDS,
    counted,
    listed,
    minute,
    number,
    share_of,
    state_word,
    what_words,
)

MOST_GAPS = 100
"""Reasons in a table at most, the most frequent."""


def volume(facts: Facts) -> Section:
    """Videos by day of publication, with what is not complete and the epochs of the API marked."""
    name, title = "volume", "Volume by day"
    if not facts.days:
        return Section(name, title, ["No day of this study was asked yet, and none is due: there is nothing to show."])
    days, weekly = facts.days, len(facts.days) > MOST_DAYS
    marks = edges(facts.epochs_of("published"), days[0].day, days[-1].day)
    chart = charts_held.volume(_weeks(days) if weekly else days, marks, 7 if weekly else 1)
    unit = "week" if weekly else "day"
    words = [f"Videos held by {unit} of publication, UTC."]
    if any(day.state != "complete" for day in days):
        words.append(f"Where a {unit} is not complete, a pattern fills its height; its bar shows what is held so far.")
    words.append(told(marks))
    if facts.epochs_of("observed"):
        words.append("Breaks that are decided by the day of asking stand under the next heading.")
    rows = [
        [str(day.day), state_word(day.state), number(day.offered), number(day.kept), number(day.videos),
         number(day.creators), number(day.comments), number(day.views_median)]
        for day in days
    ]  # fmt: skip
    columns = [
        *times("day"),
        *texts("state"),
        *numbers("offered", "kept", "videos", "creators", "comments", "median views"),
    ]
    return Section(
        name,
        title,
        _volume_in_words(days),
        [
            Figure(
                "volume",
                draw.svg(chart, "volume", f"Videos held by {unit} of publication"),
                " ".join(filter(None, words)),
            )
        ],
        [Table("Days", columns, rows, note=_OFFERED)],
    )


_OFFERED = (
    "Offered: raw hits of the search, deliverable or not; where days shared a search, its hits are shared out among "
    "them. Kept: what arrived."
)


def _volume_in_words(days: Sequence[Day]) -> list[str]:
    states = Counter(day.state for day in days)
    videos = f"{counted(sum(day.videos for day in days), 'video')} of {counted(len(days), 'day')} are held."
    others = [f"{amount} {state_word(state)}" for state, amount in _in_order(states) if state != "complete"]
    complete = (
        f"{counted(states['complete'], 'day')} {'is' if states['complete'] == 1 else 'are'} complete; the others are "
        f"not: {listed(others)}."
        if others
        else "Every day is complete."
    )
    sentences = [f"{videos} {complete} A video belongs to the day on which it was published (UTC)."]
    if held := [day for day in days if day.state == "complete" and day.videos]:
        most, least = max(held, key=lambda day: day.videos), min(held, key=lambda day: day.videos)
        mean = sum(day.videos for day in held) / len(held)
        sentences.append(
            f"A complete day with videos has {number(round(mean, 1))} of them on average, {number(least.videos)} at "
            f"least ({least.day}) and {number(most.videos)} at most ({most.day})."
        )
    return sentences


def _in_order(states: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(state, states[state]) for state in style.STATES if states.get(state)]


def _weeks(days: Sequence[Day]) -> list[Day]:
    """Weeks from the first day on; the worst state of a week's days speaks for it."""
    weeks = []
    for start in range(0, len(days), 7):
        week = days[start : start + 7]
        state = worst_state([day.state for day in week])
        weeks.append(replace(week[0], state=state, videos=sum(day.videos for day in week)))
    return weeks


def coverage(facts: Facts) -> Section:
    """What was asked of each entity, and what became of it; what is missing, by reason."""
    name, title = "coverage", "Coverage by entity"
    if not facts.units:
        return Section(name, title, ["Nothing of this study was asked yet."])
    total = sum(group.units for group in facts.units)
    settled = sum(group.units for group in facts.units if group.state in SETTLED)
    complete = sum(group.units for group in facts.units if group.state == "complete")
    waiting = total - settled
    sentences = [
        (
            "A unit is what can be complete: a day of the search, the comments of a video, the replies of a comment, "
            f"an account's profile or list. Of {counted(total, 'unit')}, {number(complete)} "
            f"({share_of(complete, total)}) are complete, and of {number(settled - complete)} it is known that the "
            "API gives nothing. "
        )
        + ("Nothing that can be had is missing." if not waiting else f"{counted(waiting, 'unit')} can still be had.")
    ]
    ordered = ordered_units(facts.units)
    chart = charts_held.coverage(ordered)
    rows = [
        [what_words(group.entity, group.kind), state_word(group.state), number(group.units),
         number(group.asked), number(group.offered), number(group.kept), number(group.expected),
         number(round(group.requests, 1))]
        for group in ordered
    ]  # fmt: skip
    told = sorted(facts.gaps, key=lambda gap: -gap.units)[:MOST_GAPS]
    gaps = [
        [what_words(gap.entity, gap.kind), state_word(gap.state), gap.reason, number(gap.units), minute(gap.next_try)]
        for gap in told
    ]
    columns = [*texts("what", "state"), *numbers("units", "asked", "offered", "kept", "expected", "requests")]
    note = (
        "Rows. Asked: places on the pages that were asked for. Offered: raw hits that the API counted. Kept: "
        "distinct rows that arrived. Expected: what another field promised, such as the comment count of a video."
    )
    tables = [Table("Units by state", columns, rows, note=note)]
    if gaps:
        headings = [*texts("what", "state", "reason"), *numbers("units"), *times("next try (UTC)")]
        more = len(facts.gaps) - len(told)
        rest = f"And {counted(more, 'rarer reason')}." if more else ""
        tables.append(Table("Not held, by reason", headings, gaps, folded=False, note=rest))
    words = "Of the units of each entity, the share in each state; the numbers are units."
    return Section(
        name, title, sentences, [Figure("coverage", draw.svg(chart, "coverage", "Coverage by entity"), words)], tables
    )


def ordered_units(units: Sequence[Units]) -> list[Units]:
    """In the order of the work: the search first, then what hangs on it."""
    order = list(ENTITY_WORDS)
    place = {key: index for index, key in enumerate(order)}
    states = list(style.STATES)
    return sorted(
        units, key=lambda group: (place.get((group.entity, group.kind), len(order)), states.index(group.state))
    )


def quota(facts: Facts, caps: Mapping[str, int]) -> Section:
    """Requests of the study by day and endpoint. `caps` are the requests a day of each pool."""
    name, title = "quota", "Quota used"
    if not facts.spent:
        return Section(name, title, ["No request was sent for this study yet."])
    overall = facts.overall
    days = len({one.day for one in facts.spent})
    sentences = [
        (
            f"{counted(overall.requests, 'request')} took a place in the quota, on {counted(days, 'day')}: "
            f"{number(overall.requests - overall.failed)} were answered, {number(overall.failed - overall.refused)} "
            f"failed, and {number(overall.refused)} found the day's quota spent. Failed requests cost quota too; an "
            "account that cannot be found or is private counts as a failed request."
        )
    ]
    weekly = (facts.spent[-1].day - facts.spent[0].day).days > MOST_DAYS
    marks = edges(facts.epochs_of("observed"), facts.spent[0].day, facts.spent[-1].day)
    chart = charts_held.quota(_weeks_spent(facts.spent) if weekly else facts.spent, caps, marks, 7 if weekly else 1)
    rows = [
        [one.pool, one.endpoint, number(one.requests), number(one.failed - one.refused), number(one.refused),
         number(one.rows), number(one.latency and round(one.latency))]
        for one in facts.endpoints
    ]  # fmt: skip
    columns = [*texts("pool", "endpoint"), *numbers("requests", "failed", "refused", "rows", "latency, ms")]
    daily = [
        [str(one.day), one.pool, number(one.answered), number(one.failed), number(one.refused)] for one in facts.spent
    ]
    return Section(
        name,
        title,
        sentences,
        [
            Figure(
                "quota",
                draw.svg(chart, "quota", "Requests by day"),
                f"Requests of this study by UTC {'week' if weekly else 'day'} of the quota. {told(marks)}".strip(),
            )
        ],
        [
            Table("By endpoint", columns, rows, note="Latency: the largest of the daily medians."),
            Table("By day", [*times("day"), *texts("pool"), *numbers("answered", "failed", "refused")], daily),
        ],
    )


def _weeks_spent(spent: Sequence[Spent]) -> list[Spent]:
    """Requests by week, named by its Monday."""
    weeks: dict[tuple[date, str], Spent] = {}
    for one in spent:
        key = (week_of(one.day), one.pool)
        held = weeks.get(key, Spent(*key, 0, 0, 0))
        weeks[key] = Spent(*key, held.answered + one.answered, held.failed + one.failed, held.refused + one.refused)
    return list(weeks.values())

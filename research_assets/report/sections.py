"""The sections about what is held and what it cost: volume by day, coverage, quota."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from research_assets.clock import week_of
from research_assets.report import charts, drawing
from research_assets.report.data import DailyRequests, Distribution, RankedItem, ReportData, StudyDay, UnitGroup
from research_assets.report.drawing import MAX_DAYS, change_markers, markers_text
from research_assets.report.elements import (
    ReportFigure,
    ReportSection,
    ReportTable,
    number_columns,
    text_columns,
    time_columns,
)
from research_assets.report.formatting import (
    UNIT_LABELS,
    format_minute,
    format_number,
    format_percent,
    format_share,
    join_words,
    pluralize,
    state_label,
    unit_label,
)
from research_assets.units.coverage import SETTLED, worst_state

# JOINED: """The section about when the videos were looked at: the clock on which most breaks in the API's data run."""


# JOINED: """The sections about the content: hashtags, creators, engagement, threads, follows, the age of counts."""


MAX_MISSING_ROWS = 100
"""Reasons in a table at most, the most frequent."""


def volume_section(data: ReportData) -> ReportSection:
    """Videos by day of publication, with what is not complete and the epochs of the API marked."""
    name, title = "volume", "Volume by day"
    if not data.days:
        return ReportSection(
            name, title, ["No day of this study was asked yet, and none is due: there is nothing to show."]
        )
    days, weekly = data.days, len(data.days) > MAX_DAYS
    marks = change_markers(data.api_changes_of("published"), days[0].day, days[-1].day)
    chart = charts.volume_chart(_group_by_week(days) if weekly else days, marks, 7 if weekly else 1)
    unit = "week" if weekly else "day"
    words = [f"Videos held by {unit} of publication, UTC."]
    if any(day.state != "complete" for day in days):
        words.append(f"Where a {unit} is not complete, a pattern fills its height; its bar shows what is held so far.")
    words.append(markers_text(marks))
    if data.api_changes_of("observed"):
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
                drawing.to_svg(chart, "volume", f"Videos held by {unit} of publication"),
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
    return [(state, states[state]) for state in drawing.STATE_STYLES if states.get(state)]


def _group_by_week(days: Sequence[StudyDay]) -> list[StudyDay]:
    """Weeks from the first day on; the worst state of a week's days speaks for it."""
    weeks = []
    for start in range(0, len(days), 7):
        week = days[start : start + 7]
        state = worst_state([day.state for day in week])
        weeks.append(replace(week[0], state=state, videos=sum(day.videos for day in week)))
    return weeks


def coverage_section(data: ReportData) -> ReportSection:
    """What was asked of each entity, and what became of it; what is missing, by reason."""
    name, title = "coverage", "Coverage by entity"
    if not data.units:
        return ReportSection(name, title, ["Nothing of this study was asked yet."])
    total = sum(group.units for group in data.units)
    settled = sum(group.units for group in data.units if group.state in SETTLED)
    complete = sum(group.units for group in data.units if group.state == "complete")
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
    ordered = ordered_units(data.units)
    chart = charts.coverage_chart(ordered)
    rows = [
        [unit_label(group.entity, group.kind), state_label(group.state), format_number(group.units),
         format_number(group.asked), format_number(group.offered), format_number(group.kept), format_number(group.expected),
         format_number(round(group.requests, 1))]
        for group in ordered
    ]  # fmt: skip
    reported = sorted(data.gaps, key=lambda gap: -gap.units)[:MAX_MISSING_ROWS]
    gaps = [
        [
            unit_label(gap.entity, gap.kind),
            state_label(gap.state),
            gap.reason,
            format_number(gap.units),
            format_minute(gap.next_try),
        ]
        for gap in reported
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
        more = len(data.gaps) - len(reported)
        rest = f"And {pluralize(more, 'rarer reason')}." if more else ""
        tables.append(ReportTable("Not held, by reason", headings, gaps, is_collapsed=False, note=rest))
    words = "Of the units of each entity, the share in each state; the numbers are units."
    return ReportSection(
        name,
        title,
        sentences,
        [ReportFigure("coverage", drawing.to_svg(chart, "coverage", "Coverage by entity"), words)],
        tables,
    )


def ordered_units(units: Sequence[UnitGroup]) -> list[UnitGroup]:
    """In the order of the work: the search first, then what hangs on it."""
    order = list(UNIT_LABELS)
    place = {key: index for index, key in enumerate(order)}
    states = list(drawing.STATE_STYLES)
    return sorted(
        units, key=lambda group: (place.get((group.entity, group.kind), len(order)), states.index(group.state))
    )


def quota_section(data: ReportData, caps: Mapping[str, int]) -> ReportSection:
    """Requests of the study by day and endpoint. `caps` are the requests a day of each pool."""
    name, title = "quota", "Quota used"
    if not data.daily_requests:
        return ReportSection(name, title, ["No request was sent for this study yet."])
    overall = data.overall
    days = len({one.day for one in data.daily_requests})
    sentences = [
        (
            f"{pluralize(overall.requests, 'request')} took a place in the quota, on {pluralize(days, 'day')}: "
            f"{format_number(overall.requests - overall.failed)} were answered, {format_number(overall.failed - overall.refused)} "
            f"failed, and {format_number(overall.refused)} found the day's quota spent. Failed requests cost quota too; an "
            "account that cannot be found or is private counts as a failed request."
        )
    ]
    weekly = (data.daily_requests[-1].day - data.daily_requests[0].day).days > MAX_DAYS
    marks = change_markers(data.api_changes_of("observed"), data.daily_requests[0].day, data.daily_requests[-1].day)
    chart = charts.quota_chart(
        _requests_by_week(data.daily_requests) if weekly else data.daily_requests, caps, marks, 7 if weekly else 1
    )
    rows = [
        [one.pool, one.endpoint, format_number(one.requests), format_number(one.failed - one.refused), format_number(one.refused),
         format_number(one.rows), format_number(one.latency and round(one.latency))]
        for one in data.endpoints
    ]  # fmt: skip
    columns = [
        *text_columns("pool", "endpoint"),
        *number_columns("requests", "failed", "refused", "rows", "latency, ms"),
    ]
    daily = [
        [str(one.day), one.pool, format_number(one.answered), format_number(one.failed), format_number(one.refused)]
        for one in data.daily_requests
    ]
    return ReportSection(
        name,
        title,
        sentences,
        [
            ReportFigure(
                "quota",
                drawing.to_svg(chart, "quota", "Requests by day"),
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


def observations_section(data: ReportData) -> ReportSection:
    """Observations of videos by UTC day, with the breaks that are decided by the day of asking."""
    name, title = "observed", "When the videos were observed"
    if not (days := _observed_days(data)):
        return ReportSection(name, title, ["No video was observed yet, so there are no days to show."])
    rows, weekly = data.observed, data.observed_step > 1
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
        _changes_in_force(data, *days),
    ]
    figures = [_observations_figure(data, unit, *days)] if len(rows) > 1 else []
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


def _observed_days(data: ReportData) -> tuple[date, date] | None:
    """The first and the last day on which a video was observed."""
    first, last = data.observed_range
    return (first.date(), last.date()) if first and last else None


def _observations_figure(data: ReportData, unit: str, first: date, last: date) -> ReportFigure:
    marks = change_markers(data.api_changes_of("observed"), first, last)
    words = (
        f"Observations of videos by UTC {unit} of asking, and the median views of the videos first looked at then. "
        f"Older videos have more views; the table has their median age beside. {markers_text(marks)}"
    )
    chart = charts.observations_chart(data.observed, marks, data.observed_step)
    drawn = drawing.to_svg(chart, "observed", f"Observations of videos by {unit} of asking")
    return ReportFigure("observed", drawn, words.strip())


def _changes_in_force(data: ReportData, first: date, last: date) -> str:
    """The breaks that began before the first observation and had not ended by the last."""
    whole = [
        change
        for change in data.api_changes_of("observed")
        if (change.first is None or change.first < first) and (change.last is None or change.last >= last)
    ]
    if not whole:
        return "No known break was in force during all of these days."
    numbered = join_words([str(change.number) for change in whole])
    return (
        f"{pluralize(len(whole), 'known break')} began before the first of these days and, as far as is known, had not "
        f"ended on the last: {numbered} in the table of breaks under methods. All of these rows lie within, so no line "
        "parts them."
    )


MAX_LISTS = 60
"""Lists of accounts in a table at most."""


def hashtags_section(data: ReportData) -> ReportSection:
    """The hashtags on most videos."""
    name, title = "hashtags", "Hashtags"
    if not data.hashtags:
        return ReportSection(name, title, ["No hashtag is held: no video carries one, or none is held yet."])
    first = data.hashtags[0]
    sentences = [
        (
            f"{pluralize(data.n_hashtags, 'hashtag')} stand on the videos held. The most frequent is #{first.name}, on "
            f"{format_share(first.videos, data.overall.videos)} of them; a hashtag that the query asks for stands on "
            "every video by design."
        )
    ]
    rows = _ranking_rows(data.hashtags, "#")
    columns = [*text_columns("hashtag"), *number_columns("videos", "creators", "median views", "views together")]
    chart = charts.ranking_chart(data.hashtags, "with the hashtag", "#")
    words = f"The {len(data.hashtags)} hashtags on most videos, and the median views of these videos."
    figure = ReportFigure("hashtags", drawing.to_svg(chart, "hashtags", "Hashtags by videos"), words)
    return ReportSection(name, title, sentences, [figure], [ReportTable("Hashtags", columns, rows)])


def creators_section(data: ReportData) -> ReportSection:
    """The creators of most videos, and how much of all is theirs."""
    name, title = "creators", "Creators"
    if not data.creators:
        return ReportSection(name, title, ["No creator is held, because no video is."])
    overall = data.overall
    sentences = [
        (
            f"{pluralize(overall.creators, 'account')} published the videos held, "
            f"{format_number(round(overall.videos / overall.creators, 1))} each on average. The tenth of the creators with "
            f"most videos published {format_percent(data.top_share)} of them."
        ),
        (
            "Names are those of public authors, as the API delivers them. Check what your ethics review says before "
            "you publish them."
        ),
    ]
    columns = [
        *text_columns("creator"),
        *number_columns("videos", "days with videos", "median views", "views together"),
    ]
    chart = charts.ranking_chart(data.creators, "held", "@")
    words = f"The {len(data.creators)} creators of most videos held, and the median views of these videos."
    figure = ReportFigure("creators", drawing.to_svg(chart, "creators", "Creators by videos"), words)
    return ReportSection(
        name, title, sentences, [figure], [ReportTable("Creators", columns, _ranking_rows(data.creators, "@"))]
    )


def _ranking_rows(rows: Sequence[RankedItem], sign: str) -> list[list[str]]:
    return [
        [
            f"{sign}{row.name}",
            format_number(row.videos),
            format_number(row.other),
            format_number(row.views_median),
            format_number(row.views),
        ]
        for row in rows
    ]


def engagement_section(data: ReportData) -> ReportSection:
    """How views, likes, comments and shares are distributed over the videos."""
    name, title = "engagement", "Engagement"
    parts = [part for part in data.engagement if part.number > part.absent]
    if not parts:
        return ReportSection(name, title, ["No video with counts is held."])
    medians = join_words([f"{format_number(part.median)} {part.name.lower()}" for part in parts])
    sentences = [
        (
            f"The median video has {medians}. Counts are those of the newest observation of each video, as the API "
            "counted them; they may have been up to ten days old when delivered."
        )
    ]
    words = (
        "Videos by count, in classes from 1, 2, 5, 10, 20 and so on upwards (log scale); videos with a count of "
        "zero stand apart on the left. The dashed line is the median of all, zeros included."
    )
    figure = ReportFigure(
        "engagement", drawing.to_svg(charts.distribution_chart(parts), "engagement", "Engagement"), words
    )
    return ReportSection(name, title, sentences, [figure], [_distribution_rows(parts)])


def _distribution_rows(parts: Sequence[Distribution]) -> ReportTable:
    rows = [
        [part.name, format_number(part.number - part.absent), format_number(part.absent), format_number(part.zeros), format_number(part.lower_quartile),
         format_number(part.median), format_number(part.upper_quartile), format_number(part.maximum)]
        for part in parts
    ]  # fmt: skip
    columns = [
        *text_columns("what"),
        *number_columns("counted", "without a count", "zeros", "lower quartile", "median", "upper quartile", "most"),
    ]
    return ReportTable("Distributions", columns, rows)


def threads_section(data: ReportData) -> ReportSection:
    """Comments by video and replies by comment."""
    name, title = "threads", "Comment threads"
    overall = data.overall
    if not overall.comments + overall.replies:
        asked = any(group.entity == "comments" and group.state in ("complete", "partial") for group in data.units)
        reason = "the lists that were asked are empty" if asked else "none were asked"
        return ReportSection(name, title, [f"No comments are held: {reason}."])
    depths = join_words([f"{format_number(amount)} at depth {depth}" for depth, amount in data.depths])
    sentences = [
        (
            f"{pluralize(overall.comments, 'comment')} and {pluralize(overall.replies, 'reply', 'replies')} are held "
            f"({depths}; depth 0 is a comment on the video itself). The API gives neither the writers of comments nor "
            "the comments that were removed."
        )
    ]
    parts = [part for part in data.threads if part.number]
    words = (
        "Size of threads: comments and replies held of each video whose list is complete, and replies held to each "
        "comment (log scale, zeros apart)."
    )
    figure = ReportFigure(
        "threads", drawing.to_svg(charts.distribution_chart(parts), "threads", "Size of threads"), words
    )
    return ReportSection(name, title, sentences, [figure], [_distribution_rows(parts)])


def follow_graph_section(data: ReportData) -> ReportSection:
    """The degrees of the follow graph, and the lists that it is made of."""
    name, title = "network", "Follow graph"
    if not data.degrees:
        asked = (
            f" {pluralize(len(data.follow_lists), 'list')} were asked." if data.follow_lists else " No list was asked."
        )
        return ReportSection(name, title, [f"No follow relation is held.{asked}"])
    whole = [look for look in data.follow_lists if look.state == "complete"]
    sentences = [
        (
            f"{pluralize(data.overall.follows, 'relation')} between accounts are held, from "
            f"{pluralize(len(whole), 'list')} that ended as they should, of {len(data.follow_lists)} asked. Only the lists of "
            "the panel were asked: the degree of every other account counts its ties to the panel alone. Of long "
            "lists the API gives the newest only."
        )
    ]
    rows = [
        [
            "followers" if look.entity == "followers" else "followed accounts", f"@{look.account}", look.state,
            format_number(look.kept), format_number(look.expected), format_share(look.kept, look.expected or 0),
            format_minute(look.completed_at),
        ]
        for look in data.follow_lists[:MAX_LISTS]
    ]  # fmt: skip
    columns = [
        *text_columns("list", "account", "state"),
        *number_columns("rows held", "expected", "share"),
        *time_columns("completed (UTC)"),
    ]
    more = len(data.follow_lists) - MAX_LISTS
    note = "Expected: the number that the profile tells." + (f" {pluralize(more, 'list')} more." if more > 0 else "")
    words = "Of the accounts with ties, the share that has at least so many (complementary cumulative, both axes log)."
    figure = ReportFigure("network", drawing.to_svg(charts.degree_chart(data.degrees), "network", "Degrees"), words)
    return ReportSection(name, title, sentences, [figure], [ReportTable("Lists", columns, rows, note=note)])


def data_age_section(data: ReportData) -> ReportSection:
    """How old videos were when they were counted, and how old the counts are."""
    name, title = "ages", "Age of counts"
    parts = [part for part in data.ages if part.bins]
    if not parts:
        return ReportSection(name, title, ["No video is held, so no count has an age."])
    when, since = data.ages
    again = sum(videos for times, videos in data.observations if times > 1)
    sentences = [
        (
            f"Counts were taken when the median video was {format_number(when.median)} days old (from {format_number(when.lower_quartile)} "
            f"to {format_number(when.upper_quartile)} for the middle half). When the marts were built, the median count was "
            f"{format_number(since.median)} days old. "
        )
        + (f"{pluralize(again, 'video')} were observed more than once." if again else "Each video was observed once.")
    ]
    words = (
        "Age of each video when its newest counts were taken, and age of these counts when the marts were built. "
        "The dashed line is the median."
    )
    figure = ReportFigure(
        "ages", drawing.to_svg(charts.distribution_chart(parts, log=False), "ages", "Age of counts"), words
    )
    tables = [_distribution_rows(parts)]
    if again:
        observed = [[format_number(times), format_number(videos)] for times, videos in data.observations]
        tables.append(ReportTable("Observations of a video", number_columns("times", "videos"), observed))
    return ReportSection(name, title, sentences, [figure], tables)

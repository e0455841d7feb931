"""The sections of a report before the methods: their sentences, captions and tables, in the order of the page.

Not here: the methods section (see methods.py), the charts (see charts.py), the order of the sections (see write.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial

from research_assets.clock import week_of
from research_assets.planning.messages import pluralize
from research_assets.report import charts, drawing
from research_assets.report.data import (
    DailyRequests,
    Distribution,
    RankedItem,
    ReportData,
    SampledComments,
    StudyDay,
    UnitGroup,
)
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
    error_text,
    format_day,
    format_minute,
    format_number,
    format_percent,
    format_share,
    join_words,
    round_finite,
    unit_label,
    unit_nouns,
    was_were,
)
from research_assets.report.methods import without_list_text
from research_assets.text import one_line, short_label
from research_assets.units.coverage import NO_VIDEO_FOUND, SETTLED, state_label, worst_state

MAX_MISSING_ROWS = 100
"""Maximum number of reasons in the table of missing units; the most frequent are shown."""

MAX_REASON_CHARACTERS = 300
"""Maximum length of a reason in the table of missing units."""

MAX_LISTS = 60
"""Maximum number of follow lists in a table."""

_REPORTED_NOTE = (
    "Reported: raw hits that the API counted at the first complete observation of the day, whether or not it returned "
    "them. The hits of a search that covered several days are divided among these days. Retained: distinct rows that "
    "this observation returned. Videos: all that any observation returned. Not returned again: those of them that "
    "neither the newest complete observation nor a later attempt returned."
)


def volume_section(data: ReportData) -> ReportSection:
    """Return videos by publication day, with incomplete days and API changes marked."""
    name, title = "volume", "Volume by day"
    if not data.days:
        return ReportSection(name, title, ["No day of this study was requested yet, and no day is due."])
    days, weekly = data.days, len(data.days) > MAX_DAYS
    markers = change_markers(data.api_changes_of("published"), days[0].day, days[-1].day)
    chart = partial(charts.volume_chart, _group_by_week(days) if weekly else days, markers, 7 if weekly else 1)
    unit = "week" if weekly else "day"
    caption = [f"Videos by {unit} of publication (UTC)."]
    if any(day.state != "complete" for day in days):
        caption.append(f"A pattern behind the bar marks a {unit} that is not complete; its bar shows the data so far.")
    caption.append(markers_text(markers))
    if data.api_changes_of("observed"):
        caption.append("API changes that depend on the collection date are shown in the next section.")
    rows = [
        [str(day.day), state_label(day.state), format_number(day.offered), format_number(day.kept),
         format_number(day.videos), format_number(day.not_returned), format_number(day.creators),
         format_number(day.comments),
         format_number(day.views_median)]
        for day in days
    ]  # fmt: skip
    columns = [
        *time_columns("day"),
        *text_columns("state"),
        *number_columns(
            "reported",
            "retained",
            "videos",
            "not returned again",
            "creators",
            "comments (sample)" if data.sampled_comments.estimate is not None else "comments",
            "median views",
        ),
    ]
    figure = ReportFigure("volume", chart, f"Videos by {unit} of publication", " ".join(filter(None, caption)))
    return ReportSection(
        name,
        title,
        _volume_sentences(days),
        [figure],
        [ReportTable("Days", columns, rows, note=_REPORTED_NOTE)],
    )


def _volume_sentences(days: Sequence[StudyDay]) -> list[str]:
    states = Counter(day.state for day in days)
    videos = sum(day.videos for day in days)
    total = f"{pluralize(videos, 'video')} of {pluralize(len(days), 'day')} {was_were(videos)} collected."
    others = [f"{amount} {state_label(state)}" for state, amount in _ordered_states(states) if state != "complete"]
    complete = (
        f"{states['complete']} of {pluralize(len(days), 'day')} {'is' if states['complete'] == 1 else 'are'} complete; "
        f"the others are not: {join_words(others)}."
        if others
        else "Every day is complete."
    )
    sentences = [f"{total} {complete} A video belongs to the day on which it was published (UTC)."]
    searched = [day for day in days if day.state in ("complete", "suspicious")]
    if searched and not any(day.videos or day.offered for day in days):
        sentences.insert(0, f"{NO_VIDEO_FOUND} {pluralize(len(searched), 'day')} {was_were(len(searched))} searched.")
    if counted := [day for day in days if day.state == "complete" and day.videos]:
        most, least = max(counted, key=lambda day: day.videos), min(counted, key=lambda day: day.videos)
        mean = sum(day.videos for day in counted) / len(counted)
        sentences.append(
            f"Complete days with videos have {_mean_text(mean, 'video')} on average. The minimum is "
            f"{format_number(least.videos)} ({format_day(least.day)}), the maximum {format_number(most.videos)} "
            f"({format_day(most.day)})."
        )
    return sentences


def _ordered_states(states: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(state, states[state]) for state in drawing.STATE_STYLES if states.get(state)]


def _group_by_week(days: Sequence[StudyDay]) -> list[StudyDay]:
    """Return weeks that start at the first day. A week has the worst state of its days."""
    weeks = []
    for start in range(0, len(days), 7):
        week = days[start : start + 7]
        state = worst_state([day.state for day in week])
        weeks.append(replace(week[0], state=state, videos=sum(day.videos for day in week)))
    return weeks


def observations_section(data: ReportData) -> ReportSection:
    """Return observations of videos by UTC day, with the API changes that depend on the collection date."""
    name, title = "observed", "Observations over time"
    if not (days := _observed_days(data)):
        return ReportSection(name, title, ["No video was observed yet."])
    rows, weekly = data.observed, data.observed_step > 1
    unit = "week" if weekly else "day"
    total, first = sum(one.n_observations for one in rows), sum(one.n_first for one in rows)
    later = f" and {pluralize(total - first, 'later observation')}" if total > first else ""
    when = (
        f"between {format_day(days[0])} and {format_day(days[1])}" if days[0] < days[1] else f"on {format_day(days[0])}"
    )
    sentences = [
        (
            f"Videos were observed {when} (UTC): {pluralize(first, 'first observation')}{later}. These dates are "
            "collection dates. A video belongs to the day on which it was published; its counts and fields belong to "
            "the day on which they were collected. Most known API changes depend on the collection date."
        ),
        _changes_in_force(data, *days),
    ]
    figures = [_observations_figure(data, unit, *days)] if len(rows) > 1 else []
    columns = [
        *time_columns(f"{unit} of collection"),
        *number_columns(
            "observations",
            "first observations",
            "later observations",
            "median views at first observation",
            "median age at first observation, days",
            "younger than 10 days",
        ),
    ]
    cells = [
        [str(one.day), format_number(one.n_observations), format_number(one.n_first),
         format_number(one.n_observations - one.n_first), format_number(one.views_median),
         format_number(one.age_median), format_number(one.n_young)]
        for one in rows
    ]  # fmt: skip
    note = (
        "Younger than 10 days: observations of videos of that age. Their counts may be of any time since publication."
    )
    table = ReportTable(f"Observations by {unit}", columns, cells, note=note)
    return ReportSection(name, title, sentences, figures, [table])


def _observed_days(data: ReportData) -> tuple[date, date] | None:
    """Return the first and the last day on which a video was observed."""
    first, last = data.observed_range
    return (first.date(), last.date()) if first and last else None


def _observations_figure(data: ReportData, unit: str, first: date, last: date) -> ReportFigure:
    markers = change_markers(data.api_changes_of("observed"), first, last)
    caption = (
        f"Observations of videos by UTC {unit} of collection, and the median views of videos at their first "
        "observation. Older videos have more views; the table lists their median age. "
        f"{markers_text(markers)}"
    )
    chart = partial(charts.observations_chart, data.observed, markers, data.observed_step)
    return ReportFigure("observed", chart, f"Observations of videos by {unit} of collection", caption.strip())


def _changes_in_force(data: ReportData, first: date, last: date) -> str:
    """Return the sentence about changes that began before the first observation and had not ended by the last."""
    in_force = [
        change
        for change in data.api_changes_of("observed")
        if (change.first is None or change.first < first) and (change.last is None or change.last >= last)
    ]
    if not in_force:
        return "No known API change was in force on all of these days."
    numbers = join_words([str(change.number) for change in in_force])
    return (
        f"{pluralize(len(in_force), 'known API change')} began before the first of these days and had not ended by the "
        f"last, as far as known: {numbers} in the table of API changes in the methods section. All of these "
        "observations are affected, so the chart has no line for such a change."
    )


def coverage_section(data: ReportData) -> ReportSection:
    """Return the units of each entity by state, and the units that are not complete by reason."""
    name, title = "coverage", "Coverage by entity"
    if not data.units:
        return ReportSection(name, title, ["No unit of this study was requested yet."])
    total = sum(group.units for group in data.units)
    settled = sum(group.units for group in data.units if group.state in SETTLED)
    complete = sum(group.units for group in data.units if group.state == "complete")
    n_open = total - settled
    sentences = [
        (
            "A unit is the smallest amount of data that can be complete: a day of the search, the comments of a video, "
            "the replies to a comment, or the profile or a list of an account in one period. "
            f"Of {pluralize(total, 'unit')}, {format_number(complete)} ({format_share(complete, total)}) are complete "
            f"and {format_number(settled - complete)} ({format_share(settled - complete, total)}) are refused or not "
            "found by the API, which gives no reason. "
        )
        + (f"{pluralize(n_open, 'unit')} {'is' if n_open == 1 else 'are'} open." if n_open else "No unit is open.")
    ]
    ordered = ordered_units(data.units)
    rows = [
        [unit_label(group.entity, group.kind), state_label(group.state), format_number(group.units),
         format_number(group.asked), format_number(group.offered), format_number(group.kept),
         format_number(group.expected), format_number(round(group.requests, 1))]
        for group in ordered
    ]  # fmt: skip
    columns = [
        *text_columns("units of", "state"),
        *number_columns("units", "requested", "reported", "retained", "expected", "requests"),
    ]
    note = (
        "Numbers of rows, except units and requests. Requested: rows that the requests asked for. Reported: raw hits "
        "that the API counted. Retained: distinct rows that were returned and stored. Expected: rows that another "
        "field announced, such as the comment count of a video. Rows are those of the newest complete attempt at each "
        "unit, or of its newest attempt without one; requests are those of all attempts. In the mart coverage these "
        "columns have the names asked, offered, kept and expected; the state not requested has the name not_asked."
    )
    texts = (
        _missing_kinds(data.units),
        _canary_text(data),
        _followed_text(data),
        _excess_text(data),
        _rejected_text(data),
    )
    sentences += [text for text in texts if text]
    tables = [ReportTable("Units by state", columns, rows, note=note)]
    if data.canaries:
        canary_rows = [
            [
                str(one.day),
                format_number(one.found + one.not_found),
                format_number(one.found),
                format_number(one.not_found),
            ]
            for one in data.canaries
        ]
        canary_columns = [*time_columns("day of the check"), *number_columns("videos", "found", "not found")]
        tables.append(ReportTable("Canary checks", canary_columns, canary_rows))
    if data.gaps:
        tables.append(_missing_units_table(data))
    caption = "Share of units in each state, by kind of unit. The numbers in the bars are units."
    figure = ReportFigure("coverage", partial(charts.coverage_chart, ordered), "Coverage by entity", caption)
    return ReportSection(name, title, sentences, [figure], tables)


def _missing_kinds(units: Sequence[UnitGroup]) -> str:
    """Return how many units of each kind are not complete."""
    totals, missing = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for group in ordered_units(units):
        totals[group.entity, group.kind] += group.units
        missing[group.entity, group.kind] += group.units * (group.state != "complete")
    parts = [f"{format_number(n)} of {pluralize(totals[kind], *unit_nouns(*kind))}" for kind, n in missing.items() if n]
    return f"Not complete, by kind of unit: {join_words(parts)}." if parts else ""


def _rejected_text(data: ReportData) -> str:
    """Return how many elements and values of the responses could not be used, by entity."""
    parts = [
        f"{pluralize(one.elements, 'element')} and {pluralize(one.values, 'value')} for {one.entity}"
        for one in data.rejected
    ]
    return f"Not usable, in the mart rejected_rows: {join_words(parts)}." if parts else ""


def _canary_text(data: ReportData) -> str:
    """Return the results of the weekly searches for previously collected videos."""
    found, not_found = sum(one.found for one in data.canaries), sum(one.not_found for one in data.canaries)
    if not data.canaries:
        return "No canary check (a weekly search for previously collected videos) was made."
    answered = (
        ", which shows that the API answered the query. It gives no reason for those that it did not return"
        if found
        else ". Either all of them are unavailable, or the API did not answer the query; it gives no reason"
    )
    return (
        f"Canary checks searched for previously collected videos on {pluralize(len(data.canaries), 'day')}: "
        f"{format_number(found)} of {pluralize(found + not_found, 'video')} ({format_share(found, found + not_found)}) "
        f"{was_were(found)} found{answered}."
    )


def _followed_text(data: ReportData) -> str:
    """Return what the videos of missing panel accounts show about them."""
    one = data.followed
    number = one.renamed + one.present + one.gone + one.unknown
    if not number:
        return ""
    results = (
        (one.renamed, "renamed, because a video has another handle now"),
        (one.present, "not renamed, because a video has the same handle, although no profile is returned"),
        (one.gone, "without any returned video (deleted, banned or private, which the API does not distinguish)"),
        (one.unknown, "unknown, because the search returned no video at all"),
    )
    listed = "; ".join(f"{format_number(count)} {text}" for count, text in results if count)
    accounts = pluralize(number, "panel account")
    return f"The API found no profile of {accounts}, so videos of them were searched for: {listed}."


def _excess_text(data: ReportData) -> str:
    """Return how many lists have more rows than were announced, and why."""
    excess = data.excess
    if not excess.units:
        return ""
    return (
        f"{pluralize(excess.units, 'list')} {'has' if excess.units == 1 else 'have'} more retained rows than "
        f"announced, {format_number(excess.rows)} more in all: the announced number is a count of another page, which "
        "was observed before the list and was then up to 10 days old, and rows were added in between."
    )


def _missing_units_table(data: ReportData) -> ReportTable:
    shown = sorted(data.gaps, key=lambda gap: -gap.units)[:MAX_MISSING_ROWS]
    rows = [
        [
            unit_label(gap.entity, gap.kind),
            state_label(gap.state),
            one_line(gap.reason, MAX_REASON_CHARACTERS),
            format_number(gap.units),
            format_minute(gap.next_try),
        ]
        for gap in shown
    ]
    columns = [
        *text_columns("units of", "state", "reason"),
        *number_columns("units"),
        *time_columns("next try (UTC)"),
    ]
    more = len(data.gaps) - len(shown)
    note = f"{pluralize(more, 'less frequent reason')} not shown." if more else ""
    return ReportTable("Missing units by reason", columns, rows, is_collapsed=False, note=note)


def ordered_units(units: Sequence[UnitGroup]) -> list[UnitGroup]:
    """Return unit groups in the order of `UNIT_LABELS`, and by state within a kind of unit."""
    order = list(UNIT_LABELS)
    position = {key: index for index, key in enumerate(order)}
    states = list(drawing.STATE_STYLES)
    return sorted(
        units, key=lambda group: (position.get((group.entity, group.kind), len(order)), states.index(group.state))
    )


def quota_section(data: ReportData, caps: Mapping[str, int]) -> ReportSection:
    """Return the requests of the study by day and endpoint. `caps` are the daily requests of each pool."""
    name, title = "quota", "Quota usage"
    if not data.daily_requests:
        return ReportSection(name, title, ["No request was sent for this study yet."])
    overall, daily = data.overall, data.daily_requests
    n_days = len({one.day for one in daily})
    sentences = [
        (
            f"{pluralize(overall.requests, 'request')} counted against the quota on {pluralize(n_days, 'day')}: "
            f"{format_number(overall.requests - overall.failed)} were answered, "
            f"{format_number(overall.failed - overall.refused)} failed, and {format_number(overall.refused)} "
            f"{was_were(overall.refused)} rejected because the daily quota was exhausted. Failed requests count too. A "
            "request for an account that is private or not found is a failed request."
        )
    ]
    weekly = (daily[-1].day - daily[0].day).days > MAX_DAYS
    unit = "week" if weekly else "day"
    markers = change_markers(data.api_changes_of("observed"), daily[0].day, daily[-1].day)
    chart = partial(
        charts.quota_chart, _requests_by_week(daily) if weekly else daily, caps, markers, 7 if weekly else 1
    )
    caption = f"Requests of this study by UTC {unit} and pool. {markers_text(markers)}".strip()
    endpoint_rows = [
        [one.pool, one.endpoint, format_number(one.requests), format_number(one.failed - one.refused),
         format_number(one.refused), format_number(one.rows), format_number(round_finite(one.latency))]
        for one in data.endpoints
    ]  # fmt: skip
    endpoint_columns = [
        *text_columns("pool", "endpoint"),
        *number_columns("requests", "failed", "rejected", "rows", "latency, ms"),
    ]
    daily_rows = [
        [str(one.day), one.pool, format_number(one.answered), format_number(one.failed), format_number(one.refused)]
        for one in daily
    ]
    daily_columns = [
        *time_columns("day"),
        *text_columns("pool"),
        *number_columns("answered", "failed", "rejected"),
    ]
    note = "Rejected: the daily quota was exhausted. Latency: the largest of the daily medians."
    return ReportSection(
        name,
        title,
        sentences,
        [ReportFigure("quota", chart, f"Requests by {unit}", caption)],
        [
            ReportTable("Requests by endpoint", endpoint_columns, endpoint_rows, note=note),
            ReportTable("Requests by day", daily_columns, daily_rows),
        ],
    )


def _requests_by_week(daily: Sequence[DailyRequests]) -> list[DailyRequests]:
    """Return requests by week and pool; the day of a week is its Monday."""
    weeks: dict[tuple[date, str], DailyRequests] = {}
    for one in daily:
        key = (week_of(one.day), one.pool)
        week = weeks.get(key, DailyRequests(*key, 0, 0, 0))
        weeks[key] = DailyRequests(
            *key, week.answered + one.answered, week.failed + one.failed, week.refused + one.refused
        )
    return list(weeks.values())


def hashtags_section(data: ReportData) -> ReportSection:
    """Return the hashtags with the most videos."""
    name, title = "hashtags", "Hashtags"
    if not data.hashtags:
        return ReportSection(name, title, ["No hashtag was collected: there are no videos, or they have no hashtags."])
    first = data.hashtags[0]
    sentences = [
        (
            f"The collected videos have {pluralize(data.n_hashtags, 'distinct hashtag')}. The most frequent is "
            f"#{short_label(first.name)}, with {format_number(first.videos)} of "
            f"{pluralize(data.overall.videos, 'video')} ({format_share(first.videos, data.overall.videos)}). A hashtag "
            "that the query requires is on every video by design."
        )
    ]
    columns = [*text_columns("hashtag"), *number_columns("videos", "creators", "median views", "total views")]
    chart = partial(charts.ranking_chart, data.hashtags, "videos with the hashtag", "#")
    shown = pluralize(len(data.hashtags), "hashtag")
    caption = f"The {shown} with the most videos, and the median views of these videos."
    figure = ReportFigure("hashtags", chart, "Hashtags by videos", caption)
    table = ReportTable("Hashtags", columns, _ranking_rows(data.hashtags, "#"))
    return ReportSection(name, title, sentences, [figure], [table])


def _mean_text(mean: float, noun: str) -> str:
    rounded = round(mean, 1)
    return f"{format_number(rounded)} {noun if rounded == 1 else f'{noun}s'}"


def creators_section(data: ReportData) -> ReportSection:
    """Return the creators with the most videos, and the share of videos of the most active tenth."""
    name, title = "creators", "Creators"
    if not data.creators:
        reason = "no collected video has a handle" if data.overall.videos else "no video was collected"
        return ReportSection(name, title, [f"There are no creators, because {reason}."])
    overall = data.overall
    sentences = [
        (
            f"{pluralize(overall.creators, 'account')} published the collected videos, "
            f"{_mean_text(overall.videos / overall.creators, 'video')} each on average. The 10 % of "
            f"creators with the most videos published {format_percent(data.top_share)} of the videos."
        ),
        (
            "Names are those of public accounts, as returned by the API. Check the conditions of your ethics approval "
            "before you publish them."
            if data.has_handles
            else "Accounts are numbered by their rank; the report contains no handle."
        ),
    ]
    columns = [
        *text_columns("creator"),
        *number_columns("videos", "days with videos", "median views", "total views"),
    ]
    chart = partial(charts.ranking_chart, data.creators, "videos", _handle_sign(data))
    shown = pluralize(len(data.creators), "creator")
    caption = f"The {shown} with the most videos, and the median views of these videos."
    figure = ReportFigure("creators", chart, "Creators by videos", caption)
    table = ReportTable("Creators", columns, _ranking_rows(data.creators, _handle_sign(data)))
    return ReportSection(name, title, sentences, [figure], [table])


def _handle_sign(data: ReportData) -> str:
    return "@" if data.has_handles else ""


def _ranking_rows(rows: Sequence[RankedItem], sign: str) -> list[list[str]]:
    return [
        [
            f"{sign}{short_label(row.name)}",
            format_number(row.videos),
            format_number(row.other),
            format_number(row.views_median),
            format_number(row.views),
        ]
        for row in rows
    ]


def engagement_section(data: ReportData) -> ReportSection:
    """Return the distributions of views, likes, comments and shares over the videos."""
    name, title = "engagement", "Engagement"
    parts = [part for part in data.engagement if part.number > part.absent]
    if not parts:
        return ReportSection(name, title, ["No video with counts was collected."])
    medians = join_words([_median_text(part) for part in parts])
    sentences = [
        (
            f"The medians per video are {medians}. Counts are those of the newest observation of each video, as "
            "returned by the API. They may have been up to 10 days old when they were returned."
        )
    ]
    if data.n_young:
        sentences.append(_young_text(data))
    caption = (
        "Videos by count, in classes from 1, 2, 4, 8, 16 and so on, of equal width on the log scale. Videos with a "
        "count of zero are a separate bar on the left. The dashed line is the median of all videos, including zeros."
    )
    figure = ReportFigure("engagement", partial(charts.distribution_chart, parts), "Engagement", caption)
    return ReportSection(name, title, sentences, [figure], [_distribution_rows(parts)])


def _median_text(part: Distribution) -> str:
    """Return a median with its unit; a median of zero with the share of values above zero and the mean."""
    text = f"{format_number(part.median)} {part.name.lower()[: -1 if part.median == 1 else None]}"
    if part.median != 0:
        return text
    return f"{text} ({format_share(part.values - part.zeros, part.values)} above zero, mean {format_number(part.mean)})"


def _young_text(data: ReportData) -> str:
    """Return how many videos were observed at an age at which their counts may be of any time since publication."""
    return (
        f"{format_number(data.n_young)} of {pluralize(data.overall.videos, 'video')} "
        f"({format_share(data.n_young, data.overall.videos)}) {was_were(data.n_young)} younger than 10 days at the "
        "newest observation. Their counts may be those of any time since publication, also "
        "zero (column is_within_count_lag)."
    )


def _distribution_rows(parts: Sequence[Distribution]) -> ReportTable:
    rows = [
        [part.name, format_number(part.number - part.absent), format_number(part.absent), format_number(part.zeros),
         format_share(part.values - part.zeros, part.values), format_number(part.lower_quartile),
         format_number(part.median), format_number(part.upper_quartile), format_number(part.maximum),
         format_number(part.mean)]
        for part in parts
    ]  # fmt: skip
    columns = [
        *text_columns("variable"),
        *number_columns(
            "values", "missing", "zeros", "above zero", "lower quartile", "median", "upper quartile", "maximum", "mean"
        ),
    ]
    return ReportTable("Distributions", columns, rows)


def threads_section(data: ReportData) -> ReportSection:
    """Return comments per video and replies per comment."""
    name, title = "threads", "Comment threads"
    overall = data.overall
    if not overall.comments + overall.replies:
        requested = any(group.entity == "comments" and group.state in ("complete", "partial") for group in data.units)
        reason = "the requested lists are empty" if requested else "no list was requested"
        return ReportSection(name, title, [f"No comments were collected: {reason}."])
    depths = join_words(
        [
            f"{format_number(amount)} at {'an unknown depth' if depth is None else f'depth {depth}'}"
            for depth, amount in data.depths
        ]
    )
    sentences = [
        (
            f"{pluralize(overall.comments, 'comment')} and {pluralize(overall.replies, 'reply', 'replies')} were "
            f"collected ({depths}; depth 0 is a comment on the video itself). The API returns neither the authors of "
            "comments nor removed comments."
        )
    ]
    if (sample := data.sampled_comments).estimate is not None:
        sentences.append(
            f"{format_number(sample.sampled)} of {pluralize(sample.videos, 'video')} were sampled and have a complete "
            f"list, with {pluralize(sample.comments, 'comment or reply', 'comments and replies')}. Weighted by the "
            f"inverse inclusion probability, they stand for {format_number(round(sample.estimate))} on all videos"
            f"{error_text(sample.standard_error)}. The charts are weighted: their bars "
            f"are estimates for all videos. {without_list_text(sample)}".rstrip()
        )
    parts = [part for part in data.threads if part.number]
    caption = (
        "Size of threads (log scale, zeros as a separate bar): comments and replies of each video with a complete "
        "list, and replies to each comment."
    )
    if sample.estimate is not None:
        caption += (
            f" Weighted estimates from the complete lists of {format_number(sample.sampled)} of "
            f"{pluralize(sample.videos, 'video')}; the medians are those of the sample."
        )
    figure = ReportFigure("threads", partial(charts.distribution_chart, parts), "Size of threads", caption)
    estimates = [_estimates_table(sample)] if sample.estimate is not None else []
    return ReportSection(name, title, sentences, [figure], [*estimates, _distribution_rows(parts)])


def _estimates_table(sample: SampledComments) -> ReportTable:
    """Return the weighted estimates with their standard errors."""
    drawn = f"{format_number(sample.sampled)} of {format_number(sample.videos)}"
    rows = [
        ["comments and replies", drawn, format_number(round_finite(sample.estimate)),
         format_number(round_finite(sample.standard_error))],
        ["comments and replies per video", drawn, format_number(sample.mean), format_number(sample.mean_error)],
        ["share of videos with comments", drawn, format_percent(sample.share), format_percent(sample.share_error)],
    ]  # fmt: skip
    columns = [*text_columns("quantity, all videos"), *number_columns("videos (n of N)", "estimate", "standard error")]
    note = "Estimators of Horvitz and Thompson (total) and of Hájek (mean and share); each video is drawn by itself."
    return ReportTable("Estimates from the sample", columns, rows, is_collapsed=False, note=note)


def follow_graph_section(data: ReportData) -> ReportSection:
    """Return the degree distributions of the follow graph, and the lists that it is based on."""
    name, title = "network", "Follow graph"
    lists = data.follow_lists
    if not data.overall.follows:
        requested = (
            f"{pluralize(len(lists), 'list')} {was_were(len(lists))} requested." if lists else "No list was requested."
        )
        return ReportSection(name, title, [f"No follow relation was collected. {requested}"])
    n_complete = sum(follow_list.state == "complete" for follow_list in lists)
    sentences = [
        (
            f"{pluralize(data.overall.follows, 'follow relation')} between accounts {was_were(data.overall.follows)} "
            f"collected; {n_complete} of "
            f"{pluralize(len(lists), 'requested list')} {'is' if n_complete == 1 else 'are'} complete. The chart "
            "shows the accounts whose list was read to its end only; the ties of other accounts to the panel are no "
            "degree. Of long lists the API returns the newest 4,000 to 5,000 entries, so that degree is a lower bound."
        )
    ]
    rows = [
        [
            "followers" if one.entity == "followers" else "followed accounts",
            f"{_handle_sign(data)}{short_label(one.account)}",
            state_label(one.state), format_number(one.kept), format_number(one.expected),
            format_share(one.kept, one.expected or 0), format_minute(one.completed_at),
        ]
        for one in lists[:MAX_LISTS]
    ]  # fmt: skip
    columns = [
        *text_columns("list", "account", "state"),
        *number_columns("retained", "expected", "share"),
        *time_columns("completed (UTC)"),
    ]
    more = len(lists) - MAX_LISTS
    note = (
        "Expected: the number on the profile of the account. Share: retained of expected rows."
        + ("" if data.has_handles else " An account has the same number in each section.")
        + (f" {pluralize(more, 'further list')} not shown." if more > 0 else "")
    )
    caption = (
        "Share of the accounts with a completely read list that have at least the given degree (complementary "
        "cumulative, both axes log)."
    )
    draw = partial(charts.degree_chart, data.degrees)
    figures = [ReportFigure("network", draw, "Degrees", caption)] if data.degrees else []
    table = ReportTable("Lists", columns, rows, note=note)
    return ReportSection(name, title, sentences, figures, [table])


def data_age_section(data: ReportData) -> ReportSection:
    """Return the age of videos at their newest observation, and the time since that observation."""
    name, title = "ages", "Age at observation"
    parts = [part for part in data.ages if part.bins]
    if not parts:
        return ReportSection(name, title, ["No video was collected, so there are no counts."])
    at_observation, since_observation = data.ages
    repeated = sum(videos for times, videos in data.observations if times > 1)
    sentences = [
        (
            f"At the newest observation the median age of the videos was {format_number(at_observation.median)} days "
            f"(interquartile range {format_number(at_observation.lower_quartile)} to "
            f"{format_number(at_observation.upper_quartile)}). When the marts were built, the median time since that "
            f"observation was {format_number(since_observation.median)} days; the counts were up to 10 days older. "
        )
        + (
            f"{format_number(repeated)} of {pluralize(data.overall.videos, 'video')} "
            f"({format_share(repeated, data.overall.videos)}) {was_were(repeated)} observed more than once."
            if repeated
            else "Each video was observed once."
        )
    ]
    if data.n_young:
        sentences.append(_young_text(data))
    caption = (
        "Age of each video at its newest observation, and time from that observation to the build of the marts. The "
        "dashed line is the median."
    )
    figure = ReportFigure("ages", partial(charts.distribution_chart, parts, log=False), "Age at observation", caption)
    tables = [_distribution_rows(parts)]
    if repeated:
        rows = [[format_number(times), format_number(videos)] for times, videos in data.observations]
        tables.append(ReportTable("Observations per video", number_columns("observations", "videos"), rows))
    return ReportSection(name, title, sentences, [figure], tables)

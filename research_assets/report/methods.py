"""The tables of the methods section, and the sums that its sentences are made of."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from research_assets.fields import ENTITIES
from research_assets.report.data import ApiChange, ReportData, UnitGroup
from research_assets.report.drawing import change_markers
from research_assets.report.elements import ReportSection, ReportTable, number_columns, text_columns, time_columns
from research_assets.report.formatting import (
    NO_VALUE,
    change_period,
    describe_query,
    format_day,
    format_minute,
    format_number,
    format_percent,
    format_share,
    format_time,
    join_words,
    pluralize,
    state_label,
)
from research_assets.study.spec import QueryGroups, StudySpec

# JOINED: """The methods section: every number that a paper must state, in sentences that can be copied into one.
#
# Numbers are those of the marts; what was asked, and of whom, is the study's own words.
# """


DATE_BASIS_LABELS = {"published": "day of publication", "observed": "day of asking"}
"""Which day decides whether a row is touched by a break."""

NUMBERING_NOTE = (
    "Numbers are those on the charts and in the codebook. A break decided by the day of asking touches every row that "
    "was asked in it, whenever the video was published."
)


def combine_units(data: ReportData, entity: str, kind: str | None = None) -> UnitGroup:
    """All units of an entity together, whatever their state."""
    groups = [group for group in data.units if group.entity == entity and kind in (None, group.kind)]
    promised = [group.expected for group in groups if group.expected is not None]
    first = [group.first_at for group in groups if group.first_at]
    last = [group.last_at for group in groups if group.last_at]
    return UnitGroup(
        entity,
        kind or "",
        "",
        sum(group.units for group in groups),
        sum(group.asked for group in groups),
        sum(group.offered for group in groups),
        sum(group.kept for group in groups),
        sum(promised) if promised else None,
        sum(group.requests for group in groups),
        min(first, default=None),
        max(last, default=None),
    )


def totals_table(data: ReportData) -> ReportTable:
    """What was asked, offered and kept of each entity."""
    rows = []
    for entity in ENTITIES:
        together = combine_units(data, entity)
        if together.units:
            rows.append(
                [entity, format_number(together.units), format_number(together.asked), format_number(together.offered),
                 format_number(together.kept), format_number(round(together.requests, 1)),
                 format_minute(together.first_at), format_minute(together.last_at)]
            )  # fmt: skip
    columns = [
        *text_columns("entity"),
        *number_columns("units", "asked", "offered", "kept", "requests"),
        *time_columns("first asked (UTC)", "last asked (UTC)"),
    ]
    return ReportTable("Asked, offered and kept", columns, rows, is_collapsed=False)


def column_fill_table(data: ReportData) -> ReportTable:
    """How often the columns of the videos are filled."""
    rows = [
        [
            one.column,
            one.description,
            one.since or NO_VALUE,
            format_number(one.filled),
            format_share(one.filled, data.overall.videos),
        ]
        for one in data.column_fill
        if one.column != "study"
    ]
    columns = [*text_columns("column", "meaning", "API has it since"), *number_columns("filled", "share")]
    note = "The codebook of the marts has every other one, and what is filled by month, of all studies together."
    known = any(one.since for one in data.column_fill)
    return ReportTable(
        "Columns of the mart videos, and how often they are filled", columns, rows, note=note if known else ""
    )


def requested_fields_table(study: StudySpec) -> ReportTable:
    """The fields that the requests name."""
    asked: Mapping[str, tuple[str, ...]] = {
        name: study.fields.get(name, entity.requested) for name, entity in ENTITIES.items()
    }
    rows = [[name, ", ".join(names) or "the endpoint takes none"] for name, names in asked.items()]
    return ReportTable("Fields asked for", [*text_columns("entity", "fields")], rows)


def api_changes_table(changes: Sequence[ApiChange]) -> ReportTable:
    """Known breaks in the API's data."""
    rows = [
        [
            str(change.number),
            change_period(change),
            DATE_BASIS_LABELS[change.date_basis],
            change.title,
            change.description,
            change.source,
        ]
        for change in changes
    ]
    columns = [*number_columns("no."), *text_columns("when", "decided by", "break", "what", "source")]
    return ReportTable("Breaks in the API's data", columns, rows, note=NUMBERING_NOTE)


MAX_REASONS = 8
"""Reasons told in a sentence; the table under coverage has all."""

SOFTWARE = ("research-assets", "dagster", "dbt-core", "duckdb", "altair", "vl-convert-python")
"""Packages whose versions are told."""


def methods_section(data: ReportData, study: StudySpec, origin: str, written: datetime) -> ReportSection:
    """Sentences, the query as sent, and tables. `origin` is the API's address, or `sandbox`."""
    paragraphs = {
        "Source": _source(study, origin),
        "Videos": _videos(data, study),
        "Comments": _comments(data, study),
        "Accounts": _accounts(data, study),
        "Time and cost": _requests_and_observations(data),
        "Missing": _missing(data),
        "Sampling": _sampling(data, study),
        "Breaks in the API": _api_changes(data),
        "Versions": _versions(data, written),
    }
    tables = [totals_table(data), requested_fields_table(study)]
    if data.overall.videos:
        tables.append(column_fill_table(data))
    if data.api_changes:
        tables.append(api_changes_table(data.api_changes))
    reported = [(head, words) for head, words in paragraphs.items() if words]
    return ReportSection("methods", "Methods", reported, tables=tables, code=_query_json(study.query))


def _query_json(query: QueryGroups) -> str:
    """The query as JSON, one condition a line."""
    groups = [
        f"    {json.dumps(name)}: [\n"
        + ",\n".join(f"      {json.dumps(dict(condition), ensure_ascii=False)}" for condition in conditions)
        + "\n    ]"
        for name, conditions in query.items()
    ]
    return '{\n  "query": {\n' + ",\n".join(groups) + "\n  }\n}"


def _source(study: StudySpec, origin: str) -> str:
    whence = (
        "These data are simulated: they come from the project's sandbox and say nothing about the world. They were "
        "asked as TikTok's Research API is asked"
        if origin == "sandbox"
        else f"Data were collected with TikTok's Research API ({origin})"
    )
    until = f"to {format_day(study.end)}" if study.end else "on, without an end"
    again = (
        f" and again at ages of {join_words([str(age) for age in study.reobserve_days])} days"
        if study.reobserve_days
        else ""
    )
    return (
        f"{whence}. The study wants all public videos published from {format_day(study.start)} {until} (UTC) for which "
        f"holds: {describe_query(study.query)}. The query as sent stands below. A day was asked once it was "
        f"{pluralize(study.settle_days, 'day')} old{again}."
    )


def _n_complete(data: ReportData, entity: str, kind: str) -> int:
    return sum(
        group.units for group in data.units if (group.entity, group.kind, group.state) == (entity, kind, "complete")
    )


def _videos(data: ReportData, study: StudySpec) -> str:
    together, overall = combine_units(data, "videos", "day"), data.overall
    if not together.last_at:
        return f"No day of {study.name} was asked yet."
    lost = together.offered - together.kept
    gap = (
        f" {format_number(lost)} hits were counted by the API but not delivered, as happens to videos that were deleted, "
        "made private or moderated."
        if lost > 0
        else ""
    )
    return (
        f"Of {pluralize(together.units, 'day')}, {format_number(_n_complete(data, 'videos', 'day'))} are complete. The "
        f"searches asked for {pluralize(together.asked, 'row')}; the API offered "
        f"{pluralize(together.offered, 'raw hit')}, of which {format_number(together.kept)} "
        f"({format_share(together.kept, together.offered)}) were delivered and kept.{gap} The data hold "
        f"{pluralize(overall.videos, 'video')} by {pluralize(overall.creators, 'creator')}."
    )


def _comments(data: ReportData, study: StudySpec) -> str | None:
    rule = study.comments
    if rule.videos == "none":
        return "Comments were not collected."
    whose = {
        "all": "every video whose comment count is above zero",
        "top": f"the {format_number(rule.n)} most commented videos of each day",
        "sample": f"a random {format_percent(rule.fraction)} of each day's videos (seed {rule.seed})",
    }[rule.videos]
    lists = combine_units(data, "comments", "video")
    replies = "with replies" if rule.replies == "all" else "without replies"
    promised = f" where comment counts had promised {format_number(lists.expected)}" if lists.expected else ""
    return (
        f"Comments were wanted of {whose}, {replies}. Of {pluralize(lists.units, 'video')}, "
        f"{format_number(_n_complete(data, 'comments', 'video'))} have a complete list (a video with a count of zero has one "
        f"without a request); {pluralize(data.overall.comments, 'comment')} and "
        f"{pluralize(data.overall.replies, 'reply', 'replies')} are held{promised}."
    )


def _accounts(data: ReportData, study: StudySpec) -> str | None:
    words = []
    profiles = combine_units(data, "users")
    if profiles.units:
        whose = {
            "authors": "the authors of the videos",
            "top": f"the {format_number(study.users.n)} authors of most videos",
            "panel": "the accounts of a panel",
            "none": "nobody",
        }[study.users.who]
        words.append(
            f"Profiles of {whose} were asked {study.observe}; {pluralize(data.overall.profiles, 'account')} are held "
            f"of {pluralize(profiles.units, 'profile')} asked or wanted."
        )
    if study.panel:
        lists = [
            f"{format_number(_n_complete(data, entity, 'account'))} of {pluralize(together.units, one, many)} "
            f"({pluralize(together.kept, 'row')})"
            for entity, one, many in (
                ("followers", "follower list", "follower lists"),
                ("following", "list of followed accounts", "lists of followed accounts"),
                ("liked_videos", "list of likes", "lists of likes"),
                ("reposted_videos", "list of reposts", "lists of reposts"),
                ("pinned_videos", "list of pinned videos", "lists of pinned videos"),
            )
            if (together := combine_units(data, entity)).units
        ]
        words.append(
            f"A panel of {pluralize(len(study.panel), 'account')} was asked {study.observe} for its lists; complete "
            f"are {join_words(lists)}."
            if lists
            else f"A panel of {pluralize(len(study.panel), 'account')} is wanted; its lists were not asked yet."
        )
    return " ".join(words) or None


def _requests_and_observations(data: ReportData) -> str:
    overall, age = data.overall, data.ages[0]
    if not overall.requests:
        return "No request was sent."
    counts = (
        f" Videos were observed between {format_time(data.observed_range[0])} and {format_time(data.observed_range[1])}; counts of views, likes, "
        f"comments and shares are those of the newest observation, when the median video was {format_number(age.median)} "
        "days old."
        if data.observed_range[0]
        else ""
    )
    return (
        f"Requests were sent between {format_time(overall.first_request)} and {format_time(overall.last_request)}: "
        f"{format_number(overall.requests)} in all, of which {format_number(overall.failed - overall.refused)} failed and "
        f"{format_number(overall.refused)} found the day's quota spent.{counts}"
    )


def _missing(data: ReportData) -> str:
    if not data.gaps:
        return "Nothing that the study wants is missing."
    by_reason: Counter[tuple[str, str]] = Counter()
    for gap in data.gaps:
        by_reason[gap.state, gap.reason] += gap.units
    reported = [
        f"{format_number(units)} {state_label(state)} ({reason.rstrip('.')})"
        for (state, reason), units in by_reason.most_common(MAX_REASONS)
    ]
    more = len(by_reason) - len(reported)
    rest = f"; and for {pluralize(more, 'further reason')}" if more else ""
    total = sum(by_reason.values())
    return (
        f"Of all units that were wanted (days, lists of comments or accounts, profiles), {format_number(total)} are not "
        f"held, by state and reason: {'; '.join(reported)}{rest}. The table under coverage tells them by entity."
    )


def _sampling(data: ReportData, study: StudySpec) -> str:
    if not data.sampled:
        return (
            "Nothing was sampled: every unit that the study wants has a sampling weight of 1."
            if study.comments.videos != "top"
            else "Comments are of the most commented videos only; they are no random sample and have no weights."
        )
    drawn = [
        (
            f"{pluralize(group.units, 'unit')} of {group.entity} with probability {group.inclusion_probability:g}, so that each "
            f"stands for {format_number(round(1 / group.inclusion_probability, 2))}"
        )
        for group in data.sampled
    ]
    return f"Sampled: {join_words(drawn)}. The mart comments holds the weight of each comment (sampling_weight)."


def _api_changes(data: ReportData) -> str:
    if not data.api_changes:
        return "No known break in the API's data is listed for these days."
    published, asked = [day.day for day in data.days], [one.day for one in data.daily_requests]
    parting = [
        mark.text
        for clock, days in (("published", published), ("observed", asked))
        if days
        for mark in change_markers(data.api_changes_of(clock), min(days), max(days))
    ]
    within = (
        f"Within these days began or ended: {'; '.join(dict.fromkeys(parting))}. Compare rows from before and after "
        "with care."
        if parting
        else "None of them began or ended within these days, so none parts these rows from each other."
    )
    return (
        f"{pluralize(len(data.api_changes), 'known break')} in the API's data touch the days of publication or of asking; "
        f"the table says which, and who tells of them. {within}"
    )


def _versions(data: ReportData, written: datetime) -> str:
    found = [f"{name} {installed}" for name in SOFTWARE if (installed := _installed(name))]
    return (
        f"The marts were published on {format_time(data.built_at)}; this report was written on {format_time(written)} with "
        f"{join_words([*found, f'Python {platform.python_version()}'])}."
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

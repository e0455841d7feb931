"""The methods section: every number that a paper must state, in sentences that can be copied into one.

Numbers are those of the marts; what was asked, and of whom, is the study's own words.
"""

import json
import platform
from collections import Counter
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from research_assets.collect.spec import QueryGroups, StudySpec
from research_assets.report.chart_epochs import edges
from research_assets.report.facts import Facts
from research_assets.report.methods_tables import breaks, fields_asked, filled, together_of, totals
from research_assets.report.query_words import in_words
from research_assets.report.section import Section
from research_assets.report.words import (
    counted,
    day,
    listed,
    moment,
    number,
    percent,
    share_of,
    state_word,
)

MOST_REASONS = 8
"""Reasons told in a sentence; the table under coverage has all."""

SOFTWARE = ("research-assets", "dagster", "dbt-core", "duckdb", "altair", "vl-convert-python")
"""Packages whose versions are told."""


def methods(facts: Facts, study: StudySpec, origin: str, written: datetime) -> Section:
    """Sentences, the query as sent, and tables. `origin` is the API's address, or `sandbox`."""
    paragraphs = {
        "Source": _source(study, origin),
        "Videos": _videos(facts, study),
        "Comments": _comments(facts, study),
        "Accounts": _accounts(facts, study),
        "Time and cost": _observed(facts),
        "Missing": _missing(facts),
        "Sampling": _sampling(facts, study),
        "Breaks in the API": _epochs(facts),
        "Versions": _versions(facts, written),
    }
    tables = [totals(facts), fields_asked(study)]
    if facts.overall.videos:
        tables.append(filled(facts))
    if facts.epochs:
        tables.append(breaks(facts.epochs))
    told = [(head, words) for head, words in paragraphs.items() if words]
    return Section("methods", "Methods", told, tables=tables, code=_as_sent(study.query))


def _as_sent(query: QueryGroups) -> str:
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
    until = f"to {day(study.end)}" if study.end else "on, without an end"
    again = (
        f" and again at ages of {listed([str(age) for age in study.reobserve_days])} days"
        if study.reobserve_days
        else ""
    )
    return (
        f"{whence}. The study wants all public videos published from {day(study.start)} {until} (UTC) for which "
        f"holds: {in_words(study.query)}. The query as sent stands below. A day was asked once it was "
        f"{counted(study.settle_days, 'day')} old{again}."
    )


def _complete(facts: Facts, entity: str, kind: str) -> int:
    return sum(
        group.units for group in facts.units if (group.entity, group.kind, group.state) == (entity, kind, "complete")
    )


def _videos(facts: Facts, study: StudySpec) -> str:
    together, overall = together_of(facts, "videos", "day"), facts.overall
    if not together.last_at:
        return f"No day of {study.name} was asked yet."
    lost = together.offered - together.kept
    gap = (
        f" {number(lost)} hits were counted by the API but not delivered, as happens to videos that were deleted, "
        "made private or moderated."
        if lost > 0
        else ""
    )
    return (
        f"Of {counted(together.units, 'day')}, {number(_complete(facts, 'videos', 'day'))} are complete. The "
        f"searches asked for {counted(together.asked, 'row')}; the API offered "
        f"{counted(together.offered, 'raw hit')}, of which {number(together.kept)} "
        f"({share_of(together.kept, together.offered)}) were delivered and kept.{gap} The data hold "
        f"{counted(overall.videos, 'video')} by {counted(overall.creators, 'creator')}."
    )


def _comments(facts: Facts, study: StudySpec) -> str | None:
    rule = study.comments
    if rule.videos == "none":
        return "Comments were not collected."
    whose = {
        "all": "every video whose comment count is above zero",
        "top": f"the {number(rule.n)} most commented videos of each day",
        "sample": f"a random {percent(rule.fraction)} of each day's videos (seed {rule.seed})",
    }[rule.videos]
    lists = together_of(facts, "comments", "video")
    replies = "with replies" if rule.replies == "all" else "without replies"
    promised = f" where comment counts had promised {number(lists.expected)}" if lists.expected else ""
    return (
        f"Comments were wanted of {whose}, {replies}. Of {counted(lists.units, 'video')}, "
        f"{number(_complete(facts, 'comments', 'video'))} have a complete list (a video with a count of zero has one "
        f"without a request); {counted(facts.overall.comments, 'comment')} and "
        f"{counted(facts.overall.replies, 'reply', 'replies')} are held{promised}."
    )


def _accounts(facts: Facts, study: StudySpec) -> str | None:
    words = []
    profiles = together_of(facts, "users")
    if profiles.units:
        whose = {
            "authors": "the authors of the videos",
            "top": f"the {number(study.users.n)} authors of most videos",
            "panel": "the accounts of a panel",
            "none": "nobody",
        }[study.users.who]
        words.append(
            f"Profiles of {whose} were asked {study.observe}; {counted(facts.overall.profiles, 'account')} are held "
            f"of {counted(profiles.units, 'profile')} asked or wanted."
        )
    if study.panel:
        lists = [
            f"{number(_complete(facts, entity, 'account'))} of {counted(together.units, one, many)} "
            f"({counted(together.kept, 'row')})"
            for entity, one, many in (
                ("followers", "follower list", "follower lists"),
                ("following", "list of followed accounts", "lists of followed accounts"),
                ("liked_videos", "list of likes", "lists of likes"),
                ("reposted_videos", "list of reposts", "lists of reposts"),
                ("pinned_videos", "list of pinned videos", "lists of pinned videos"),
            )
            if (together := together_of(facts, entity)).units
        ]
        words.append(
            f"A panel of {counted(len(study.panel), 'account')} was asked {study.observe} for its lists; complete "
            f"are {listed(lists)}."
            if lists
            else f"A panel of {counted(len(study.panel), 'account')} is wanted; its lists were not asked yet."
        )
    return " ".join(words) or None


def _observed(facts: Facts) -> str:
    overall, age = facts.overall, facts.ages[0]
    if not overall.requests:
        return "No request was sent."
    counts = (
        f" Videos were observed between {moment(facts.seen[0])} and {moment(facts.seen[1])}; counts of views, likes, "
        f"comments and shares are those of the newest observation, when the median video was {number(age.median)} "
        "days old."
        if facts.seen[0]
        else ""
    )
    return (
        f"Requests were sent between {moment(overall.first_request)} and {moment(overall.last_request)}: "
        f"{number(overall.requests)} in all, of which {number(overall.failed - overall.refused)} failed and "
        f"{number(overall.refused)} found the day's quota spent.{counts}"
    )


def _missing(facts: Facts) -> str:
    if not facts.gaps:
        return "Nothing that the study wants is missing."
    by_reason: Counter[tuple[str, str]] = Counter()
    for gap in facts.gaps:
        by_reason[gap.state, gap.reason] += gap.units
    told = [
        f"{number(units)} {state_word(state)} ({reason.rstrip('.')})"
        for (state, reason), units in by_reason.most_common(MOST_REASONS)
    ]
    more = len(by_reason) - len(told)
    rest = f"; and for {counted(more, 'further reason')}" if more else ""
    total = sum(by_reason.values())
    return (
        f"Of all units that were wanted (days, lists of comments or accounts, profiles), {number(total)} are not "
        f"held, by state and reason: {'; '.join(told)}{rest}. The table under coverage tells them by entity."
    )


def _sampling(facts: Facts, study: StudySpec) -> str:
    if not facts.drawn:
        return (
            "Nothing was sampled: every unit that the study wants has a sampling weight of 1."
            if study.comments.videos != "top"
            else "Comments are of the most commented videos only; they are no random sample and have no weights."
        )
    drawn = [
        (
            f"{counted(group.units, 'unit')} of {group.entity} with probability {group.probability:g}, so that each "
            f"stands for {number(round(1 / group.probability, 2))}"
        )
        for group in facts.drawn
    ]
    return f"Sampled: {listed(drawn)}. The mart comments holds the weight of each comment (sampling_weight)."


def _epochs(facts: Facts) -> str:
    if not facts.epochs:
        return "No known break in the API's data is listed for these days."
    published, asked = [day.day for day in facts.days], [one.day for one in facts.spent]
    parting = [
        mark.words
        for clock, days in (("published", published), ("observed", asked))
        if days
        for mark in edges(facts.epochs_of(clock), min(days), max(days))
    ]
    within = (
        f"Within these days began or ended: {'; '.join(dict.fromkeys(parting))}. Compare rows from before and after "
        "with care."
        if parting
        else "None of them began or ended within these days, so none parts these rows from each other."
    )
    return (
        f"{counted(len(facts.epochs), 'known break')} in the API's data touch the days of publication or of asking; "
        f"the table says which, and who tells of them. {within}"
    )


def _versions(facts: Facts, written: datetime) -> str:
    found = [f"{name} {installed}" for name in SOFTWARE if (installed := _installed(name))]
    return (
        f"The marts were published on {moment(facts.built_at)}; this report was written on {moment(written)} with "
        f"{listed([*found, f'Python {platform.python_version()}'])}."
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""The page of a report: its head, and the sections in their order."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from research_assets.collect.spec import StudySpec
from research_assets.report import style
from research_assets.report.facts import ReportData
from research_assets.report.query_words import describe_query
from research_assets.report.render import render_template
from research_assets.report.section import ReportSection
from research_assets.report.words import format_day, format_number, format_time, join_words, pluralize, state_label


def render_report(
    facts: ReportData, study: StudySpec, origin: str, now: datetime, sections: Sequence[ReportSection], beside: str = ""
) -> str:
    """The whole document. `origin` is the API's address, or `sandbox`, which the page says above everything.

    `beside` is the name of the codebook in the same folder, empty if there is none.
    """
    return render_template(
        "page.html",
        study=study.name,
        simulated=origin == "sandbox",
        span=_span(study),
        query=describe_query(study.query),
        verdict=_completeness_sentence(facts),
        tiles=_tiles(facts),
        sections=sections,
        written=format_time(now),
        built=format_time(facts.built_at),
        beside=beside,
    )


def _span(study: StudySpec) -> str:
    return (
        f"{format_day(study.start)} to {format_day(study.end)}" if study.end else f"from {format_day(study.start)} on"
    )


def _completeness_sentence(facts: ReportData) -> str:
    """Whether the days are all there, in one sentence."""
    if not facts.days:
        return "No day was asked yet."
    states = Counter(one.state for one in facts.days)
    if states["complete"] == len(facts.days):
        return f"All {pluralize(len(facts.days), 'day')} are complete."
    others = [
        f"{states[state]} {state_label(state)}" for state in style.STATE_STYLES if state != "complete" and states[state]
    ]
    return f"{states['complete']} of {pluralize(len(facts.days), 'day')} are complete; the others are not: {join_words(others)}."


def _tiles(facts: ReportData) -> list[tuple[str, str]]:
    overall = facts.overall
    values = {
        "videos": overall.videos,
        "creators": overall.creators,
        "comments": overall.comments + overall.replies,
        "profiles": overall.profiles,
        "follow relations": overall.follows,
        "likes, reposts, pins": overall.engagements,
        "requests": overall.requests,
    }
    return [(name, format_number(value)) for name, value in values.items()]

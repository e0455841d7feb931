"""The page of a report: its head, and the sections in their order."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from research_assets.collect.spec import StudySpec
from research_assets.report import style
from research_assets.report.facts import Facts
from research_assets.report.query_words import in_words
from research_assets.report.render import render
from research_assets.report.section import Section
from research_assets.report.words import counted, day, listed, moment, number, state_word


def page(
    facts: Facts, study: StudySpec, origin: str, now: datetime, sections: Sequence[Section], beside: str = ""
) -> str:
    """The whole document. `origin` is the API's address, or `sandbox`, which the page says above everything.

    `beside` is the name of the codebook in the same folder, empty if there is none.
    """
    return render(
        "page.html",
        study=study.name,
        simulated=origin == "sandbox",
        span=_span(study),
        query=in_words(study.query),
        verdict=_verdict(facts),
        tiles=_tiles(facts),
        sections=sections,
        written=moment(now),
        built=moment(facts.built_at),
        beside=beside,
    )


def _span(study: StudySpec) -> str:
    return f"{day(study.start)} to {day(study.end)}" if study.end else f"from {day(study.start)} on"


def _verdict(facts: Facts) -> str:
    """Whether the days are all there, in one sentence."""
    if not facts.days:
        return "No day was asked yet."
    states = Counter(one.state for one in facts.days)
    if states["complete"] == len(facts.days):
        return f"All {counted(len(facts.days), 'day')} are complete."
    others = [f"{states[state]} {state_word(state)}" for state in style.STATES if state != "complete" and states[state]]
    return (
        f"{states['complete']} of {counted(len(facts.days), 'day')} are complete; the others are not: {listed(others)}."
    )


def _tiles(facts: Facts) -> list[tuple[str, str]]:
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
    return [(name, number(value)) for name, value in values.items()]

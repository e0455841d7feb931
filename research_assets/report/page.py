"""The page: sections into HTML. The template escapes every text; only pictures and the style go in as they are."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from research_assets.collect.spec import StudySpec
from research_assets.report import style
from research_assets.report.facts import Facts
from research_assets.report.query_words import in_words
from research_assets.report.section import Section
from research_assets.report.words import counted, day, listed, moment, number, state_word

HERE = Path(__file__).parent


def page(facts: Facts, study: StudySpec, origin: str, now: datetime, sections: Sequence[Section]) -> str:
    """The whole document. `origin` is the API's address, or `sandbox`, which the page says above everything."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        study=study.name,
        simulated=origin == "sandbox",
        span=_span(study),
        query=in_words(study.query),
        verdict=_verdict(facts),
        tiles=_tiles(facts),
        sections=sections,
        written=moment(now),
        built=moment(facts.built_at),
        style=Markup((HERE / "page.css").read_text()),
        markup=Markup,
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

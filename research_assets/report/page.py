"""Templates into HTML. They escape every text; only pictures and the style go in as they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from research_assets.report import drawing
from research_assets.report.data import ReportData
from research_assets.report.elements import ReportSection
from research_assets.report.formatting import (
    describe_query,
    format_day,
    format_number,
    format_time,
    join_words,
    pluralize,
    state_label,
)
from research_assets.study.spec import StudySpec

# JOINED: """The page of a report: its head, and the sections in their order."""


TEMPLATE_FOLDER = Path(__file__).parent / "templates"
_TICKS = re.compile("`([^`]+)`")


def render_template(template: str, style: str = "", **values: Any) -> str:
    """A whole document from a template of this folder, with the style that all share and more of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ticked": _ticked, "breakable": _breakable}
    shared: Mapping[str, Any] = {"style": Markup((TEMPLATE_FOLDER / "page.css").read_text() + style), "markup": Markup}
    return environment.get_template(template).render(**shared, **values)


def _ticked(text: str) -> "Markup":
    """A description with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(_TICKS.sub(r"<code>\1</code>", str(escape(text))))


def _breakable(name: str) -> "Markup":
    """A name that may be parted after its dots and underscores, where a line is too short for it."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([._])", r"\1<wbr>", str(escape(name))))


def render_report(
    data: ReportData, study: StudySpec, origin: str, now: datetime, sections: Sequence[ReportSection], beside: str = ""
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
        verdict=_completeness_sentence(data),
        tiles=_tiles(data),
        sections=sections,
        written=format_time(now),
        built=format_time(data.built_at),
        beside=beside,
    )


def _span(study: StudySpec) -> str:
    return (
        f"{format_day(study.start)} to {format_day(study.end)}" if study.end else f"from {format_day(study.start)} on"
    )


def _completeness_sentence(data: ReportData) -> str:
    """Whether the days are all there, in one sentence."""
    if not data.days:
        return "No day was asked yet."
    states = Counter(one.state for one in data.days)
    if states["complete"] == len(data.days):
        return f"All {pluralize(len(data.days), 'day')} are complete."
    others = [
        f"{states[state]} {state_label(state)}"
        for state in drawing.STATE_STYLES
        if state != "complete" and states[state]
    ]
    return f"{states['complete']} of {pluralize(len(data.days), 'day')} are complete; the others are not: {join_words(others)}."


def _tiles(data: ReportData) -> list[tuple[str, str]]:
    overall = data.overall
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

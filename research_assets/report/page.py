"""Rendering of pages: Jinja templates to HTML, and the page of a report with its header and sections.

Templates escape every text; only charts and the style sheet are included without escaping.
Not here: the contents of sections (see sections.py and methods.py), the page of the codebook (see codebook.py).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research_assets.planning.messages import pluralize
from research_assets.report import drawing
from research_assets.report.data import ReportData
from research_assets.report.drawing_process import Picture
from research_assets.report.elements import ReportSection
from research_assets.report.fonts import font_css
from research_assets.report.formatting import (
    describe_query,
    format_day,
    format_number,
    format_time,
    join_words,
)
from research_assets.study.spec import StudySpec
from research_assets.text import html_text
from research_assets.units.coverage import state_label

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
_CODE = re.compile("`([^`]+)`")


def render_report(
    data: ReportData,
    study: StudySpec,
    origin: str,
    now: datetime,
    sections: Sequence[ReportSection],
    pictures: Mapping[str, Picture],
    codebook_file: str = "",
) -> str:
    """Return the HTML of a report.

    `pictures` contains the picture of each figure by name. `origin` is the address of the API, or `sandbox`, which
    shows a banner at the top of the page. `codebook_file` is the name of the codebook in the same folder; empty if
    there is none.
    """
    return render_template(
        "page.html",
        drawing.dark_css(),
        study=study.name,
        heading=study.heading,
        simulated=origin == "sandbox",
        period=_period(study),
        query=describe_query(study.query),
        completeness=_completeness_sentence(data) + _outside_sentence(data, study),
        totals=_totals(data),
        sections=sections,
        pictures=pictures,
        written=format_time(now),
        published=format_time(data.built_at),
        codebook_file=codebook_file,
    )


def render_template(template: str, style: str = "", **values: Any) -> str:
    """Return the HTML of a template. `style` is CSS after that of the font and of page.css."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        # Each value of a template passes it before it is escaped.
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _mark_code, "breakable": _mark_breaks}
    css = (TEMPLATE_FOLDER / "page.css").read_text(encoding="utf-8")
    shared: Mapping[str, Any] = {"style": Markup(font_css() + css + style), "markup": Markup}
    return environment.get_template(template).render(**shared, **values)


def _printable(value: Any) -> Any:
    """Return a text as text of a page. Markup is the page's own."""
    return html_text(value) if type(value) is str else value


def _mark_code(text: str) -> "Markup":
    """Return a text in which parts between backticks are marked as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(html_text(text)))))


def _mark_breaks(name: str) -> "Markup":
    """Return a name with possible line breaks after its dots and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([._])", r"\1<wbr>", str(escape(html_text(name)))))


def _period(study: StudySpec) -> str:
    return f"{format_day(study.start)} to {format_day(study.end)}" if study.end else f"since {format_day(study.start)}"


def _completeness_sentence(data: ReportData) -> str:
    """Return how many days are complete, and the states of the others."""
    if not data.days:
        return "No day was requested yet."
    states = Counter(one.state for one in data.days)
    if states["complete"] == len(data.days):
        return f"All {len(data.days):,} days are complete." if len(data.days) > 1 else "The only day is complete."
    others = [
        f"{states[state]} {state_label(state)}"
        for state in drawing.STATE_STYLES
        if state != "complete" and states[state]
    ]
    return (
        f"{states['complete']} of {pluralize(len(data.days), 'day')} {'is' if states['complete'] == 1 else 'are'} "
        f"complete; the others are not: {join_words(others)}."
    )


def _outside_sentence(data: ReportData, study: StudySpec) -> str:
    n_days = len(data.days_outside(study.start, study.end))
    return f" {n_days} of these days {'is' if n_days == 1 else 'are'} outside of the study's period." if n_days else ""


def _totals(data: ReportData) -> list[tuple[str, str]]:
    overall = data.overall
    values = {
        "videos": overall.videos,
        "creators": overall.creators,
        "comments (sample)" if data.sampled_comments.estimate is not None else "comments": overall.comments
        + overall.replies,
        "profiles": overall.profiles,
        "follow relations": overall.follows,
        "likes, reposts, pins": overall.engagements,
        "requests": overall.requests,
    }
    return [(name, format_number(value)) for name, value in values.items()]

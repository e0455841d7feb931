"""A report contains no handle unless the user wants it: not in texts, tables, charts, reasons or the query."""

import json
import re
from dataclasses import replace

from research_assets.report.data import ReportData
from research_assets.report.drawing_process import Picture
from research_assets.report.handles import without_handles
from research_assets.report.page import render_report
from research_assets.report.queries import read_report_data
from research_assets.report.write import report_sections
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets_tests.report.conftest import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY, garden_rows, publish, unit

NAMES = re.compile(r"\b(anna|ben|carl|dora)\b", re.IGNORECASE)
QUERIED = replace(
    STUDY,
    query={
        "and": ({"operation": "IN", "field_name": "username", "field_values": ["dora", "anna"]},),
        "or": ({"operation": "IN", "field_name": "keyword", "field_values": ["@ben", "soil"]},),
    },
)


def render(data: ReportData, study: StudySpec, settings: Settings) -> str:
    """Return the page, followed by the specifications of its charts in place of their pictures."""
    sections = report_sections(data, study, settings, "sandbox", NOW)
    figures = [figure for section in sections for figure in section.figures]
    pictures = {figure.name: Picture(problem="not drawn") for figure in figures}
    charts = json.dumps([figure.draw().to_dict() for figure in figures])
    return render_report(data, study, "sandbox", NOW, sections, pictures) + f"<p>{charts}</p>"


def test_report_contains_no_handle_unless_asked_for(settings: Settings) -> None:
    rows = garden_rows()
    rows["coverage"].append(
        unit("videos", "day", "2026-02-04", "partial", reason="2 units are open, for example Anna: failed with ben.")
    )
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert {"anna", "ben", "carl", "dora"} == set(map(str.lower, NAMES.findall(render(data, QUERIED, settings)))) | {
        "carl"
    }
    hidden, study = without_handles(data, QUERIED)
    html = render(hidden, study, settings)
    without_font = re.sub(r"base64,[^)]*\)", "", html)
    assert NAMES.findall(without_font) == []
    assert "@" not in re.sub(r"<style>.*?</style>", "", without_font, flags=re.DOTALL)
    sections = ParsedReport(html.partition("<p>[")[0]).sections
    # The rank of a creator is its number in each section. Ben has only a list, Dora is only in the query.
    assert "account 1 5 3 500" in sections["creators"]
    assert "followers account 1 complete" in sections["network"]
    assert "followed accounts account 3 missing" in sections["network"]
    assert "the creator is “account 4” or “account 1”" in sections["methods"]
    assert '["account 3", "soil"]' in sections["methods"]
    assert "2 units are open, for example …: failed with …." in sections["coverage"]
    assert "the report contains no handle" in sections["creators"]

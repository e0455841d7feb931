"""A report tells what the marts hold, in a file that needs nothing, and what people wrote stays text."""

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from research_assets.report import REQUIRED_MARTS
from research_assets.report.data import ApiChange
from research_assets.report.drawing import END_MARK, START_MARK, change_markers, marker_layers
from research_assets.report.queries import read_report_data
from research_assets.report.sections import observations_section, volume_section
from research_assets.report.write import WrittenReport, write_report
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule
from research_assets.warehouse.reader import WarehouseReadError
from research_assets_tests.report.conftest import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import (
    IMAGE,
    SCRIPT,
    STATES,
    STUDY,
    VIDEOS,
    at,
    contracts,
    garden_rows,
    publish,
)

SECTIONS = (
    "volume",
    "observed",
    "coverage",
    "quota",
    "hashtags",
    "creators",
    "engagement",
    "threads",
    "network",
    "ages",
    "methods",
)


def test_the_facts_are_those_of_the_marts(written: WrittenReport) -> None:
    data = written.data
    assert [(day.state, day.videos) for day in data.days] == list(zip(STATES, VIDEOS, strict=True))
    overall = data.overall
    assert (overall.videos, overall.creators, overall.comments, overall.replies) == (6, 2, 1, 2)
    assert (overall.requests, overall.failed, overall.refused) == (25, 5, 1)
    assert [(one.day.day, one.pool, one.answered, one.failed, one.refused) for one in data.daily_requests] == [
        (8, "research", 16, 3, 1),
        (9, "follow", 3, 0, 0),
        (9, "research", 1, 1, 0),
    ]
    views = data.engagement[0]
    assert (views.number, views.zeros, views.median) == (6, 1, 275.0)
    assert [(one.low, one.high, one.number) for one in views.bins] == [
        (5, 10, 1),
        (50, 100, 1),
        (500, 1000, 1),
        (5000, 10_000, 1),
        (50_000, 100_000, 1),
    ]
    shares = data.engagement[3]
    assert (shares.number, shares.absent, shares.bins) == (6, 6, [])
    assert [(one.name, one.videos, one.other, one.views_median) for one in data.hashtags] == [
        (SCRIPT, 6, 2, 275.0),
        ("garten", 3, 1, 500.0),
    ]
    assert data.n_hashtags == 2
    assert {one.column: one.filled for one in data.column_fill if one.column in ("view_count", "share_count")} == {
        "view_count": 6,
        "share_count": 0,
    }
    assert data.depths == [(0, 1), (1, 1), (2, 1)]
    assert [(one.direction, one.degree, one.accounts, one.share) for one in data.degrees] == [
        ("followers", 2, 1, 1.0),
        ("following", 1, 2, 1.0),
    ]
    assert [change.title for change in data.api_changes] == ["Goes on", "Broken tags", "New rules"]
    assert [
        (one.day.day, one.n_observations, one.n_first, one.views_median, one.age_median) for one in data.observed
    ] == [
        (8, 2, 2, 200.0, 4.0),
        (9, 1, 0, None, None),
    ]


def test_two_private_files_and_nothing_beside_them(written: WrittenReport, report_settings: Settings) -> None:
    assert sorted(report_settings.reports.iterdir()) == [written.path, written.codebook]
    assert {path.stat().st_mode & 0o777 for path in report_settings.reports.iterdir()} == {0o600}
    assert report_settings.reports.stat().st_mode & 0o777 == 0o700


def test_nothing_is_fetched_and_nothing_runs(page: ParsedReport) -> None:
    page.is_self_contained()
    assert page.links == ["marts-codebook.html"]


def test_what_people_wrote_stays_text(html: str, page: ParsedReport) -> None:
    assert SCRIPT not in html
    assert IMAGE not in html
    assert f"#{SCRIPT}" in page.sections["hashtags"]
    assert f"@{IMAGE}" in page.sections["creators"]
    assert "</pre><script>" in page.sections["methods"]
    assert f"Search of … failed: {SCRIPT}" in page.sections["coverage"]


def test_every_section_is_there_and_can_be_reached(page: ParsedReport) -> None:
    assert tuple(page.sections) == SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= {value for name, value in page.attributes if name == "href"}
    assert [identity for identity, times in page.ids.items() if times > 1] == []


def test_every_picture_has_its_numbers_in_a_table(page: ParsedReport) -> None:
    assert page.figures
    assert all(page.tables[section] for section in page.figures)


def test_references_inside_pictures_lead_somewhere(html: str, page: ParsedReport) -> None:
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(page.ids)


def test_days_that_are_not_complete_are_told(html: str, page: ParsedReport) -> None:
    reported = "2 of 6 days are complete; the others are not: 1 partial, 1 suspicious, 1 quarantined and 1 not asked."
    assert reported in html
    assert "Where a day is not complete" in page.sections["volume"]
    assert "3: Broken tags (since 2026-02-02)" in page.sections["volume"]
    for state in ("quarantined", "suspicious", "partial"):
        assert f'id="volume-{state}"' in html


def test_a_break_stands_on_the_chart_of_its_own_clock(html: str, page: ParsedReport) -> None:
    assert "New rules" not in page.sections["volume"]
    assert "decided by the day of asking stand under the next heading" in page.sections["volume"]
    for section in ("observed", "quota"):
        assert "4: New rules (since 2026-02-09)" in page.sections[section]
        assert "Broken tags" not in page.sections[section]
    assert "1 known break began before the first of these days" in page.sections["observed"]
    assert "2 in the table of breaks under methods" in page.sections["observed"]
    assert "Videos were observed between 2026-02-08 and 2026-02-09 (UTC): 2 first looks and 1 later one." in html
    drawn = dict(re.findall(r'<svg[^>]*aria-label="([^"]*)"(.*?)</svg>', html, re.DOTALL))
    marks = {
        name: re.findall(rf">(\S*\d[{START_MARK}{END_MARK}]|[{START_MARK}{END_MARK}]\d\S*)<", svg)
        for name, svg in drawn.items()
    }
    assert marks["Videos held by day of publication"] == [f"3{START_MARK}"]
    assert marks["Observations of videos by day of asking"] == [f"4{START_MARK}"] * 2
    assert marks["Requests by day"] == [f"4{START_MARK}"] * 2


def test_marks_that_would_touch_share_a_label() -> None:
    def epoch(number: int, first: date | None, last: date | None) -> ApiChange:
        return ApiChange(number, "observed", first, last, "day", f"break {number}", "", "")

    ended, one_day, late = date(2026, 2, 9), date(2026, 2, 10), date(2026, 6, 1)
    changes = [epoch(1, None, ended), epoch(2, one_day, one_day), epoch(3, late, None), epoch(4, None, None)]
    marks = change_markers(changes, date(2026, 1, 1), date(2026, 6, 30))
    assert [(mark.day, mark.label) for mark in marks] == [
        (one_day, "2"),
        (one_day, f"{END_MARK}1"),
        (late, f"3{START_MARK}"),
    ]
    _, labels = marker_layers(marks, date(2026, 1, 1), date(2026, 6, 30))
    assert [row["label"] for row in labels.to_dict()["data"]["values"]] == [f"2, {END_MARK}1", f"3{START_MARK}"]
    # A break that ends with the last day leaves nothing after it to be parted.
    assert change_markers(changes[:1], date(2026, 1, 1), ended) == []
    assert marker_layers([], date(2026, 1, 1), ended) == []


def test_the_methods_state_what_a_paper_must(page: ParsedReport) -> None:
    reported = page.sections["methods"]
    for words in (
        "These data are simulated",
        "published from 1 February 2026 to 6 February 2026 (UTC)",
        "the creator's country of registration is “DE” or “AT”; and it does not hold that the keyword is",
        "and again at ages of 10 days",
        "Of 6 days, 2 are complete. The searches asked for 400 rows; the API offered 18 raw hits, of which 6 (33.3 %)",
        "a random 25 % of each day's videos (seed 7)",
        "25 in all, of which 4 failed and 1 found the day's quota spent",
        "2 units of comments with probability 0.25, so that each stands for 4",
        "Of all units that were wanted (days, lists of comments or accounts, profiles), 6 are not held",
        "Within these days began or ended: 3: Broken tags (since 2026-02-02); 4: New rules (since 2026-02-09).",
        "The marts were published on",
        "duckdb",
        '"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]',
    ):
        assert words in reported, words


def test_names_of_units_are_left_out_of_reasons(page: ParsedReport) -> None:
    assert "`username: …` is unknown" in page.sections["coverage"]
    assert "Comments of … are closed" in page.sections["coverage"]


def test_pictures_for_the_ui_are_small(written: WrittenReport) -> None:
    assert set(written.pictures) == {"volume", "coverage", "quota"}
    for picture in written.pictures.values():
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 100_000


def test_an_empty_study_says_so_in_each_section(settings: Settings) -> None:
    publish(settings, {})
    written = write_report(settings, replace(STUDY, comments=CommentRule("none"), panel=()), NOW)
    page = ParsedReport(written.path.read_text())
    assert tuple(page.sections) == SECTIONS
    assert not page.figures
    assert not written.pictures
    for section in SECTIONS[:-1]:
        assert re.search(r"\b(No|no|Nothing|nothing)\b", page.sections[section]), section
    assert "No day was asked yet." in written.path.read_text()
    # A codebook without columns is none.
    assert written.codebook is None
    assert page.links == []


def test_a_long_study_is_drawn_by_weeks(settings: Settings) -> None:
    rows = garden_rows()
    [template, *_] = rows["study_days"]
    rows["study_days"] = [template | {"day": date.fromordinal(STUDY.start.toordinal() + n)} for n in range(500)]
    publish(settings, rows)
    section = volume_section(read_report_data(settings, "garden"))
    [figure] = section.figures
    assert "Videos held by week" in figure.caption
    assert "1,500 videos of 500 days are held. Every day is complete." in str(section.sentences[0])
    # 71 weeks and a rest of three days.
    assert figure.svg.count("videos, complete</title>") == 72


def test_a_long_observation_is_drawn_by_weeks(settings: Settings) -> None:
    rows = garden_rows()
    [template, *_] = rows["video_observations"]
    rows["video_observations"] = [template | {"observed_at": at(1) + timedelta(days=n)} for n in range(200)]
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert data.observed_step == 7
    # The first of February 2026 was a Sunday.
    assert [(one.day, one.n_observations) for one in data.observed][:2] == [
        (date(2026, 1, 26), 1),
        (date(2026, 2, 2), 7),
    ]
    section = observations_section(data)
    assert "between 2026-02-01 and 2026-08-19" in str(section.sentences[0])
    [figure] = section.figures
    assert "by UTC week of asking" in figure.caption


def test_another_report_replaces_the_first(settings: Settings) -> None:
    publish(settings, {})
    first = write_report(settings, STUDY, NOW)
    second = write_report(settings, STUDY, NOW.replace(year=2027))
    assert first.path == second.path
    assert "written on 2027-03-02" in second.path.read_text()


def test_without_a_warehouse_it_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(WarehouseReadError, match="materialize the group warehouse"):
        write_report(settings, STUDY, NOW)
    assert not settings.reports.exists()


def test_a_warehouse_of_another_version_is_named(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="quota_usage")
    with pytest.raises(WarehouseReadError, match="no mart quota"):
        write_report(settings, STUDY, NOW)


def test_a_warehouse_without_epochs_is_fine(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="api_changes")
    assert read_report_data(settings, "garden").api_changes == []


def test_the_marts_that_are_read_exist() -> None:
    assert set(REQUIRED_MARTS) < set(contracts())

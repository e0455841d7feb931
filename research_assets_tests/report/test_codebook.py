"""The codebook: monthly fill of a column as a picture and as text, and a self-contained page."""

from datetime import date

import pytest

from research_assets.report.codebook import CodebookColumn, MonthFill, fill_svg, find_jumps, group_runs, summarize_fill
from research_assets.report.data import ApiChange
from research_assets.report.formatting import NO_VALUE
from research_assets.report.write import WrittenReport, write_report
from research_assets.settings import Settings
from research_assets_tests.report.conftest import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import SCRIPT, STUDY, garden_rows, publish


def months(*filled: int | None, rows: int = 100) -> list[MonthFill]:
    """Return months from November 2023; None is a month without rows."""
    days = [date(2023 + (10 + index) // 12, (10 + index) % 12 + 1, 1) for index in range(len(filled))]
    return [MonthFill(day, rows, count) for day, count in zip(days, filled, strict=True) if count is not None]


@pytest.fixture(scope="module")
def book(written: WrittenReport) -> ParsedReport:
    assert written.codebook is not None
    return ParsedReport(written.codebook.read_text())


def test_months_with_the_same_percentage_form_a_run() -> None:
    runs = group_runs(months(100, 100, 0, 0, None, 0, 5))
    assert [run.text for run in runs] == [
        "2023-11 to 2023-12: 100 %",
        "2024-01 to 2024-02: 0 %",
        "2024-04: 0 %",
        "2024-05: 5 %",
    ]
    assert runs[0].counts == "2023-11 to 2023-12: 100 % (200 of 200 rows)"


def test_a_fill_rate_jumps_where_it_changes_strongly_and_rows_suffice() -> None:
    assert [(one.month, one.text) for one in find_jumps(months(0, 24, 49, 20))] == [
        (date(2024, 1, 1), "2024-01: from 24 % to 49 %"),
        (date(2024, 2, 1), "2024-02: from 49 % to 20 %"),
    ]
    assert find_jumps(months(0, 29, rows=29)) == []


def test_a_jump_names_the_api_changes_close_to_it() -> None:
    def column(since: str) -> CodebookColumn:
        return CodebookColumn("a", "bigint", "", "", "", since, 300, 100, "", months(0, 0, 100))

    changes = [
        ApiChange(number, "observed", first, None, "day", "", "", "")
        for number, first in enumerate((date(2023, 11, 30), date(2023, 12, 1), date(2024, 1, 31), date(2024, 2, 1)), 1)
    ]
    whole = "0 % (2023-11) to 100 % (2024-01)"
    assert summarize_fill(column("2023"), changes) == [whole, "2024-01: from 0 % to 100 %; close to API change 2 and 3"]
    assert summarize_fill(column("2023"), []) == [whole, "2024-01: from 0 % to 100 %"]
    assert summarize_fill(column("2023-12-24"), changes) == [
        whole,
        "2024-01: from 0 % to 100 %; the API introduced the field at about this time",
    ]


def test_picture_has_a_bar_for_each_month_with_values() -> None:
    column = months(100, 50, 0, None, 1)
    svg = fill_svg(column, [one.month for one in column])
    assert 'aria-label="2023-11: 100 %; 2023-12: 50 %; 2024-01: 0 %; 2024-03: 1 %" width="80"' in svg
    # Heights of the bars: full, half and minimal. Months that are not full have a frame behind the bar.
    bars = [part.split('"')[0] for part in svg.split('<path d="')[1:]]
    assert bars == ["M0.0 25h15.0v-18.0h-15.0z", "M16.0 25h15.0v-9.0h-15.0z", "M64.0 25h15.0v-1.5h-15.0z"]
    assert svg.count('class="frame"') == 3
    assert svg.count('class="jump"') == 2


def test_page_describes_each_column(book: ParsedReport) -> None:
    assert tuple(book.sections) == ("videos", "codebook", "known-changes")
    assert book.cells["videos.view_count"] == [
        "view_count bigint, views",
        f"Views, see video_observations . {SCRIPT}",
        "videos.view_count since 2024-03-15",
        "30 % 90 of 300",
        "0 % (2024-02) to 50 % (2024-04) 2024-03: from 0 % to 40 %; the API introduced the field at about this time",
    ]
    assert book.cells["videos.like_count"][1] == "A description. for example 1, 2, 3"
    assert book.cells["videos.study"][3:] == ["100 % 300 of 300", "100 % in each month"]
    assert book.cells["codebook.mart"][3:] == [NO_VALUE, ""]
    section = book.sections["videos"]
    assert "300 rows of 3 months, 2024-02 to 2024-04. The month is that of day (publication date)." in section
    assert "The fill rate jumps in view_count and like_count ." in section
    assert "2024-02: 0 %; 2024-03: 40 %; 2024-04: 50 %" in section
    assert "The other 1 column has the same share in all months." in section
    assert "Broken tags" in book.sections["known-changes"]


def test_page_is_self_contained_and_escapes_texts(book: ParsedReport, written: WrittenReport) -> None:
    book.is_self_contained()
    assert book.links == []
    assert written.codebook is not None
    assert SCRIPT not in written.codebook.read_text()


def test_report_removes_an_older_codebook_if_the_warehouse_has_none(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="codebook")
    settings.reports.mkdir()
    old_file = settings.reports / "marts-codebook.html"
    old_file.write_text("of an older warehouse")
    written = write_report(settings, STUDY, NOW)
    assert written.codebook is None
    assert not old_file.exists()
    assert ParsedReport(written.path.read_text()).links == []

"""The codebook as a page: what a column's months show, in a picture and in words, and a page that needs nothing."""

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
    """Months from November 2023 on; None is a month without rows."""
    days = [date(2023 + (10 + place) // 12, (10 + place) % 12 + 1, 1) for place in range(len(filled))]
    return [MonthFill(day, rows, count) for day, count in zip(days, filled, strict=True) if count is not None]


@pytest.fixture(scope="module")
def book(written: WrittenReport) -> ParsedReport:
    assert written.codebook is not None
    return ParsedReport(written.codebook.read_text())


def test_months_of_one_percentage_are_told_together() -> None:
    found = group_runs(months(100, 100, 0, 0, None, 0, 5))
    assert [run.text for run in found] == [
        "2023-11 to 2023-12: 100 %",
        "2024-01 to 2024-02: 0 %",
        "2024-04: 0 %",
        "2024-05: 5 %",
    ]
    assert found[0].counts == "2023-11 to 2023-12: 100 % (200 of 200 rows)"


def test_a_fill_rate_breaks_where_it_leaps_and_there_are_rows_enough() -> None:
    assert [(one.month, one.text) for one in find_jumps(months(0, 24, 49, 20))] == [
        (date(2024, 1, 1), "2024-01: from 24 % to 49 %"),
        (date(2024, 2, 1), "2024-02: from 49 % to 20 %"),
    ]
    assert find_jumps(months(0, 29, rows=29)) == []


def test_a_break_is_told_with_what_lies_near() -> None:
    def column(since: str) -> CodebookColumn:
        return CodebookColumn("a", "bigint", "", "", "", since, 300, 100, "", months(0, 0, 100))

    changes = [
        ApiChange(number, "observed", first, None, "day", "", "", "")
        for number, first in enumerate((date(2023, 11, 30), date(2023, 12, 1), date(2024, 1, 31), date(2024, 2, 1)), 1)
    ]
    whole = "0 % (2023-11) to 100 % (2024-01)"
    assert summarize_fill(column("2023"), changes) == [whole, "2024-01: from 0 % to 100 %; near break 2 and 3"]
    assert summarize_fill(column("2023"), []) == [whole, "2024-01: from 0 % to 100 %"]
    assert summarize_fill(column("2023-12-24"), changes) == [
        whole,
        "2024-01: from 0 % to 100 %; the API got the field about then",
    ]


def test_a_picture_has_a_bar_for_each_month_with_values() -> None:
    column = months(100, 50, 0, None, 1)
    drawn = fill_svg(column, [one.month for one in column])
    assert 'aria-label="2023-11: 100 %; 2023-12: 50 %; 2024-01: 0 %; 2024-03: 1 %" width="80"' in drawn
    # Full, half and hardly: the heights of the bars; the frames behind are full where a part is missing.
    bars = [part.split('"')[0] for part in drawn.split('<path d="')[1:]]
    assert bars == ["M0.0 25h15.0v-18.0h-15.0z", "M16.0 25h15.0v-9.0h-15.0z", "M64.0 25h15.0v-1.5h-15.0z"]
    assert drawn.count('class="frame"') == 3
    assert drawn.count('class="jump"') == 2


def test_the_page_tells_each_column(book: ParsedReport) -> None:
    assert tuple(book.sections) == ("videos", "codebook", "breaks")
    assert book.cells["videos.view_count"] == [
        "view_count bigint, views",
        f"Views, see video_observations . {SCRIPT}",
        "videos.view_count since 2024-03-15",
        "30 % 90 of 300",
        "0 % (2024-02) to 50 % (2024-04) 2024-03: from 0 % to 40 %; the API got the field about then",
    ]
    assert book.cells["videos.like_count"][1] == "What it is. such as 1, 2, 3"
    assert book.cells["videos.study"][3:] == ["100 % 300 of 300", "100 % in each month"]
    assert book.cells["codebook.mart"][3:] == [NO_VALUE, ""]
    reported = book.sections["videos"]
    assert "300 rows of 3 months, 2024-02 to 2024-04. Months are those of day : of publication." in reported
    assert "The fill rate breaks in view_count and like_count ." in reported
    assert "2024-02: 0 %; 2024-03: 40 %; 2024-04: 50 %" in reported
    assert "The other 1 column has one share in all months." in reported
    assert "Broken tags" in book.sections["breaks"]


def test_it_needs_nothing_and_what_stands_in_it_stays_text(book: ParsedReport, written: WrittenReport) -> None:
    book.is_self_contained()
    assert book.links == []
    assert written.codebook is not None
    assert SCRIPT not in written.codebook.read_text()


def test_a_warehouse_without_one_leaves_none_behind(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="codebook")
    settings.reports.mkdir()
    left = settings.reports / "marts-codebook.html"
    left.write_text("of an older warehouse")
    written = write_report(settings, STUDY, NOW)
    assert written.codebook is None
    assert not left.exists()
    assert ParsedReport(written.path.read_text()).links == []

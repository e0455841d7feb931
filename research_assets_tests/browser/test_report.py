"""A report in a real browser: it is drawn whole, asks for nothing, and complains of nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from research_assets.report.serve import serve_reports
from research_assets.report.write import write_report
from research_assets.settings import Settings
from research_assets_tests.browser.page import Page
from research_assets_tests.report.report_warehouse import SCRIPT, STUDY, garden_rows, publish

BANNER = "Simulated data. Everything here comes from the project's sandbox and says nothing about the world."

DRAWN = """
return [...document.querySelectorAll('figure svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  return [svg.getAttribute('aria-label'), box.width > 400, box.height > 80, svg.querySelectorAll('path').length > 5];
});
"""
FETCHED = "return performance.getEntriesByType('resource').map(one => one.name)"
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def page(browser: Chrome, settings: Settings, tmp_path: Path) -> Iterator[Page]:
    """The served report of a few known rows."""
    publish(settings, garden_rows())
    written = write_report(settings, STUDY, datetime(2026, 3, 2, 9, tzinfo=UTC))
    with serve_reports(written.path.parent) as address:
        shown = Page(browser, address, tmp_path)
        shown.open("/garden.html")
        yield shown


def test_the_codebook_is_a_click_away_and_asks_for_nothing(page: Page) -> None:
    page.follow("codebook of the marts")
    page.wait_for_text("The marts", BANNER)
    page.screenshot("codebook")
    assert page.browser.execute_script("return document.querySelectorAll('td svg').length") == 3
    assert page.browser.execute_script(TOO_WIDE) == 0
    assert page.browser.execute_script(FETCHED) == []


def test_it_is_drawn_whole_and_asks_for_nothing(page: Page) -> None:
    page.wait_for_text("garden", BANNER)
    page.screenshot("report")
    drawn = page.browser.execute_script(DRAWN)
    assert len(drawn) == 10
    assert all(all(big) for _, *big in drawn), drawn
    assert SCRIPT in page.text
    assert page.browser.execute_script(TOO_WIDE) == 0
    assert page.browser.execute_script(FETCHED) == []
    complaints = page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [one["message"] for one in complaints if page.url in one["message"]] == []

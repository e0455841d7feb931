"""A report in a real browser: complete rendering, no further request, and no message on the console."""

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

BANNER = "Simulated data. All data on this page come from the sandbox and do not describe real accounts or videos."

CHARTS_SCRIPT = """
return [...document.querySelectorAll('figure svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  return [svg.getAttribute('aria-label'), box.width > 400, box.height > 80, svg.querySelectorAll('path').length > 5];
});
"""
FETCHED_SCRIPT = "return performance.getEntriesByType('resource').map(one => one.name)"
OVERFLOW_SCRIPT = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def page(browser: Chrome, settings: Settings, tmp_path: Path) -> Iterator[Page]:
    """Serve the report of a few known rows and open it."""
    publish(settings, garden_rows())
    written = write_report(settings, STUDY, datetime(2026, 3, 2, 9, tzinfo=UTC))
    with serve_reports(written.path.parent) as address:
        report = Page(browser, address, tmp_path)
        report.open("/garden.html")
        yield report


def test_codebook_opens_from_the_report_and_loads_no_resource(page: Page) -> None:
    page.follow("codebook of the marts")
    page.wait_for_text("The marts", BANNER)
    page.screenshot("codebook")
    assert page.browser.execute_script("return document.querySelectorAll('td svg').length") == 3
    assert page.browser.execute_script(OVERFLOW_SCRIPT) == 0
    assert page.browser.execute_script(FETCHED_SCRIPT) == []


def test_report_is_rendered_completely_and_loads_no_resource(page: Page) -> None:
    page.wait_for_text("garden", BANNER)
    page.screenshot("report")
    charts = page.browser.execute_script(CHARTS_SCRIPT)
    assert len(charts) == 10
    assert all(all(large_enough) for _, *large_enough in charts), charts
    assert SCRIPT in page.text
    assert page.browser.execute_script(OVERFLOW_SCRIPT) == 0
    assert page.browser.execute_script(FETCHED_SCRIPT) == []
    messages = page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [one["message"] for one in messages if page.url in one["message"]] == []

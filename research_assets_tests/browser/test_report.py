"""A report in a real browser: complete rendering, no further request, and no message on the console."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from selenium.webdriver import Chrome

from research_assets.report.fonts import text_width
from research_assets.report.serve import serve_reports
from research_assets.report.write import write_report
from research_assets_tests.browser.page import Page
from research_assets_tests.conftest import settings_in
from research_assets_tests.report.report_warehouse import SCRIPT, STUDY, garden_rows, publish

BANNER = "Simulated data. All data on this page come from the sandbox and do not describe real accounts or videos."

CHARTS_SCRIPT = """
return [...document.querySelectorAll('figure svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  return [svg.getAttribute('aria-label'), box.width > 400, box.height > 80, svg.querySelectorAll('path').length > 5];
});
"""
TEXTS_SCRIPT = """
const texts = [...document.querySelectorAll('figure svg text')];
return texts.filter(text => text.firstChild && text.firstChild.textContent.trim()).map(text => {
  const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
  const inside = box.left >= svg.left - 1 && box.right <= svg.right + 1 && box.top >= svg.top - 1;
  return [text.firstChild.textContent, inside, text.getComputedTextLength(), getComputedStyle(text).fontWeight];
});
"""
COLOURS_SCRIPT = """
const text = document.querySelector('figure svg text');
return [getComputedStyle(document.body).backgroundColor, getComputedStyle(text).fill];
"""
LIGHT, DARK = ["rgb(255, 255, 255)", "rgb(29, 35, 41)"], ["rgb(21, 25, 29)", "rgb(228, 232, 235)"]
FETCHED_SCRIPT = "return performance.getEntriesByType('resource').map(one => one.name)"
OVERFLOW_SCRIPT = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def reports(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Serve the report of a few known rows."""
    folder = tmp_path_factory.mktemp("report")
    settings = settings_in(folder)
    publish(settings, garden_rows())
    written = write_report(settings, STUDY, datetime(2026, 3, 2, 9, tzinfo=UTC))
    with serve_reports(written.path.parent) as address:
        yield Page(browser, address, folder)


@pytest.fixture
def page(reports: Page) -> Page:
    """The opened report."""
    reports.open("/garden.html")
    return reports


def test_codebook_opens_from_the_report_and_loads_no_resource(page: Page) -> None:
    page.follow("codebook of the marts")
    page.wait_for_text("The marts", BANNER)
    assert page.browser.execute_script("return document.querySelectorAll('td svg').length") == 3
    assert page.browser.execute_script(OVERFLOW_SCRIPT) == 0
    assert page.browser.execute_script(FETCHED_SCRIPT) == []


def test_report_is_rendered_completely_and_loads_no_resource(page: Page) -> None:
    page.wait_for_text("garden", BANNER)
    charts = page.browser.execute_script(CHARTS_SCRIPT)
    assert len(charts) == 10
    assert all(all(large_enough) for _, *large_enough in charts), charts
    assert SCRIPT in page.text
    texts = page.browser.execute_script(TEXTS_SCRIPT)
    assert [text for text, inside, *_ in texts if not inside] == []
    sizes = {round(length / text_width(text, 12, int(weight)), 1) for text, _, length, weight in texts}
    # Labels have 12 pixels, titles of panels 13.
    assert sizes == {1.0, 1.1}
    for media, scheme, colours in (("", "light", LIGHT), ("", "dark", DARK), ("print", "dark", LIGHT)):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [feature]})
        assert page.browser.execute_script(COLOURS_SCRIPT) == colours, (media, scheme)
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert page.browser.execute_script(OVERFLOW_SCRIPT) == 0
    assert page.browser.execute_script(FETCHED_SCRIPT) == []
    messages = page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [one["message"] for one in messages if page.url in one["message"]] == []

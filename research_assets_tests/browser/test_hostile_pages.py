"""Report and codebook of a warehouse of hostile texts in a real browser: they are shown, and nothing runs or loads."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver import Chrome

from research_assets.report.serve import serve_reports
from research_assets.report.write import write_report
from research_assets_tests.browser.page import Page
from research_assets_tests.conftest import settings_in
from research_assets_tests.hostile import ALERT, hostile_rows
from research_assets_tests.report.report_warehouse import STUDY, publish

STRANGE_SCRIPT = """
return [...document.querySelectorAll('*')].filter(one =>
  ['SCRIPT', 'IFRAME', 'IMG', 'OBJECT', 'FORM', 'BASE'].includes(one.tagName)
  || [...one.attributes].some(({name, value}) => /^on/i.test(name)
    || /href|src|action/i.test(name) && /^\\s*(javascript|https?|data:text):/i.test(value))
).map(one => one.outerHTML.slice(0, 200))
"""
OPEN_SCRIPT = "document.querySelectorAll('details').forEach(one => one.open = true)"
OVERFLOW_SCRIPT = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def page(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("hostile")
    settings = settings_in(folder)
    publish(settings, hostile_rows())
    written = write_report(settings, STUDY, datetime(2026, 3, 2, 9, tzinfo=UTC), handles=True)
    with serve_reports(written.path.parent) as address:
        yield Page(browser, address, folder)


@pytest.mark.parametrize(("path", "heading"), [("/garden.html", "garden"), ("/marts-codebook.html", "The marts")])
def test_page_shows_hostile_texts_and_runs_nothing(page: Page, path: str, heading: str) -> None:
    page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    page.open(path)
    page.wait_for_text(heading)
    page.browser.execute_script(OPEN_SCRIPT)
    assert ALERT in page.text
    assert "evil.example" in page.text
    with pytest.raises(NoAlertPresentException):
        page.browser.switch_to.alert.accept()
    assert page.browser.execute_script(STRANGE_SCRIPT) == []
    assert page.browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.browser.execute_script(OVERFLOW_SCRIPT) == 0
    # The browser would report a script that the policy of the page forbids.
    messages = page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [one["message"] for one in messages if page.url in one["message"]] == []

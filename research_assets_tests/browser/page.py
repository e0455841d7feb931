"""A page of the UI, addressed by its visible text. Every step waits for its condition."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.ui import WebDriverWait

WAIT_TIMEOUT = 300
"""Seconds after which waiting for a condition fails. The limit is generous and measures nothing."""

RENDERED_TEXT = r"return (document.body?.innerText ?? '').replace(/\s+/g, ' ')"
"""Script that returns the text of the page with single spaces."""

FOLLOW = """
const [path, done] = arguments;
history.pushState({}, '', path);
dispatchEvent(new PopStateEvent('popstate', {state: {}}));
requestAnimationFrame(() => requestAnimationFrame(done));
"""
"""Script that shows a path as a link inside Dagster's UI does, and returns once the former page is no longer drawn."""


@dataclass(frozen=True)
class Page:
    """A browser on one UI. Screenshots are stored in a folder."""

    browser: Chrome
    url: str
    screenshots: Path

    def open(self, path: str) -> None:
        """Open a path of the UI as a new page."""
        self.browser.get(self.url + path)

    def go(self, path: str) -> None:
        """Show a path of Dagster's UI as its links do, without loading its scripts again, which takes a second."""
        if self.browser.current_url.startswith(f"{self.url}/"):
            self.browser.execute_async_script(FOLLOW, path)
        else:
            self.open(path)

    def leave(self) -> None:
        """Show an empty page: an open page of Dagster asks its server every second."""
        self.browser.get("about:blank")

    def wait_for_text(self, *texts: str) -> None:
        """Wait until the page contains each text as a line. The error names missing texts and a screenshot."""
        self._wait_until_none_missing(texts, lambda text: text.splitlines())

    def read(self, *texts: str) -> None:
        """Wait until the page contains each text, also within a line."""
        self._wait_until_none_missing(texts, lambda text: text)

    def wait_for_no_text(self, text: str) -> None:
        """Wait until the page no longer contains a text."""
        self._wait_until_empty(lambda: [f"{text} still"] if text in self.text else [])

    def click(self, label: str, *, within: str = "//body", element: str = "button") -> None:
        """Click the button whose label begins with a text, as soon as it is enabled. `element` is its HTML element."""
        path = f"{within}//{element}[starts-with(normalize-space(.), '{label}')]"
        found: WebElement = self._wait().until(element_to_be_clickable((By.XPATH, path)), f"no button {label!r}")
        found.click()

    def type_text(self, text: str, *, within: str) -> None:
        """Replace the content of the text field, as soon as it is enabled, and leave the field."""
        path = f"{within}//input[@type='text']"
        found: WebElement = self._wait().until(element_to_be_clickable((By.XPATH, path)), "no text field")
        found.clear()
        found.send_keys(text, Keys.TAB)

    def follow(self, label: str) -> None:
        """Follow the link with a text, as soon as it appears."""
        found: WebElement = self._wait().until(element_to_be_clickable((By.LINK_TEXT, label)), f"no link {label!r}")
        found.click()

    @property
    def text(self) -> str:
        """The visible text of the page."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def screenshot(self, name: str) -> Path:
        """Store a screenshot of the page and return its path."""
        path = self.screenshots / f"{name}.png"
        self.browser.save_screenshot(str(path))
        return path

    def _wait_until_none_missing(self, texts: Sequence[str], parts: Callable[[str], Container[str]]) -> None:
        """Wait until each text is one of the `parts` of the visible text.

        Selenium computes what is visible from the style of each element, which takes up to 0.2 seconds. It decides, but
        only once the browser's own text contains the texts. That also contains what is scrolled out of sight.
        """

        def missing() -> list[str]:
            rendered = self.browser.execute_script(RENDERED_TEXT)
            absent = [text for text in texts if " ".join(text.split()) not in rendered]
            visible = () if absent else parts(self.text)
            return absent or [text for text in texts if text not in visible]

        self._wait_until_empty(missing)

    def _wait_until_empty(self, missing: Callable[[], list[str]]) -> None:
        try:
            self._wait().until(lambda _: not missing())
        except TimeoutException:
            raise AssertionError(
                f"{missing()} not on {self.browser.current_url}; see {self.screenshot('missing')}. "
                f"Text of the page: {self.text!r}"
            ) from None

    def _wait(self) -> "WebDriverWait[Chrome]":
        return WebDriverWait(self.browser, WAIT_TIMEOUT, ignored_exceptions=[StaleElementReferenceException])

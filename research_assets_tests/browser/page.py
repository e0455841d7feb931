"""A page of the UI as a person uses it: by what can be read on it. Every step waits for its condition."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 300
"""Seconds after which something that was waited for is given up: a bound, no measure."""


@dataclass(frozen=True)
class Page:
    """The browser at one UI; pictures of what it showed go to a folder."""

    browser: Chrome
    url: str
    pictures: Path

    def open(self, path: str) -> None:
        """Go to a path of the UI."""
        self.browser.get(self.url + path)

    def wait_for_text(self, *texts: str) -> None:
        """Wait until all texts stand on the page, each a line; the error says which do not, and where a picture is."""
        self._until_there(lambda: [text for text in texts if text not in self.text.splitlines()])

    def read(self, *texts: str) -> None:
        """The same for texts that stand within others."""
        self._until_there(lambda: [text for text in texts if text not in self.text])

    def wait_for_no_text(self, text: str) -> None:
        """Wait until a text stands on the page no more."""
        self._until_there(lambda: [f"{text} still"] if text in self.text else [])

    def click(self, label: str, *, within: str = "//body") -> None:
        """Press the button whose label begins with a text, as soon as that is possible."""
        path = f"{within}//button[starts-with(normalize-space(.), '{label}')]"
        found: WebElement = self._wait().until(element_to_be_clickable((By.XPATH, path)), f"no button {label!r}")
        found.click()

    def type_text(self, text: str, *, within: str) -> None:
        """Replace what stands in the text field, as soon as there is one, and leave it."""
        path = f"{within}//input[@type='text']"
        found: WebElement = self._wait().until(element_to_be_clickable((By.XPATH, path)), "no text field")
        found.clear()
        found.send_keys(text, Keys.TAB)

    def follow(self, label: str) -> None:
        """Go where the link with a text leads, as soon as there is one."""
        found: WebElement = self._wait().until(element_to_be_clickable((By.LINK_TEXT, label)), f"no link {label!r}")
        found.click()

    @property
    def text(self) -> str:
        """All that can be read on the page."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page; returns its path."""
        path = self.pictures / f"{name}.png"
        self.browser.save_screenshot(str(path))
        return path

    def _until_there(self, unseen: Callable[[], list[str]]) -> None:
        try:
            self._wait().until(lambda _: not unseen())
        except TimeoutException:
            raise AssertionError(
                f"{unseen()} not on {self.browser.current_url}; see {self.screenshot('missing')}. It says: {self.text!r}"
            ) from None

    def _wait(self) -> "WebDriverWait[Chrome]":
        return WebDriverWait(self.browser, PATIENCE, ignored_exceptions=[StaleElementReferenceException])

"""Processes for tests in a browser: headless Chromium, and `research-assets ui`. Each ends with its test."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

WAIT_TIMEOUT = 240
"""Seconds after which waiting for the UI fails. The limit is generous and measures nothing."""

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    # Without it, a click on a link below the fold can be sent before smooth scrolling has ended.
    "--force-prefers-reduced-motion",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1000",
)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """Yield Debian's Chromium with its own profile. Without Chromium the tests are skipped; with CI set they fail."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        reason = f"{' and '.join(missing)} not on PATH (Debian: apt-get install chromium chromium-driver)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = str(found["chromium"])
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(executable_path=str(found["chromedriver"])))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def ui_process(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run `research-assets ui` on a free port in an environment and yield its address. Its output goes to `log`."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("research-assets"), "ui", "--port", "0"],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield _address(process, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            # A process that did not end cleanly must not outlive the test.
            process.kill()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    """Return the address from the banner. Fails with the whole output if the UI ended before it was ready."""
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_copy, args=(process.stdout, log, lines), daemon=True).start()
    while (line := lines.get(timeout=WAIT_TIMEOUT)) is not None:
        if address := re.search(r"Dagster's UI\s+(http://[^\s/]+)", line):
            return address[1]
    pytest.fail(f"The UI ended before it was ready:\n{log.read_text()}")


def _copy(source: IO[str], log: Path, lines: "queue.Queue[str | None]") -> None:
    """Copy output to a file and to a queue, with None at the end. A full pipe would block the process."""
    with log.open("w") as file:
        for line in source:
            file.write(line)
            file.flush()
            lines.put(line)
    lines.put(None)

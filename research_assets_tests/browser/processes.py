"""Headless Chromium, and `research-assets ui` as a person starts it. Nothing that is started here outlives its test."""

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

PATIENCE = 240
"""Seconds after which something that was waited for is given up. Far more than it takes: a bound, no measure."""

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
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
    """Debian's Chromium with a profile of its own. Without it the tests are skipped, but never where CI is set."""
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
    """`research-assets ui` on a free port, in an environment; gives its address. What it says goes to `log`."""
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
            # Whatever did not end in good order must not outlive the test.
            process.kill()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    """The address from the banner; fails with all that was said if the UI ended before it was ready."""
    said: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_copy, args=(process.stdout, log, said), daemon=True).start()
    while (line := said.get(timeout=PATIENCE)) is not None:
        if address := re.search(r"Dagster's UI\s+(http://\S+)", line):
            return address[1]
    pytest.fail(f"The UI ended before it was ready:\n{log.read_text()}")


def _copy(source: IO[str], log: Path, said: "queue.Queue[str | None]") -> None:
    """Keep the pipe empty: what is said goes to a file and to who waits; None at the end."""
    with log.open("w") as kept:
        for line in source:
            kept.write(line)
            kept.flush()
            said.put(line)
    said.put(None)

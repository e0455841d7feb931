"""A real browser on the real UI: headless Chromium, and `research-assets ui` as a person starts it."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from research_assets.instance import prepare_home
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, child_environment, prepare_root

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


@dataclass(frozen=True)
class Ui:
    """The running UI: where it is, its study, the days of the study, and the folder of its data."""

    url: str
    study: str
    days: tuple[str, ...]
    data: Path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's Chromium with a profile of its own. Without it the tests are skipped, but never where CI is set."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        reason = f"{' and '.join(missing)} not on PATH (Debian: apt-get install chromium chromium-driver)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = str(found["chromium"])
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(executable_path=str(found["chromedriver"])))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`research-assets ui` on a fresh data root, without credentials, with one small study of ten past days.

    Collecting by itself is switched off: here a person clicks.
    """
    root = tmp_path_factory.mktemp("ui")
    today = datetime.now(UTC).date()
    days = tuple((today - timedelta(days=back)).isoformat() for back in range(20, 10, -1))
    folder = root / "studies" / "gardening"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(
        "type: research_assets.Study\n"
        "attributes:\n"
        "  name: gardening\n"
        f"  start: {days[0]}\n"
        f"  end: {days[-1]}\n"
        "  query:\n"
        "    and:\n"
        "      - {field: hashtag_name, eq: gardening}\n"
        "      - {field: region_code, eq: DE}\n"
        "  panel: {usernames: [moosfreund]}\n"
    )
    environment = {**os.environ, **{variable.name: "" for variable in VARIABLES.values()}}
    environment |= {
        VARIABLES["root"].name: str(root / "data"),
        VARIABLES["studies"].name: str(root / "studies"),
        "PYTHONUNBUFFERED": "1",
    }
    _switch_off("quota_window", environment)
    process = subprocess.Popen(
        [Path(sys.executable).with_name("research-assets"), "ui", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield Ui(_address(process, root / "ui.log"), "gardening", days, root / "data")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            # Whatever did not end in good order must not outlive the test.
            process.kill()


def _switch_off(sensor: str, environment: dict[str, str]) -> None:
    """Stop a sensor of the code location before its daemon runs for the first time."""
    settings = Settings.from_env(environment | {VARIABLES["api_url"].name: "http://127.0.0.1:9"})
    prepare_root(settings)
    prepare_home(settings)
    subprocess.run(
        [Path(sys.executable).with_name("dagster"), "sensor", "stop", sensor, "--workspace", "workspace.yaml"],
        cwd=PROJECT_DIR,
        env=child_environment(settings),
        check=True,
        timeout=PATIENCE,
    )


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

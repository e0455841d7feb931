"""Fixtures for tests in a browser: headless Chromium, and the UI that `research-assets ui` starts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from research_assets.clock import week_of
from research_assets.instance import prepare_home
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, child_environment, prepare_root
from research_assets.storage import raw_writer
from research_assets_tests.browser.processes import WAIT_TIMEOUT, chromium, ui_process


@dataclass(frozen=True)
class Ui:
    """The running UI: its address, its study, the days of the study, and the data folder."""

    url: str
    study: str
    days: tuple[str, ...]
    data: Path


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Yield one browser for all tests of this folder, which run on one worker."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """Run `research-assets ui` on a new data folder, without credentials, with one study of ten past days.

    The sensor `quota_window` is stopped, because the tests start all runs in the UI.
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
        "  users: panel\n"
        "  panel: {usernames: [moosfreund]}\n"
    )
    environment = {**os.environ, **{variable.name: "" for variable in VARIABLES.values()}}
    environment |= {
        VARIABLES["root"].name: str(root / "data"),
        VARIABLES["studies"].name: str(root / "studies"),
    }
    _store_past_week(root / "data", date.fromisoformat(days[0]))
    _stop_sensor("quota_window", environment)
    with ui_process(environment, root / "ui.log") as url:
        yield Ui(url, "gardening", days, root / "data")


def _store_past_week(data: Path, day: date) -> None:
    """Store the complete profiles of an earlier week, which the API no longer returns."""
    week = week_of(day)
    unit = {"entity": "users", "partition": week, "unit_kind": "account", "unit": "moosfreund", "state": "complete"}
    counts = {"kept": 1, "asked": 1, "offered": 1, "requests": 1.0, "last_at": f"{week}T10:00:00Z"}
    profile = {"asked_username": "moosfreund", "observed_at": f"{week}T10:00:00Z", "capture": "past"}
    for table, row in (("coverage", unit | counts), ("users", profile)):
        raw_writer.write_rows(data / "raw", table, study="gardening", day=week, name="past", rows=[row])


def _stop_sensor(sensor: str, environment: dict[str, str]) -> None:
    """Stop a sensor of the code location before the daemon starts."""
    settings = Settings.from_env(environment | {VARIABLES["api_url"].name: "http://127.0.0.1:9"})
    prepare_root(settings)
    prepare_home(settings)
    subprocess.run(
        [Path(sys.executable).with_name("dagster"), "sensor", "stop", sensor, "--workspace", "workspace.yaml"],
        cwd=PROJECT_DIR,
        env=child_environment(settings),
        check=True,
        timeout=WAIT_TIMEOUT,
    )

"""Screenshots of the documentation, taken from the UI and the report of the demo's data; `make screenshots` runs this.

Not here: the browser itself (see ../browser/page.py).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from research_assets.report.codebook import CODEBOOK_FILE as CODEBOOK
from research_assets.settings import ENV_FILE, PROJECT_DIR, VARIABLES
from research_assets_tests.browser.page import Page
from research_assets_tests.browser.processes import chromium, ui_process

FOLDER = PROJECT_DIR / "docs" / "images"


def take_screenshots(data: Path, scratch: Path) -> None:
    """Collect the demo study into the folder `data` and take the screenshots."""
    environment = {**os.environ, **{variable.name: "" for variable in VARIABLES.values()}}
    environment[ENV_FILE] = os.devnull
    environment |= {VARIABLES["root"].name: str(data), VARIABLES["sensor_interval"].name: "3600"}
    subprocess.run([Path(sys.executable).with_name("research-assets"), "demo"], env=environment, check=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium(scratch / "profile") as browser, ui_process(environment, scratch / "ui.log") as url:
        page = Page(browser, url, FOLDER)
        browser.set_window_size(1400, 800)
        page.open("/assets/gardening/videos?view=partitions")
        page.read("2026-02-01")
        page.screenshot("partitions")
        page.open("/assets/gardening/videos?view=checks")
        page.read("volume")
        page.screenshot("checks")
        browser.set_window_size(1200, 1000)
        browser.get(f"file://{data / 'reports' / 'gardening.html'}")
        page.read("Volume")
        page.screenshot("report")
        browser.get(f"file://{data / 'reports' / CODEBOOK}")
        page.read("The marts")
        page.screenshot("codebook")
        browser.get(f"file://{data / 'reports' / 'gardening-coverage.html'}")
        page.read("Days of publication")
        page.screenshot("coverage")


def main() -> None:
    """Take all screenshots, from the data folder that the first argument names or from a temporary one."""
    with tempfile.TemporaryDirectory() as scratch:
        take_screenshots(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "data", Path(scratch))


if __name__ == "__main__":
    main()

"""Cost of a kill: a collection of 14 pages is killed at each page, before and after the journal contains the page."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.collect.harness import days, study
from research_assets_tests.collect.process_harness import CollectorProcess, kill_at_page, serve_harness

PAGES, ROWS = 14, 1400


def run() -> Iterable[Row]:
    """Measure lost, duplicate and repeated rows and pages over all kills."""
    lost = duplicate = repeated = kills = 0
    with data_root() as settings, serve_harness(settings, SandboxConfig(fixed_volume=ROWS)) as base:
        for page in range(1, PAGES + 1):
            for before in (True, False):
                harness = base.copy(f"{page}{before}")
                process = CollectorProcess(harness.settings, "videos", days(1), harness.clock.moment, study())
                if before:
                    kill_at_page(harness, page, process)
                elif not replace(process, pages=page).end():
                    raise RuntimeError(f"The process was not killed at page {page}.")
                asyncio.run(harness.collect("videos", days(1)))
                collected = harness.ids()
                kills += 1
                lost += ROWS - len(set(collected))
                duplicate += len(collected) - len(set(collected))
                repeated = max(repeated, harness.requests_sent - PAGES)
    note = f"{kills} kills of a process"
    yield Row("killed at each page in turn: lost rows", lost, "rows", 0, note, "exactly")
    yield Row("killed at each page in turn: duplicate rows", duplicate, "rows", 0, note, "exactly")
    yield Row("killed at each page in turn: repeated pages, at worst", repeated, "pages", 1, note)

"""What a kill costs: a collection of 14 pages is killed after each in turn, before and after its journal has it."""

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
    """The worst of all kills."""
    lost = twice = again = kills = 0
    with data_root() as settings, serve_harness(settings, SandboxConfig(fixed_volume=ROWS)) as base:
        for page in range(1, PAGES + 1):
            for before in (True, False):
                harness = base.copy(f"{page}{before}")
                life = CollectorProcess(harness.settings, "videos", days(1), harness.clock.moment, study())
                if before:
                    kill_at_page(harness, page, life)
                elif not replace(life, pages=page).end():
                    raise RuntimeError(f"The process outlived page {page}.")
                asyncio.run(harness.collect("videos", days(1)))
                held = harness.ids()
                kills += 1
                lost += ROWS - len(set(held))
                twice += len(held) - len(set(held))
                again = max(again, harness.requests_sent - PAGES)
    note = f"{kills} kills of a process"
    yield Row("killed after each page in turn: rows lost", lost, "rows", 0, note, "exactly")
    yield Row("killed after each page in turn: rows twice", twice, "rows", 0, note, "exactly")
    yield Row("killed after each page in turn: pages asked again, at worst", again, "pages", 1, note)

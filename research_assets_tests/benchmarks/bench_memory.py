"""The peak memory of a process that collects, seals and writes, at 10,000 rows and at a hundred times as many."""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import running
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.rig import a_root, collect

DAYS = 25
MANY = 10**9


def run() -> Iterable[Row]:
    """Videos of 25 days: 400 and 40,000 a day."""
    peaks = {}
    for rows in (10_000, 1_000_000):
        config = SandboxConfig(flat=rows // DAYS, research_cap=MANY)
        with running(config) as server, a_root(server.url, rate=MANY, research_cap=MANY) as settings:
            found = collect(settings, "memory", "videos", date(2026, 2, 1), DAYS)
        if found["rows"] != rows:
            raise RuntimeError(f"{found['rows']} rows came instead of {rows}: {found}")
        peaks[rows] = found["mib"]
        yield Row(f"peak memory at {rows:,} rows", found["mib"], "MiB", 400, f"{found['seconds']:.0f} s")
    few, many = peaks.values()
    yield Row("peak memory, a hundred times the rows", many / few, "times", 1.1)

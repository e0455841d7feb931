"""Peak memory of a process that collects, seals and writes 100,000 rows and 1,000,000 rows.

Both keep all concurrent searches open; fewer rows would open fewer of them, and less memory.
"""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect, data_root

VIDEOS_PER_DAY = 1000
MANY = 10**9


def run() -> Iterable[Row]:
    """Measure 100 and 1,000 days of 1,000 videos, and one day of 100,000 videos, which is one capture."""
    few, many = _peak(100, VIDEOS_PER_DAY), _peak(1000, VIDEOS_PER_DAY)
    yield Row("peak memory at 100,000 rows", few, "MiB", 400)
    yield Row("peak memory at 1,000,000 rows", many, "MiB", 400)
    yield Row("peak memory at 1,000,000 rows, relative to 100,000", many / few, "times", 1.1)
    yield Row("peak memory at 100,000 rows in one day", _peak(1, 100 * VIDEOS_PER_DAY), "MiB", 400)


def _peak(days: int, videos_per_day: int) -> float:
    """Return the peak memory in MiB of a process that collects days of videos without earlier data."""
    config = SandboxConfig(fixed_volume=videos_per_day, research_cap=MANY)
    with run_in_thread(config) as server, data_root(server.url, rate_limit=MANY, research_cap=MANY) as settings:
        result = collect(settings, "memory", "videos", date(2023, 6, 1), days)
    # A window that proves too dense is split after its first page. The rows of that page are counted too.
    expected = days * videos_per_day
    if result["states"] != ["complete"] or not expected <= result["rows"] <= 1.01 * expected:
        raise RuntimeError(f"{result['rows']} rows were collected instead of {expected}: {result}")
    return float(result["mib"])

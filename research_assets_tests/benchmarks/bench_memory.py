"""The peak memory of a process that collects, seals and writes, at 10,000 rows and at a hundred times as many."""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect, data_root

A_DAY = 1000
MANY = 10**9


def run() -> Iterable[Row]:
    """10 and 1,000 days of 1,000 videos; and one day of 100,000, which lies in one capture."""
    few, many = _peak(10, A_DAY), _peak(1000, A_DAY)
    yield Row("peak memory at 10,000 rows", few, "MiB", 400)
    yield Row("peak memory at 1,000,000 rows", many, "MiB", 400)
    yield Row("peak memory, a hundred times the rows", many / few, "times", 1.1)
    yield Row("peak memory at 100,000 rows in one day", _peak(1, 100 * A_DAY), "MiB", 400)


def _peak(days: int, a_day: int) -> float:
    """MiB of a process that collects so many days of videos of which nothing is known beforehand."""
    config = SandboxConfig(fixed_volume=a_day, research_cap=MANY)
    with run_in_thread(config) as server, data_root(server.url, rate=MANY, research_cap=MANY) as settings:
        found = collect(settings, "memory", "videos", date(2023, 6, 1), days)
    # Windows that prove too large are given up after a page, which is counted here too.
    if found["states"] != ["complete"] or not days * a_day <= found["rows"] <= 1.01 * days * a_day:
        raise RuntimeError(f"{found['rows']} rows came instead of {days * a_day}: {found}")
    return float(found["mib"])

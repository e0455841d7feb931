"""An increment of one day in marts that contain a year, compared with their full refresh.

Both include all work of dbt in one process that has imported dbt: finding changes, copying the marts, parsing,
building, testing and publishing. The cost of dbt on an almost empty project is shown for comparison.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse import build
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.benchmarks.marts_data import COMMENTS, DAYS, VIDEOS, write_day, write_year

ROUNDS = 3
WEEKS = 2
"""Weeks of increments, each after a full refresh, so that a slow minute of the machine affects both figures."""
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def run() -> Iterable[Row]:
    """Measure the full refresh of a year and the increments of a further week, twice."""
    with data_root() as settings:
        raw_writer.ensure_tables(settings.raw)
        build_seconds(settings, full_refresh=True)  # imports dbt and parses the project
        empty_refresh = median(build_seconds(settings, full_refresh=True) for _ in range(ROUNDS))
        empty_increment = median(build_seconds(settings) for _ in range(ROUNDS))
        write_year(settings.raw)
        refreshes: list[float] = []
        days: list[float] = []
        for _ in range(WEEKS):
            refreshes.append(build_seconds(settings, full_refresh=True))
            mebibytes = settings.warehouse.stat().st_size / 2**20
            for _ in range(7):
                write_day(settings.raw, DAYS + len(days))
                days.append(build_seconds(settings))
    size = f"{DAYS} days, {VIDEOS} videos per day observed 3 times, {COMMENTS} comments each; {mebibytes:,.0f} MiB"
    yield Row("empty marts, full refresh", empty_refresh, "s", None, f"median of {ROUNDS}")
    yield Row("empty marts, increment", empty_increment, "s", None, f"fixed cost of dbt; median of {ROUNDS}")
    yield Row("marts of a year, full refresh", median(refreshes), "s", None, f"median of {len(refreshes)}; {size}")
    yield Row("marts of a year, increment of one day", median(days), "s", None, f"median of {len(days)} days")
    yield Row("increment of one day, relative to the full refresh", median(days) / median(refreshes), "times", 0.05)


def build_seconds(settings: Settings, *, full_refresh: bool = False) -> float:
    """Return the seconds of a build from reading the raw tables to the published warehouse."""
    started = perf_counter()
    with build.build_lock(settings):
        build_input, results = build.build_warehouse(
            settings, full_refresh=full_refresh, now=NOW, progress=lambda *_: None
        )
        if failed := [f"{result.name}: {result.message}" for result in results if result.failed]:
            raise RuntimeError(f"The marts of the benchmark failed: {'; '.join(failed)}")
        if (build_input.full_refresh_reason is None) is full_refresh:
            expected = "a full refresh" if full_refresh else "an increment"
            raise RuntimeError(
                f"The build was not {expected}. Reason of a full refresh: {build_input.full_refresh_reason}"
            )
        build.publish_warehouse(settings, build_input)
    return perf_counter() - started

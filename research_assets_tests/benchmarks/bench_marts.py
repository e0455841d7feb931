"""The marts of a year, at 1, 3 and 10 times the rows: a full refresh, one more day, and DuckDB's bare scan beside them.

A build includes all of its work: finding the changes, copying the marts, dbt's own process, the tests, the codebook and
publishing. The bare scan reads every raw file of the build into tables of DuckDB, without any further work. SCALES in
the environment names other multiples, such as `SCALES="1" make bench ARGS=marts`.
"""

import math
import os
import resource
from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

import duckdb

from research_assets.fields import raw_tables
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse import build
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.benchmarks.marts_data import COMMENTS, DAYS, VIDEOS, write_day, write_year

SCALES = (1, 3, 10)
MORE_DAYS = 3
"""Increments of one day after each full refresh; their median counts."""
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def run() -> Iterable[Row]:
    """Measure each multiple of the year in a data folder of its own, smallest first."""
    refreshes: dict[int, float] = {}
    for scale in [int(text) for text in os.environ.get("SCALES", "").split()] or SCALES:
        with data_root() as settings:
            raw_writer.ensure_tables(settings.raw)
            if not refreshes:
                yield Row("empty marts, full refresh", build_seconds(settings, full_refresh=True), "s")
                yield Row("empty marts, increment", build_seconds(settings), "s", None, "fixed cost of dbt")
            write_year(settings.raw, scale)
            size = f"{DAYS} days, {VIDEOS * scale:,} videos per day seen 3 times, {COMMENTS} comments each"
            scan = _bare_scan(settings)
            refreshes[scale] = build_seconds(settings, full_refresh=True)
            mebibytes = settings.warehouse.stat().st_size / 2**20
            days = []
            for number in range(MORE_DAYS):
                write_day(settings.raw, DAYS + number, scale)
                days.append(build_seconds(settings))
            grown = settings.warehouse.stat().st_size / 2**20
        is_year = scale == 1
        yield Row(f"{scale} x a year, full refresh", refreshes[scale], "s", 60 if is_year else None, size)
        yield Row(f"{scale} x a year, one more day", median(days), "s", 20 if is_year else None, f"of {MORE_DAYS}")
        yield Row(f"{scale} x a year, bare scan of the raw files", scan, "s")
        yield Row(f"{scale} x a year, full refresh to bare scan", refreshes[scale] / scan, "times", 10)
        yield Row(f"{scale} x a year, warehouse file", mebibytes, "MiB", None, f"{grown:,.0f} after {MORE_DAYS} days")
        # The peak of all children so far, and the builds grow.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        yield Row(f"{scale} x a year, peak memory of dbt", peak, "MiB", None, f"limit {settings.warehouse_memory}")
    first, last = min(refreshes), max(refreshes)
    if first < last:
        exponent = math.log(refreshes[last] / refreshes[first]) / math.log(last / first)
        yield Row(f"growth exponent, {first} x to {last} x", exponent, "", 1.05)


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


def _bare_scan(settings: Settings) -> float:
    """Return the seconds in which DuckDB copies the raw tables into a file, with the memory limit of a build."""
    path = settings.root / "scan.duckdb"
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": settings.warehouse_memory,
        "preserve_insertion_order": False,
    }
    started = perf_counter()
    with duckdb.connect(str(path), config=config) as db:
        for table in raw_tables():
            files = settings.raw / table / "*" / "*" / "*.parquet"
            db.execute(f"CREATE TABLE {table} AS FROM read_parquet('{files}', hive_partitioning = true)")
    seconds = perf_counter() - started
    path.unlink()
    return seconds

"""One more day taken into the marts, with a year held, against building all of them.

Both are dbt's whole work in one process that has dbt imported: finding out what came, copying what is held, parsing,
building, testing, publishing. What it costs dbt to run the project over next to nothing is shown beside.
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
"""Each after a build of everything: a machine's slow minute then does not fall on one side alone."""
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def run() -> Iterable[Row]:
    """The year in whole, then a further week day by day, and both once more."""
    with data_root() as settings:
        raw_writer.ensure_tables(settings.raw)
        _seconds(settings, whole=True)  # imports dbt and parses the project
        empty = median(_seconds(settings, whole=True) for _ in range(ROUNDS))
        fixed = median(_seconds(settings) for _ in range(ROUNDS))
        write_year(settings.raw)
        whole: list[float] = []
        days: list[float] = []
        for _ in range(WEEKS):
            whole.append(_seconds(settings, whole=True))
            held = settings.warehouse.stat().st_size / 2**20
            for _ in range(7):
                write_day(settings.raw, DAYS + len(days))
                days.append(_seconds(settings))
    size = f"{DAYS} days, {VIDEOS} videos a day seen 3 times, {COMMENTS} comments each; {held:,.0f} MiB"
    yield Row("marts of nothing, whole", empty, "s", None, f"median of {ROUNDS}")
    yield Row("marts of nothing, once more", fixed, "s", None, f"what dbt costs by itself; median of {ROUNDS}")
    yield Row("marts of a year, whole", median(whole), "s", None, f"median of {len(whole)}; {size}")
    yield Row("marts of a year, one more day", median(days), "s", None, f"median of {len(days)} days")
    yield Row("one more day, against the whole year", median(days) / median(whole), "times", 0.05)


def _seconds(settings: Settings, *, whole: bool = False) -> float:
    """Seconds of a build from the first look at the raw tables to the published warehouse."""
    began = perf_counter()
    with build.build_lock(settings):
        build_input, results = build.build_warehouse(settings, full_refresh=whole, now=NOW, progress=lambda *_: None)
        if failed := [f"{result.name}: {result.message}" for result in results if result.failed]:
            raise RuntimeError(f"The marts of the benchmark are wrong: {'; '.join(failed)}")
        if (build_input.full_refresh_reason is None) is whole:
            raise RuntimeError(
                f"The marts were built otherwise than they should be measured: {build_input.full_refresh_reason}"
            )
        build.publish_warehouse(settings, build_input)
    return perf_counter() - began

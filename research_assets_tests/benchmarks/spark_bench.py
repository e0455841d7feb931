"""The marts of a year on a Spark cluster of one master and two workers, with DuckDB beside it: `make bench-spark`.

Measured are the whole build, the whole build during which one worker is killed, and one more day. After each of them
the marts of both engines are compared row by row.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import click
from rich.console import Console

from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse.spark import SparkOptions, build_on_spark
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.__main__ import table
from research_assets_tests.benchmarks.bench_marts import NOW, build_seconds
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.benchmarks.marts_data import COMMENTS, DAYS, VIDEOS, write_day, write_year
from research_assets_tests.benchmarks.spark_cluster import Cluster, cluster
from research_assets_tests.warehouse.compare import differences

CONF = {"spark.executor.memory": "1536m", "spark.driver.memory": "2g"}


def run(scale: int) -> Iterator[Row]:
    """Measure a year with `scale` times the videos of a day."""
    with data_root() as settings, cluster() as spark:
        output = settings.root / "spark-output"
        raw_writer.ensure_tables(settings.raw)
        write_year(settings.raw, scale)
        size = f"{DAYS} days, {VIDEOS * scale:,} videos per day seen 3 times, {COMMENTS} comments each"
        yield Row("DuckDB, whole build", build_seconds(settings, full_refresh=True), "s", None, size)
        yield Row("Spark, whole build", _spark_seconds(settings, output, spark), "s", None, size)
        yield _compared(settings, output, "whole build")
        write_day(settings.raw, DAYS, scale)
        yield Row("DuckDB, one more day", build_seconds(settings), "s", None, size)
        yield Row("Spark, one more day", _spark_seconds(settings, output, spark), "s", None, size)
        yield _compared(settings, output, "one more day")
        killed = Event()
        seconds = _spark_seconds(settings, settings.root / "spark-killed", spark, killed)
        if not killed.is_set():
            raise RuntimeError("The build ended before a worker was killed, so nothing was measured.")
        yield Row("Spark, whole build, one of two workers killed", seconds, "s", None, size)
        yield _compared(settings, settings.root / "spark-killed", "one worker killed")


def _spark_seconds(settings: Settings, output: Path, spark: Cluster, killed: Event | None = None) -> float:
    """Return the seconds of a build; with `killed`, kill a worker while the comments are built, and set it."""
    ended = Event()
    if killed is not None:
        Thread(target=_kill_worker, args=(output / ".build" / "spark.log", spark, killed, ended.wait)).start()
    started, is_first = perf_counter(), not output.exists()
    try:
        built = build_on_spark(settings, output, now=NOW, options=SparkOptions(spark.master, conf=CONF))
    finally:
        ended.set()
    if built.is_increment is is_first:
        raise RuntimeError("The build was not of the kind that is measured.")
    return perf_counter() - started


def _kill_worker(log: Path, spark: Cluster, killed: Event, has_ended: Callable[[float], bool]) -> None:
    while not has_ended(0.2):
        if log.exists() and "START sql" in (text := log.read_text(errors="replace")) and "marts.comments" in text:
            # A few seconds later the tasks of the model run on both workers.
            if not has_ended(5):
                spark.kill_worker()
                killed.set()
            return


def _compared(settings: Settings, output: Path, case: str) -> Row:
    """Compare the marts of both engines and return the number of marts that differ."""
    found = differences(settings.warehouse, output)
    return Row(f"marts that differ after {case}", len(found), "marts", 0, "; ".join(found)[:500], sense="exactly")


@click.command()
@click.option("--scale", type=click.IntRange(1), default=1, show_default=True, help="Multiple of the videos of a day.")
def main(scale: int) -> None:
    """Measure the marts on a Spark cluster of processes on this machine, and on DuckDB."""
    console = Console(highlight=False)
    rows = []
    for row in run(scale):
        rows.append(row)
        console.print(f"{datetime.now(UTC):%H:%M:%S} {row.case}: {row.measured:,.1f} {row.unit} {row.note}")
    console.print(table(rows))
    if missed := [row.case for row in rows if not row.kept]:
        raise click.ClickException(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()

"""A sealed capture to Parquet, compared with DuckDB reading the same JSON with the same columns.

The peer reads the compressed file with the given column types and sums a hash of every value, so that it skips no
column; it writes nothing. Both have the same memory and threads, and run in turns.
"""

import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

from research_assets.fields import ENTITIES
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.storage.captures import Manifest, list_sealed
from research_assets.storage.parquet_io import open_duckdb, temporary_folder
from research_assets.storage.raw_sql import typed_rows
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect, data_root

ROUNDS = 5
MANY = 10**6


def run() -> Iterable[Row]:
    """Measure a day of 200,000 videos, and a window of usual size without a bound, which is mostly fixed cost."""
    peer, ours, note = _measure(200_000, 1)
    yield Row("DuckDB reads a capture's JSON", peer, "s", None, note)
    yield Row("a capture to Parquet", ours, "s", None, note)
    yield Row("a capture to Parquet, relative to reading its JSON", ours / peer, "times", 1.5, note)
    peer, ours, note = _measure(950, 7)
    yield Row("a window of usual size to Parquet, 7 files", ours, "s", None, f"{note}; reading: {peer:.2g} s")


def _measure(videos_per_day: int, days: int) -> tuple[float, float, str]:
    """Return the median seconds of reading and of writing, and a note on the data."""
    with (
        run_in_thread(SandboxConfig(fixed_volume=videos_per_day, research_cap=MANY)) as server,
        data_root(server.url, rate_limit=MANY, research_cap=MANY) as settings,
    ):
        collect(settings, "tables", "videos", date(2026, 2, 1), days)
        manifest = max(list_sealed(settings.captures), key=lambda found: found.rows)
        turns = [(_read(manifest, settings), _write(manifest, settings)) for _ in range(ROUNDS)]
    peer, ours = (median(seconds) for seconds in zip(*turns, strict=True))
    return peer, ours, f"{manifest.rows:,} rows, {manifest.plain_size / 2**20:.0f} MiB, median of {ROUNDS} turns"


def _read(manifest: Manifest, settings: Settings) -> float:
    query = typed_rows(ENTITIES["videos"], manifest, with_day=False)
    with temporary_folder(settings.raw, "peer") as folder, open_duckdb(folder) as db:
        started = perf_counter()
        db.execute(f"SELECT sum(hash(COLUMNS(*))) FROM ({query})").fetchall()
        return perf_counter() - started


def _write(manifest: Manifest, settings: Settings) -> float:
    raw = Path(settings.root / "rewritten")
    shutil.rmtree(raw, ignore_errors=True)
    started = perf_counter()
    raw_writer.write_capture(raw, manifest.path)
    return perf_counter() - started

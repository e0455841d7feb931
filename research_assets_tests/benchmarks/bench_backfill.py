"""Duration of a long backfill in Dagster: a year of sparse days as one run in its own process.

It runs the command that a user runs, with imports and asset checks. Not here: the collector alone (see
bench_requests.py).
"""

import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter

from research_assets.instance import prepare_home
from research_assets.settings import PROJECT_DIR, Settings, child_environment
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root, sandbox, study_folder
from research_assets_tests.collect.harness import START

DAYS, VIDEOS = 365, 3
FIRST = START - timedelta(days=DAYS)
STUDY = f"""
  start: {FIRST}
  end: {FIRST + timedelta(days=DAYS - 1)}
  query: {{and: [{{field: hashtag_name, eq: gardening}}]}}
  comments: {{videos: none}}
  users: {{who: none}}
"""


def run() -> Iterable[Row]:
    """Measure the run of a year without data, and a second run after all of it is collected."""
    with (
        sandbox("--fixed-volume", str(VIDEOS)) as url,
        study_folder(STUDY) as studies,
        data_root(url, studies=studies) as settings,
    ):
        prepare_home(settings)
        _python(["-m", "dagster", "definitions", "validate", "-m", "research_assets.definitions"], settings)
        case = f"{DAYS} days of {VIDEOS} videos, one Dagster run"
        before = getrusage(RUSAGE_CHILDREN)
        yield Row(case, _materialize(settings), "s", 60, "a fresh process, all checks included")
        after = getrusage(RUSAGE_CHILDREN)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield Row(
            f"{case}: CPU time", cpu_seconds, "CPU s", None, "the rest is waiting for the disk and other processes"
        )
        yield Row(f"{case}: runs", _count("runs", settings), "runs", 1, sense="exactly")
        yield Row(f"{case}: days materialized", _count("days", settings), "days", DAYS, sense="exactly")
        windows = len(list((settings.captures / "videos" / "study=garden").iterdir()))
        yield Row(f"{case}: windows", windows, "windows", 12)
        yield Row(f"{case}, all collected", _materialize(settings), "s", 60, "sends no request")


def _materialize(settings: Settings) -> float:
    """Return the seconds that the whole command takes."""
    partitions = f"{FIRST}...{FIRST + timedelta(days=DAYS - 1)}"
    command = ["-m", "dagster", "asset", "materialize", "-m", "research_assets.definitions"]
    started = perf_counter()
    _python([*command, "--select", "garden/videos", "--partition-range", partitions], settings)
    return perf_counter() - started


def _count(what: str, settings: Settings) -> int:
    """Return the number of runs of the instance, or of materialized days of the videos."""
    counts = {
        "runs": "len(instance.get_runs())",
        "days": "len(instance.get_materialized_partitions(dagster.AssetKey(['garden', 'videos'])))",
    }
    return int(
        _python(["-c", f"import dagster; instance = dagster.DagsterInstance.get(); print({counts[what]})"], settings)
    )


def _python(arguments: list[str], settings: Settings) -> str:
    """Run Python with these settings and return its output. Raises RuntimeError with the error output if it fails."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT_DIR, env=child_environment(settings), capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(f"{Path(sys.executable).name} {' '.join(arguments)} failed:\n{result.stderr[-3000:]}")
    return result.stdout

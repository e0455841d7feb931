"""Loading the code location with a study, compared with the import of Dagster."""

import subprocess
import sys
from collections.abc import Iterable
from resource import RUSAGE_CHILDREN, getrusage
from statistics import mean

from research_assets.settings import PROJECT_DIR, Settings, child_environment
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root, study_folder

DEPTHS = range(0, 50, 5)
"""Stack frames below the measured code, a different number in each round. CPython 3.11 stores frames in chunks of
16 KiB, and an import whose inner loop crosses the border of a chunk takes half a second longer."""

DEEP = """
def deep(frames):
    deep(frames - 1) if frames else exec({code!r})
deep({frames})
"""
IMPORTS = "import dagster"
LOCATION = (
    "from research_assets.definitions import build_definitions; from research_assets.settings import Settings; "
    "build_definitions(Settings.from_env()).get_repository_def()"
)
STUDY = """
  start: 2026-02-01
  query: {and: [{field: region_code, in: [DE, AT]}]}
  comments: {videos: all}
  users: {who: authors}
  panel: {usernames: [a, b]}
"""
"""A study that collects all entities."""


def run() -> Iterable[Row]:
    """Measure means over new processes, in turns."""
    with study_folder(STUDY) as studies, data_root(studies=studies) as settings:
        _seconds(LOCATION, 0, settings)  # the first load prepares the manifest of dbt's models
        peers, ours = [], []
        for frames in DEPTHS:
            peers.append(_seconds(IMPORTS, frames, settings))
            ours.append(_seconds(LOCATION, frames, settings))
    note = f"mean of {len(DEPTHS)} new processes, in turns"
    yield Row("importing dagster", mean(peers), "CPU s", None, note)
    yield Row("loading the code location", mean(ours), "CPU s", None, note)
    yield Row("loading the code location, relative to the import", mean(ours) / mean(peers), "times", 2)


def _seconds(code: str, frames: int, settings: Settings) -> float:
    """Return the CPU seconds of a process. On an idle machine they equal the wall time; load does not change them."""
    before = getrusage(RUSAGE_CHILDREN)
    command = [sys.executable, "-c", DEEP.format(code=code, frames=frames)]
    subprocess.run(command, check=True, cwd=PROJECT_DIR, env=child_environment(settings))
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

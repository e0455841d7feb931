"""Loading the code location, against importing Dagster and its dbt library, which nobody is spared."""

import subprocess
import sys
from collections.abc import Iterable
from statistics import median
from time import perf_counter

from research_assets.settings import PROJECT_DIR, Settings, child_environment
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.rig import a_root

ROUNDS = 7
IMPORTS = "import dagster, dagster_dbt"
LOCATION = (
    "from research_assets.definitions import build; from research_assets.settings import Settings; "
    "build(Settings.from_env()).get_repository_def()"
)


def run() -> Iterable[Row]:
    """Medians of fresh processes, in turns."""
    with a_root() as settings:
        _seconds(LOCATION, settings)  # the first load prepares the manifest of dbt's models
        peers, ours = [], []
        for _ in range(ROUNDS):
            peers.append(_seconds(IMPORTS, settings))
            ours.append(_seconds(LOCATION, settings))
    note = f"median of {ROUNDS} fresh processes, in turns"
    yield Row("importing dagster and dagster_dbt", median(peers), "s", None, note)
    yield Row("loading the code location", median(ours), "s", None, note)
    yield Row("loading the code location, against the imports", median(ours) / median(peers), "times", 1.3)


def _seconds(code: str, settings: Settings) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT_DIR, env=child_environment(settings))
    return perf_counter() - began

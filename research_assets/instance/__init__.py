"""The home of the Dagster instance: a folder below the data root with a copy of `dagster.yaml` from beside this module.

Dagster reads its settings from `DAGSTER_HOME`, not from the project, and forgets history and pool limits without one.
"""

import os
from pathlib import Path

from research_assets.settings import INSTANCE_DIR, Settings


def prepare_home(settings: Settings) -> Path:
    """The folder for `DAGSTER_HOME`, with the current `dagster.yaml` in it; one that differs is replaced by one rename.

    Call it before starting Dagster's processes: two that begin in an empty home at once would race each other.
    """
    home = settings.dagster_home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = (INSTANCE_DIR / "dagster.yaml").read_bytes()
    held = home / "dagster.yaml"
    if not held.exists() or held.read_bytes() != wanted:
        beside = home / f".dagster.yaml.{os.getpid()}"
        beside.write_bytes(wanted)
        beside.chmod(0o600)
        beside.replace(held)
    return home

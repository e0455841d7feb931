"""The home folder of the Dagster instance: a folder in the data root with a copy of the `dagster.yaml` of this package.

Dagster reads the settings of an instance from `DAGSTER_HOME`, not from the project. Without a home it keeps neither
history nor pool limits. Not here: the settings of the project (see settings.py).
"""

from pathlib import Path

from research_assets.settings import INSTANCE_DIR, Settings
from research_assets.storage.files import folder_lock, private_folder, write_private


def prepare_home(settings: Settings) -> Path:
    """Return the folder for `DAGSTER_HOME` with the current `dagster.yaml` in it.

    One rename replaces a copy that differs. Call it before starting Dagster's processes, because two processes that
    start in an empty home would create it at the same time.
    """
    home = settings.dagster_home
    private_folder(home)
    content = (INSTANCE_DIR / "dagster.yaml").read_bytes()
    path = home / "dagster.yaml"
    with folder_lock(home):
        if not path.exists() or path.read_bytes() != content:
            write_private(path, content)
    return home

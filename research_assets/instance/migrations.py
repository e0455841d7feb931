"""The migration scripts of Dagster's storage, which Dagster reads whenever it opens an instance.

Not here: the instance and its home folder (see `__init__.py`).
"""

from collections.abc import Callable
from functools import cache

from alembic.config import Config
from alembic.script import ScriptDirectory


@cache
def read_migrations_once() -> None:
    """Let Dagster read its almost 90 migration scripts once in this process.

    Each tick of a sensor opens the instance, which compares the revision of three databases with the newest script.
    Reading the scripts each time takes longer than all else that most ticks do.
    """
    read: Callable[[Config], ScriptDirectory] = ScriptDirectory.from_config
    directories: dict[str, ScriptDirectory] = {}

    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location") or ""
        if not location.startswith("dagster:"):
            return read(config)
        if location not in directories:
            directories[location] = read(config)
        return directories[location]

    ScriptDirectory.from_config = read_once  # type: ignore[method-assign]

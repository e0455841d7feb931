"""The home folder of the Dagster instance, and the `dagster.yaml` of this package.

Dagster reads the settings of an instance from `DAGSTER_HOME`, not from the project. Without a home it keeps neither
history nor pool limits. The file belongs to the person who runs the instance: it is written only where there is none.
Not here: the settings of the project (see settings.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from research_assets.settings import INSTANCE_DIR, Settings, SettingsError
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import private_folder, write_private

_CONSEQUENCES: Mapping[str, str] = {
    "telemetry.enabled": "commands that this project does not start send usage statistics",
    "nux.enabled": "a sign-up window can cover the UI",
    "concurrency.runs.max_concurrent_runs": "more runs than this machine may have memory for can start together",
    "concurrency.pools.default_limit": "two runs can use one quota pool together and meet the rate limit",
    "concurrency.pools.granularity": "a run that waits for its pool occupies a process",
    "run_queue.dequeue_interval_seconds": "a queued run starts up to 5 seconds later",
    "run_queue.max_user_code_failure_retries": "queued runs fail while the code location cannot be reached",
    "run_monitoring.enabled": "a run whose process dies stays in progress",
    "run_retries.enabled": "a crashed run is not retried",
    "run_retries.max_retries": "a crashed run is retried more or less often",
    "run_retries.retry_on_asset_or_op_failure": "a failed asset is retried at once, which costs requests",
    "retention.schedule.purge_after_days": "ticks of schedules are kept for ever",
    "retention.sensor.purge_after_days.skipped": "ticks of sensors are kept for 7 days",
    "retention.sensor.purge_after_days.failure": "failed ticks are kept for ever",
    "retention.sensor.purge_after_days.success": "successful ticks are kept for ever",
}
"""Consequence of a missing setting of the package's file, by its path of keys."""


@dataclass(frozen=True, slots=True)
class MissingSetting:
    """A setting of the package's `dagster.yaml` that a person's file does not have, and what follows from that."""

    path: str
    value: Any
    consequence: str

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.path}: {value} is not set: {self.consequence}"


def prepare_home(settings: Settings) -> Path:
    """Return the folder for `DAGSTER_HOME`; write `dagster.yaml` into it if there is none.

    Call it before starting Dagster's processes, because two processes that start in an empty home would create it at
    the same time. A folder that already exists keeps its permissions.
    """
    home = settings.dagster_home
    if not home.is_dir():
        private_folder(home)
    with folder_lock(home):
        if instance_file(home) is None:
            write_private(home / "dagster.yaml", (INSTANCE_DIR / "dagster.yaml").read_bytes())
    _require_readable(home)
    return home


def _require_readable(home: Path) -> None:
    """Raise SettingsError if the settings of the instance are no YAML, or a section of them has no settings below it.

    Dagster would fail with an error that names no file.
    """
    file = instance_file(home)
    assert file is not None
    try:
        present = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
    else:
        ours = yaml.safe_load((INSTANCE_DIR / "dagster.yaml").read_text(encoding="utf-8"))
        problem = _find_text(present or {}, {"storage": {}, **ours})
    if problem:
        raise SettingsError(
            f"The settings of Dagster in {file} cannot be used: {problem}. Nothing was started. Correct the file, or "
            "move it away: the next command writes one with the recommended settings."
        )


def _find_text(present: Any, expected: Mapping[str, Any], place: str = "the file") -> str:
    """Return what has no settings below it although it must have some; empty if there is nothing of that kind."""
    if not isinstance(present, dict):
        return f"{place} has no settings below it"
    wrong = (
        _find_text(present[key], below, f"`{key}`")
        for key, below in expected.items()
        # A retention may also be one number of days.
        if isinstance(below, dict) and key != "purge_after_days" and present.get(key) is not None
    )
    return next(filter(None, wrong), "")


def instance_file(home: Path) -> Path | None:
    """Return the file with the settings of the instance, under either of the names that Dagster reads; None if none."""
    return next((path for path in (home / "dagster.yaml", home / "dagster.yml") if path.exists()), None)


def missing_settings(home: Path) -> list[MissingSetting]:
    """Return the settings of the package's file that the file in a home does not set, in the order of the former.

    A setting with another value is a decision and no omission. A file that cannot be parsed is reported by Dagster.
    """
    file = instance_file(home)
    if file is None:
        return []
    try:
        present = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError:
        return []
    ours = yaml.safe_load((INSTANCE_DIR / "dagster.yaml").read_text())
    return [
        MissingSetting(".".join(keys), value, _CONSEQUENCES[".".join(keys)])
        for keys, value in _leaves(ours)
        if not _has(present, keys)
    ]


def _leaves(mapping: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _has(mapping: Any, keys: tuple[str, ...]) -> bool:
    """Return whether a path of keys is set; a value in place of a mapping sets all that is below."""
    for key in keys:
        if not isinstance(mapping, dict):
            return mapping is not None
        if key not in mapping:
            return False
        mapping = mapping[key]
    return True

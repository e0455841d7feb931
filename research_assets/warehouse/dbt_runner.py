"""Calls of dbt as a process of its own: the manifest, and the result of each model and test.

dbt reads nothing of this process but the two paths and the memory limit that its profile names. Not here: which raw
files a build reads (see changes.py), and what a build calls and publishes (see build.py).
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from research_assets.settings import DBT_PROJECT_DIR, NOT_FOR_DBT, Settings
from research_assets.storage import files
from research_assets.storage.file_locks import locked
from research_assets.storage.listing import all_files
from research_assets.warehouse import changes, dbt_process

LogCallback = Callable[[int, str], None]
"""Callback for a log line of the build: the level, as in `logging`, and the text."""

_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR}


class DbtError(RuntimeError):
    """A call that dbt could not execute."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """Result of one model or test. `seconds` is its run time, `failures` the number of failing rows of a test."""

    unique_id: str
    status: str
    message: str
    failures: int | None
    seconds: float
    sql: str

    @property
    def name(self) -> str:
        """Name of the model or test in the dbt project."""
        return self.unique_id.split(".")[2]

    @property
    def failed(self) -> bool:
        """Return whether the result prevents publishing; a skipped node follows from another node's failure."""
        return self.status in {"error", "fail"}


def prepare_manifest(settings: Settings) -> Path:
    """Return the path of a manifest of the current dbt project; parse the project only if there is none.

    Raises DbtError if the project cannot be parsed.
    """
    manifest, digest = settings.dbt_target / "manifest.json", project_digest()
    if not _is_current(settings, digest):
        with file_lock(settings, "parse", wait=True):
            if not _is_current(settings, digest):
                call_dbt(settings, ["parse"])
                # dbt writes in place, and other processes may read at any time, so its file is renamed into place.
                files.write_private(manifest, (_target(settings) / "manifest.json").read_bytes())
                files.write_private(_digest_path(settings), digest.encode())
    return manifest


def run_dbt(settings: Settings, arguments: Sequence[str], progress: LogCallback) -> list[NodeResult]:
    """Call dbt and return the result of each model and test, in order of completion.

    A failed model or test is a result, not an exception. `progress` is called with dbt's lines about models, and about
    tests that do not pass. Raises DbtError if dbt could not run.
    """
    results_path = _target(settings) / "run_results.json"
    results_path.unlink(missing_ok=True)
    call_dbt(settings, arguments, results_path, progress)
    return [
        NodeResult(
            unique_id=result["unique_id"],
            status=result["status"],
            message=result["message"] or "",
            failures=result["failures"],
            seconds=result["execution_time"],
            sql=result["compiled_code"] or "",
        )
        for result in orjson.loads(results_path.read_bytes())["results"]
    ]


def call_dbt(
    settings: Settings,
    arguments: Sequence[str],
    results: Path | None = None,
    progress: LogCallback = lambda *_: None,
) -> None:
    """Call dbt and pass its lines on to `progress`.

    Raises DbtError if dbt fails without writing the file `results`.
    """
    files.private_folder(settings.dbt_target)
    # The SQL of models that no longer exist would remain.
    shutil.rmtree(compiled_path(settings), ignore_errors=True)
    paths = {
        "--project-dir": DBT_PROJECT_DIR,
        "--profiles-dir": DBT_PROJECT_DIR,
        "--target-path": _target(settings),
        "--log-path": settings.dbt_target,
    }
    options = ["--log-format", "json", "--log-format-file", "text", "--log-level-file", "info", "--no-use-colors"]
    reason = "dbt reported no reason"
    # `-P`: the current folder, which may be anybody's, provides no modules.
    with subprocess.Popen(
        [sys.executable, "-P", "-m", dbt_process.__name__, *arguments, *options, "--no-version-check"]
        + [str(word) for pair in paths.items() for word in pair],
        env=_environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                level, text = _log_line(line)
                if level >= logging.ERROR or (level == logging.NOTSET and "Error: " in text):
                    reason = text
                if level:
                    progress(level, text)
        except BaseException:
            process.kill()
            raise
    if process.returncode and (results is None or not results.exists()):
        raise DbtError(
            f"dbt could not {arguments[0]} the project in {DBT_PROJECT_DIR} (exit code {process.returncode}): "
            f"{reason}. Nothing was published. See {log_path(settings)}."
        )


def compiled_path(settings: Settings) -> Path:
    """Return the folder with the SQL that dbt ran in the last build."""
    return _target(settings) / "compiled"


def log_path(settings: Settings) -> Path:
    """Return the path of dbt's log, newest lines last."""
    return settings.dbt_target / "dbt.log"


def project_digest() -> str:
    """Return a digest of all that the marts depend on, except data: the project's files and the tools' versions."""
    digest = hashlib.sha256()
    for tool in ("dbt-core", "dbt-duckdb", "duckdb"):
        digest.update(version(tool).encode() + b"\0")
    paths = [DBT_PROJECT_DIR / "dbt_project.yml", DBT_PROJECT_DIR / "profiles.yml"]
    for folder in ("macros", "models", "seeds", "tests"):
        paths += sorted(all_files(DBT_PROJECT_DIR / folder))
    for path in paths:
        digest.update(str(path.relative_to(DBT_PROJECT_DIR)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def file_lock(settings: Settings, name: str, *, wait: bool) -> Iterator[None]:
    """Lock out other threads and processes. Raises LockTaken at once if `wait` is False and the lock is taken."""
    path = files.private_folder(settings.dbt_target) / f"{name}.lock"
    with locked(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), path, wait=wait):
        yield


def _target(settings: Settings) -> Path:
    """Return dbt's own folder, with its partial parse, its artifacts and the SQL that it ran."""
    return settings.dbt_target / "target"


def _is_current(settings: Settings, digest: str) -> bool:
    """Return whether the stored manifest is that of the project with this digest."""
    mark = _digest_path(settings)
    return (settings.dbt_target / "manifest.json").exists() and mark.exists() and mark.read_text() == digest


def _digest_path(settings: Settings) -> Path:
    return settings.dbt_target / "manifest.sha256"


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of dbt: that of this process without credentials, and what dbt's profile reads."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_DBT)}
    return inherited | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RESEARCH_WAREHOUSE_BUILD": str(settings.warehouse_build),
        "RESEARCH_WAREHOUSE_SCRATCH": str(changes.scratch_path(settings)),
        "RESEARCH_WAREHOUSE_MEMORY": settings.warehouse_memory,
    }


def _log_line(line: bytes) -> tuple[int, str]:
    """Return the level and text of a line of dbt; level NOTSET for lines that are only of interest in dbt's log."""
    try:
        event: dict[str, Any] = orjson.loads(line)["info"]
    except (ValueError, KeyError, TypeError):
        # A message of Python or of a library, such as a traceback.
        return logging.NOTSET, line.decode(errors="replace").strip()
    level = _LEVELS.get(event["level"], logging.INFO if event["name"] == "LogModelResult" else logging.NOTSET)
    return level, str(event["msg"]).strip()

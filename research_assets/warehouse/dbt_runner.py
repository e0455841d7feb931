"""Calls of dbt in this process: the manifest, one call at a time, and the result of each model and test.

Not here: which raw files a build reads (see changes.py), and what a build calls and publishes (see build.py).
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, cast

import duckdb
import orjson

from research_assets import fields
from research_assets.settings import DBT_PROJECT_DIR, Settings
from research_assets.storage import files
from research_assets.warehouse import changes

LogCallback = Callable[[int, str], None]
"""Callback for a log line of the build: the level, as in `logging`, and the text."""

BUILD_PATH_VARIABLE = "RESEARCH_WAREHOUSE_BUILD"
"""Environment variable that passes the build file to dbt's profile; set only during a call."""

SCRATCH_PATH_VARIABLE = "RESEARCH_WAREHOUSE_SCRATCH"
"""Environment variable that passes the file of the unpublished views to dbt's profile; set only during a call."""

MAX_LOG_BYTES = 10 * 2**20
"""Size of dbt's log (bytes) above which the next call starts a new log."""

_DBT_LOCK = threading.Lock()
"""Lock for one call at a time in this process, because dbt keeps its state in globals."""


class DbtError(RuntimeError):
    """A call that dbt could not execute."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """Result of one model or test. `seconds` is its run time, `failures` the number of failing rows of a test."""

    unique_id: str
    name: str
    status: str
    message: str
    failures: int | None
    seconds: float
    sql: str

    @property
    def failed(self) -> bool:
        """Return whether the result prevents publishing; a skipped node follows from another node's failure."""
        return self.status in {"error", "fail", "runtime error"}


def prepare_manifest(settings: Settings) -> Path:
    """Return the path of a manifest of the current dbt project; parse the project only if there is none.

    Raises DbtError if the project cannot be parsed.
    """
    if not _manifest_is_current(settings, project_digest()):
        parse_project(settings)
    return settings.dbt_target / "manifest.json"


def _manifest_is_current(settings: Settings, digest: str) -> bool:
    """Return whether the stored manifest is that of the project with this digest."""
    mark = settings.dbt_target / "manifest.sha256"
    return (settings.dbt_target / "manifest.json").exists() and mark.exists() and mark.read_text() == digest


def parse_project(settings: Settings) -> Any:
    """Parse the project, as far as files changed, store its manifest for the next load, and return dbt's Manifest.

    Raises DbtError if the project cannot be parsed.
    """
    with file_lock(settings, "parse", wait=True), dbt_session(settings):
        digest = project_digest()
        # dbt writes its manifest in place, so the copy for other processes is renamed into place.
        outcome = _invoke(settings, ["parse"])
        if not outcome.success:
            raise DbtError(
                f"The dbt project in {DBT_PROJECT_DIR} cannot be parsed: {outcome.exception}. Nothing was built. "
                f"See {log_path(settings)}."
            )
        if not _manifest_is_current(settings, digest):
            manifest = outcome.result.writable_manifest().to_dict(omit_none=False)
            files.write_private(settings.dbt_target / "manifest.json", orjson.dumps(manifest))
            files.write_private(settings.dbt_target / "manifest.sha256", digest.encode())
        return outcome.result


@dataclass(frozen=True, slots=True)
class DbtSession:
    """Calls of dbt that share one open build file; `dbt_session` creates and closes a session."""

    settings: Settings

    def call(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, Any],
        manifest: Any,
        progress: LogCallback | None = None,
        on_model_built: Callable[[str], None] | None = None,
    ) -> list[NodeResult]:
        """Call dbt and return the result of each model and test, in order of completion.

        A failed model or test is a result, not an exception. dbt's own threads call `progress` with log lines, and
        `on_model_built` with the id of each model that was built. Raises DbtError if dbt could not run.
        """
        command = [*arguments, "--vars", json.dumps(variables)]
        outcome = _invoke(self.settings, command, manifest, progress, on_model_built)
        if not hasattr(outcome.result, "results"):
            raise DbtError(
                f"The warehouse could not be built: {outcome.exception or 'dbt reported no reason'}. "
                f"Nothing was published. See {log_path(self.settings)}."
            )
        return [
            NodeResult(
                unique_id=result.node.unique_id,
                name=result.node.name,
                status=str(result.status),
                message=result.message or "",
                failures=result.failures,
                seconds=result.execution_time,
                sql=getattr(result.node, "compiled_code", None) or "",
            )
            for result in outcome.result.results
        ]

    def open_build(self) -> duckdb.DuckDBPyConnection:
        """Open another connection to the file that dbt builds, for one thread; close it before the session ends.

        Raises DbtError if dbt has not opened the file.
        """
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        # dbt's own threads take this lock too.
        with DuckDBConnectionManager._LOCK:
            if DuckDBConnectionManager._ENV is None:
                raise DbtError(
                    "The increment could not be tested, because dbt had not opened the build. Nothing was published."
                )
            handle = DuckDBConnectionManager.env().handle()
        return cast("duckdb.DuckDBPyConnection", handle.cursor())


@contextmanager
def dbt_session(settings: Settings) -> Iterator[DbtSession]:
    """Reserve dbt in this process and close the build file at the end; other connections must be closed before."""
    with _DBT_LOCK, _environment(settings):
        try:
            yield DbtSession(settings)
        finally:
            _close_build()


def clear_artifacts(settings: Settings) -> None:
    """Remove the files that earlier calls wrote for each model: replacing them takes long while the disk is busy.

    Call it inside `build_lock`.
    """
    for folder in ("compiled", "run"):
        shutil.rmtree(settings.dbt_target / folder, ignore_errors=True)
    (settings.dbt_target / "graph_summary.json").unlink(missing_ok=True)


def log_path(settings: Settings) -> Path:
    """Return the path of dbt's log, newest lines last."""
    return settings.dbt_target / "dbt.log"


def field_availability() -> dict[str, str]:
    """Return the date since which the API has each field, by `entity.field`."""
    return {
        f"{entity.name}.{field.name}": field.since for entity in fields.ENTITIES.values() for field in entity.fields
    }


def project_digest() -> str:
    """Return a digest of all that the marts depend on, except data: the project's files and the tools' versions."""
    digest = hashlib.sha256()
    for tool in ("dbt-core", "dbt-duckdb", "duckdb"):
        digest.update(version(tool).encode() + b"\0")
    digest.update(orjson.dumps(field_availability()))
    paths = [DBT_PROJECT_DIR / "dbt_project.yml", DBT_PROJECT_DIR / "profiles.yml"]
    for folder in ("macros", "models", "seeds", "tests"):
        paths += sorted(path for path in (DBT_PROJECT_DIR / folder).rglob("*") if path.is_file())
    for path in paths:
        digest.update(str(path.relative_to(DBT_PROJECT_DIR)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _invoke(
    settings: Settings,
    arguments: Sequence[str],
    manifest: Any = None,
    progress: LogCallback | None = None,
    on_model_built: Callable[[str], None] | None = None,
) -> Any:
    """Call dbt and return its dbtRunnerResult."""
    # Importing dbt takes seconds, and loading the definitions does not need it.
    from dbt.cli.main import dbtRunner

    def handle_event(event: Any) -> None:
        if event.info.level in ("info", "warn", "error"):
            log.write(f"{event.info.ts.ToJsonString()} {event.info.level}: {event.info.msg}\n")
        if progress is not None and (line := _log_line(event)):
            progress(*line)
        if (
            on_model_built is not None
            and event.info.name == "NodeFinished"
            and event.data.node_info.node_status == "success"
        ):
            on_model_built(event.data.node_info.unique_id)

    paths = {
        "--project-dir": DBT_PROJECT_DIR,
        "--profiles-dir": DBT_PROJECT_DIR,
        "--target-path": settings.dbt_target,
        "--log-path": settings.dbt_target,
    }
    options = [str(word) for pair in paths.items() for word in pair]
    # Writing its own log and run results takes a fifth of dbt's time outside the queries.
    quiet = ["--log-level", "none", "--log-level-file", "none", "--no-write-json", "--no-version-check"]
    with _log(settings) as log:
        return dbtRunner(manifest=manifest, callbacks=[handle_event]).invoke([*arguments, *options, *quiet])


def _close_build() -> None:
    """Close DuckDB's file: the adapter would keep it open, and the next build would write to the previous file."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if DuckDBConnectionManager._ENV is not None:
        try:
            DuckDBConnectionManager.env().close()
        finally:
            DuckDBConnectionManager.close_all_connections()


def _log(settings: Settings) -> TextIO:
    """Open dbt's log for appending; replace a log that is larger than `MAX_LOG_BYTES`."""
    path = log_path(settings)
    large = path.exists() and path.stat().st_size > MAX_LOG_BYTES
    return path.open("w" if large else "a", encoding="utf-8")


def _log_line(event: Any) -> tuple[int, str] | None:
    """Return a log line for each model and for each test with failing rows; None for dbt's other events."""
    data = event.data
    if event.info.name == "LogModelResult":
        relation = f"{data.node_info.node_relation.schema}.{data.node_info.node_name}"
        return logging.INFO, f"{data.index} of {data.total}: {relation} in {data.execution_time:.2f} s"
    if event.info.name == "LogTestResult" and data.status not in {"pass", "skipped"}:
        return logging.WARNING, f"{data.index} of {data.num_models}: {data.name}: {data.num_failures} failing rows"
    return None


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """Set the environment variables that the dbt project reads, for the duration of one call."""
    values = {
        BUILD_PATH_VARIABLE: str(settings.warehouse_build),
        SCRATCH_PATH_VARIABLE: str(changes.scratch_path(settings)),
    }
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def file_lock(settings: Settings, name: str, *, wait: bool) -> Iterator[None]:
    """Lock out other threads and processes. Raises BlockingIOError at once if `wait` is False and the lock is taken."""
    files.private_folder(settings.dbt_target)
    with (settings.dbt_target / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield

"""dbt inside this process: the manifest, one call after another, and what became of each model and test.

Nothing here knows Dagster, nor what a build is for: that is `_build.py`'s matter.
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
"""Takes a line about the build and its level, as `logging` counts levels."""

BUILD_PATH_VARIABLE = "RESEARCH_WAREHOUSE_BUILD"
"""Tells dbt's profile which file to build; set here for the time of a call, read by nothing else."""

SCRATCH_PATH_VARIABLE = "RESEARCH_WAREHOUSE_SCRATCH"
"""Tells dbt's profile the file of the views that are not published; like the other."""

MAX_LOG_BYTES = 10 * 2**20
"""Bytes of dbt's log from which on a new one is begun."""

_DBT_LOCK = threading.Lock()
"""dbt keeps its state in globals, so one process makes one call at a time."""


class DbtError(RuntimeError):
    """dbt could not do what it was asked to do."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one model or test. `seconds` is its run time, `failures` the rows that a test objects to."""

    unique_id: str
    name: str
    status: str
    message: str
    failures: int | None
    seconds: float
    sql: str

    @property
    def failed(self) -> bool:
        """Whether it stands in the way of publishing; a skipped one only follows from another."""
        return self.status in {"error", "fail", "runtime error"}


def prepare_manifest(settings: Settings) -> Path:
    """The path of a manifest that fits the dbt project as it is now; parses only if there is none.

    Raises DbtError if the project cannot be parsed.
    """
    if not _manifest_is_current(settings, project_digest()):
        parse_project(settings)
    return settings.dbt_target / "manifest.json"


def _manifest_is_current(settings: Settings, digest: str) -> bool:
    """Whether the manifest that is there is that of a project."""
    mark = settings.dbt_target / "manifest.sha256"
    return (settings.dbt_target / "manifest.json").exists() and mark.exists() and mark.read_text() == digest


def parse_project(settings: Settings) -> Any:
    """Parse the project, as far as anything changed, and leave its manifest for the next load; dbt's Manifest.

    Raises DbtError if the project cannot be parsed.
    """
    with file_lock(settings, "parse", wait=True), dbt_session(settings):
        digest = project_digest()
        # dbt writes its manifest in place; the one that others load is renamed into place.
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
    """Calls of dbt, with the build file open from the first that needs it; `session` begins and ends one."""

    settings: Settings

    def call(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, Any],
        manifest: Any,
        progress: LogCallback | None = None,
        built: Callable[[str], None] | None = None,
    ) -> list[NodeResult]:
        """Call dbt; what became of each model and test, in the order in which they ended. A failed one is a result.

        `progress`, and `built` with the id of each model that was built, are called from dbt's own threads.
        Raises DbtError if dbt could not run at all.
        """
        words = [*arguments, "--vars", json.dumps(variables)]
        outcome = _invoke(self.settings, words, manifest, progress, built)
        if not hasattr(outcome.result, "results"):
            raise DbtError(
                f"The warehouse could not be built: {outcome.exception or 'dbt gave no reason'}. "
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
        """A further connection to the file that dbt builds, for one thread; whoever asks closes it within the session.

        Raises DbtError if dbt has not opened the file.
        """
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        # As dbt's own threads do.
        with DuckDBConnectionManager._LOCK:
            if DuckDBConnectionManager._ENV is None:
                raise DbtError("dbt had not opened the build when it was to be tested")
            handle = DuckDBConnectionManager.env().handle()
        return cast("duckdb.DuckDBPyConnection", handle.cursor())


@contextmanager
def dbt_session(settings: Settings) -> Iterator[DbtSession]:
    """Dbt to oneself, in this process, and the build file closed at the end: all that uses it has to end before."""
    with _DBT_LOCK, _environment(settings):
        try:
            yield DbtSession(settings)
        finally:
            _close_build()


def clear_artifacts(settings: Settings) -> None:
    """Remove what earlier calls wrote for each model: while the disk is busy, to replace a file takes long.

    Whoever calls this keeps every other build out.
    """
    for folder in ("compiled", "run"):
        shutil.rmtree(settings.dbt_target / folder, ignore_errors=True)
    (settings.dbt_target / "graph_summary.json").unlink(missing_ok=True)


def log_path(settings: Settings) -> Path:
    """Dbt's own log, the newest lines last."""
    return settings.dbt_target / "dbt.log"


def field_availability() -> dict[str, str]:
    """Since when the API has each field, by `entity.field`."""
    return {
        f"{entity.name}.{field.name}": field.since for entity in fields.ENTITIES.values() for field in entity.fields
    }


def project_digest() -> str:
    """What the manifest and the tables depend on, besides the data: the project's files, and the tools' versions."""
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
    built: Callable[[str], None] | None = None,
) -> Any:
    """One call of dbt; its dbtRunnerResult."""
    # dbt takes seconds to import, and loading the definitions does without it.
    from dbt.cli.main import dbtRunner

    def passed_on(event: Any) -> None:
        if event.info.level in ("info", "warn", "error"):
            log.write(f"{event.info.ts.ToJsonString()} {event.info.level}: {event.info.msg}\n")
        if progress is not None and (reported := _log_line(event)):
            progress(*reported)
        if built is not None and event.info.name == "NodeFinished" and event.data.node_info.node_status == "success":
            built(event.data.node_info.unique_id)

    places = {
        "--project-dir": DBT_PROJECT_DIR,
        "--profiles-dir": DBT_PROJECT_DIR,
        "--target-path": settings.dbt_target,
        "--log-path": settings.dbt_target,
    }
    options = [str(word) for pair in places.items() for word in pair]
    # dbt's own log and the account of what it ran cost it a fifth of the time that it takes beside its queries.
    quiet = ["--log-level", "none", "--log-level-file", "none", "--no-write-json", "--no-version-check"]
    with _log(settings) as log:
        return dbtRunner(manifest=manifest, callbacks=[passed_on]).invoke([*arguments, *options, *quiet])


def _close_build() -> None:
    """Close DuckDB's file: the adapter would keep it open, and the next build would write to the one before it."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if DuckDBConnectionManager._ENV is not None:
        try:
            DuckDBConnectionManager.env().close()
        finally:
            DuckDBConnectionManager.close_all_connections()


def _log(settings: Settings) -> TextIO:
    """The log of dbt, open to be added to; an old one that has grown large is given up."""
    path = log_path(settings)
    large = path.exists() and path.stat().st_size > MAX_LOG_BYTES
    return path.open("w" if large else "a", encoding="utf-8")


def _log_line(event: Any) -> tuple[int, str] | None:
    """One line for each model, and for each test that objects to something; None for the rest of dbt's events."""
    data = event.data
    if event.info.name == "LogModelResult":
        relation = f"{data.node_info.node_relation.schema}.{data.node_info.node_name}"
        return logging.INFO, f"{data.index} of {data.total}: {relation} in {data.execution_time:.2f} s"
    if event.info.name == "LogTestResult" and data.status not in {"pass", "skipped"}:
        return logging.WARNING, f"{data.index} of {data.num_models}: {data.name}: {data.num_failures} rows object"
    return None


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """The variables that the dbt project reads, for the time of one call."""
    wanted = {
        BUILD_PATH_VARIABLE: str(settings.warehouse_build),
        SCRATCH_PATH_VARIABLE: str(changes.scratch_path(settings)),
    }
    before = {name: os.environ[name] for name in wanted if name in os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def file_lock(settings: Settings, what: str, *, wait: bool) -> Iterator[None]:
    """Keep others out, in whatever process. Raises BlockingIOError at once if they are in and nobody waits."""
    files.private_folder(settings.dbt_target)
    with (settings.dbt_target / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield

"""dbt inside this process: the manifest, a build into a file of its own, its publication by one rename.

Nothing here knows Dagster. What a build takes in is `_intake.py`'s matter, what it means for assets `warehouse.py`'s,
what can be said about its tables `_dbt_events.py`'s.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import orjson

from research_assets import fields, files
from research_assets.assets import _intake
from research_assets.assets._intake import Intake
from research_assets.settings import DBT_PROJECT_DIR, Settings

Progress = Callable[[int, str], None]
"""Takes a line about the build and its level, as `logging` counts levels."""

BUILD_PATH_VARIABLE = "RESEARCH_WAREHOUSE_BUILD"
"""Tells dbt's profile which file to build; set here for the time of a call, read by nothing else."""

STAGING_PATH_VARIABLE = "RESEARCH_WAREHOUSE_STAGING"
"""Tells dbt's profile the file of the views that are not published; like the other."""

MOST_LOG = 10 * 2**20
"""Bytes of dbt's log from which on a new one is begun."""

_ONE_CALL = threading.Lock()
"""dbt keeps its state in globals, so one process makes one call at a time."""


class WarehouseBusy(RuntimeError):
    """Another build of this warehouse is running."""


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
    if not _fits(settings, _project_digest()):
        _parse(settings)
    return settings.dbt_target / "manifest.json"


def _fits(settings: Settings, digest: str) -> bool:
    """Whether the manifest that is there is that of a project."""
    mark = settings.dbt_target / "manifest.sha256"
    return (settings.dbt_target / "manifest.json").exists() and mark.exists() and mark.read_text() == digest


@contextmanager
def building(settings: Settings) -> Iterator[None]:
    """Keep every other build of this warehouse out, in whatever process; one that died holds nobody up.

    Raises WarehouseBusy at once if another build is running.
    """
    with _locked(settings, "build", wait=False):
        _remove_build(settings)
        yield


def plan(settings: Settings, *, whole: bool = False) -> Intake:
    """What a build that begins now has to take in: what came since the published one, or everything.

    Everything it is with `whole`, and by itself where an increment would not do; `Intake.why_whole` says why.
    """
    return _intake.plan(settings, _project_digest(), whole=whole)


def build(settings: Settings, intake: Intake, *, now: datetime, progress: Progress) -> list[NodeResult]:
    """Build and test the models in `settings.warehouse_build`, from what was planned; call it within `building`.

    `progress` is called from dbt's own threads. The results come in the order in which they ended; a failed model or
    test is a result, not an exception.
    Raises DbtError if dbt could not run at all.
    """
    manifest, increment = _parse(settings), intake.why_whole is None
    _intake.open_raw(settings, intake)
    idle = _idle(manifest, intake) if increment else []
    variables = {"now": now.isoformat(), "increment": increment, "idle": idle, "api_fields": _api_fields()}
    arguments = ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps(variables)]
    if increment:
        shutil.copyfile(settings.warehouse, settings.warehouse_build)
        settings.warehouse_build.chmod(0o600)
        # The views and what follows from the project's files alone are those of the build before.
        arguments += ["--exclude", "config.materialized:view", "path:seeds", *idle]
        # With little to read, most of the time goes into dbt's own work between the queries.
        arguments += ["--threads", "2"]
    with _ONE_CALL, _environment(settings):
        outcome = _invoke(settings, arguments, manifest, progress)
    if not hasattr(outcome.result, "results"):
        raise DbtError(
            f"The warehouse could not be built: {outcome.exception or 'dbt gave no reason'}. Nothing was published. "
            f"See {log_path(settings)}."
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


def _idle(manifest: Any, intake: Intake) -> list[str]:
    """The marts that nothing came for; one that does not say what feeds it depends on the hour as well."""
    fed = (node for node in manifest.nodes.values() if "fed_by" in node.config.meta)
    return sorted(node.name for node in fed if not intake.news & set(node.config.meta["fed_by"]))


def publish(settings: Settings, intake: Intake) -> None:
    """Put the finished build in the place of the warehouse by one rename; call it within `building`.

    Whoever has the old one open keeps reading the old one.
    """
    files.flush(settings.warehouse_build)
    _intake.write_record(settings, intake, _project_digest())
    # A change that somebody made to the old warehouse must not be replayed into the new one.
    _wal(settings.warehouse).unlink(missing_ok=True)
    files.publish(settings.warehouse_build, settings.warehouse)


def log_path(settings: Settings) -> Path:
    """Dbt's own log, the newest lines last."""
    return settings.dbt_target / "dbt.log"


def _api_fields() -> dict[str, str]:
    """Since when the API has each field, by `entity.field`."""
    return {
        f"{entity.name}.{field.name}": field.since for entity in fields.ENTITIES.values() for field in entity.fields
    }


def _project_digest() -> str:
    """What the manifest and the tables depend on, besides the data: the project's files, and the tools' versions."""
    digest = hashlib.sha256()
    for tool in ("dbt-core", "dbt-duckdb", "duckdb"):
        digest.update(version(tool).encode() + b"\0")
    digest.update(orjson.dumps(_api_fields()))
    paths = [DBT_PROJECT_DIR / "dbt_project.yml", DBT_PROJECT_DIR / "profiles.yml"]
    for folder in ("macros", "models", "seeds", "tests"):
        paths += sorted(path for path in (DBT_PROJECT_DIR / folder).rglob("*") if path.is_file())
    for path in paths:
        digest.update(str(path.relative_to(DBT_PROJECT_DIR)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _parse(settings: Settings) -> Any:
    """Parse the project, as far as anything changed, and leave its manifest for the next load; dbt's Manifest."""
    with _locked(settings, "parse", wait=True), _ONE_CALL, _environment(settings):
        digest = _project_digest()
        # dbt writes its manifest in place; the one that others load is renamed into place.
        outcome = _invoke(settings, ["parse"])
        if not outcome.success:
            raise DbtError(
                f"The dbt project in {DBT_PROJECT_DIR} cannot be parsed: {outcome.exception}. Nothing was built. "
                f"See {log_path(settings)}."
            )
        if not _fits(settings, digest):
            manifest = outcome.result.writable_manifest().to_dict(omit_none=False)
            files.write_private(settings.dbt_target / "manifest.json", orjson.dumps(manifest))
            files.write_private(settings.dbt_target / "manifest.sha256", digest.encode())
        return outcome.result


def _invoke(
    settings: Settings,
    arguments: Sequence[str],
    manifest: Any = None,
    progress: Progress | None = None,
) -> Any:
    """One call of dbt, and the DuckDB file closed after it; dbt's dbtRunnerResult."""
    # dbt takes seconds to import, and loading the definitions does without it.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    def passed_on(event: Any) -> None:
        if event.info.level in ("info", "warn", "error"):
            log.write(f"{event.info.ts.ToJsonString()} {event.info.level}: {event.info.msg}\n")
        if progress is not None and (told := _told(event)):
            progress(*told)

    places = {
        "--project-dir": DBT_PROJECT_DIR,
        "--profiles-dir": DBT_PROJECT_DIR,
        "--target-path": settings.dbt_target,
        "--log-path": settings.dbt_target,
    }
    options = [str(word) for pair in places.items() for word in pair]
    # dbt's own log and the account of what it ran cost it a fifth of the time that it takes beside its queries.
    quiet = ["--log-level", "none", "--log-level-file", "none", "--no-write-json", "--no-version-check"]
    try:
        with _log(settings) as log:
            return dbtRunner(manifest=manifest, callbacks=[passed_on]).invoke([*arguments, *options, *quiet])
    finally:
        # The adapter would keep the file open, and the next build in this process would write to the one before it.
        if DuckDBConnectionManager._ENV is not None:
            DuckDBConnectionManager.env().close()
            DuckDBConnectionManager.close_all_connections()


def _log(settings: Settings) -> TextIO:
    """The log of dbt, open to be added to; an old one that has grown large is given up."""
    path = log_path(settings)
    large = path.exists() and path.stat().st_size > MOST_LOG
    return path.open("w" if large else "a", encoding="utf-8")


def _told(event: Any) -> tuple[int, str] | None:
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
        STAGING_PATH_VARIABLE: str(_intake.staging_path(settings)),
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
def _locked(settings: Settings, what: str, *, wait: bool) -> Iterator[None]:
    files.private_folder(settings.dbt_target)
    with (settings.dbt_target / f"{what}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WarehouseBusy(
                f"The warehouse {settings.warehouse} is being built by another process, so this build did not start. "
                "Nothing was changed. Wait for the other one to end, then start again if it is still needed."
            ) from None
        yield


def _wal(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def _remove_build(settings: Settings) -> None:
    """Take away what a build that failed left for inspection."""
    for path in (settings.warehouse_build, _wal(settings.warehouse_build)):
        path.unlink(missing_ok=True)

"""One build of the warehouse: into a file of its own beside the published one, tested, published by one rename.

What a build takes in is `_intake.py`'s matter, how dbt runs `_dbt.py`'s, how the tests of an increment run
`_tests.py`'s, what a build means for assets `warehouse.py`'s.
"""

import gc
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from logging import INFO
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb

from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.warehouse import changes, dbt_runner, dbt_tests
from research_assets.warehouse.changes import BuildInput, BuildRecord
from research_assets.warehouse.dbt_runner import DbtError, LogCallback, NodeResult

BUILD_ARGUMENTS = ["build", "--exclude-resource-type", "unit_test"]


class PublishError(RuntimeError):
    """The warehouse that was built is not whole in its file."""


class BuildInProgress(RuntimeError):
    """Another build of this warehouse is running."""


@contextmanager
def build_lock(settings: Settings) -> Iterator[None]:
    """Keep every other build of this warehouse out, in whatever process; one that died holds nobody up.

    Raises WarehouseBusy at once if another build is running.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(dbt_runner.file_lock(settings, "build", wait=False))
        except BlockingIOError:
            raise BuildInProgress(
                f"The warehouse {settings.warehouse} is being built by another process, so this build did not start. "
                "Nothing was changed. Wait for the other one to end, then start again if it is still needed."
            ) from None
        _remove_build(settings)
        yield


def build_warehouse(
    settings: Settings, *, now: datetime, progress: LogCallback, full_refresh: bool = False
) -> tuple[BuildInput, list[NodeResult]]:
    """Build and test the models in `settings.warehouse_build`; what was taken in, and what became of each of them.

    What came since the published build is taken in, or everything: with `whole`, and by itself where an increment would
    not do or fails. `progress` is called from other threads. A failed model or test is a result, not an exception.
    Call it within `building`. Raises DbtError if dbt could not run at all.
    """
    why = "it was asked for" if full_refresh else "no warehouse that fits this project is held"
    record = None if full_refresh else changes.read_record(settings, dbt_runner.project_digest())
    if record is not None:
        try:
            with _freeze_gc():
                build_input, results = _build_increment(settings, record, now, progress)
            if not (failed := [result for result in results if result.failed]):
                return build_input, results
            why = _fallback_reason("; ".join(f"{result.name}: {result.message.strip()}" for result in failed))
        except changes.IncrementNotPossible as gone:
            why = str(gone)
        except (DbtError, duckdb.Error, OSError) as error:
            # A warehouse that cannot be copied is no reason to have none.
            why = _fallback_reason(str(error))
        _remove_build(settings)
    progress(INFO, f"Building {settings.warehouse_build} from everything, because {why}")
    manifest = dbt_runner.parse_project(settings)
    build_input = changes.full_input(settings, why)
    changes.create_raw_views(settings, build_input)
    with dbt_runner.dbt_session(settings) as dbt:
        return build_input, dbt.call(BUILD_ARGUMENTS, _variables(now), manifest, progress)


def _build_increment(
    settings: Settings, record: BuildRecord, now: datetime, progress: LogCallback
) -> tuple[BuildInput, list[NodeResult]]:
    """Bring a copy of the published build up to date. Raises NotAdded if that would not do."""
    dbt_runner.clear_artifacts(settings)
    with ThreadPoolExecutor(2) as aside:
        copied = aside.submit(_copy_published, settings)
        opened = aside.submit(_open_changes, settings, record)
        manifest = dbt_runner.parse_project(settings)
        build_input = opened.result()
        progress(INFO, f"Building {settings.warehouse_build} from {_describe_changes(build_input)}")
        idle = _unchanged_marts(manifest, build_input)
        # The views are those of the build before, and what follows from the project's files alone is no model.
        chosen = {
            unique_id: node.name
            for unique_id, node in manifest.nodes.items()
            if node.resource_type == "model" and node.config.materialized != "view" and node.name not in idle
        }
        # To close the gaps of replaced rows takes longer than to replace them: that is done when it is worth it.
        vacuum = 100 if build_input.compact_bytes is None else 0
        variables = _variables(now) | {"is_increment": True, "unchanged_marts": idle, "vacuum_tasks": vacuum}
        copied.result()
        # The disk works while dbt does, which leaves the flushing to us (`fsync_mode` in its profile).
        flushed = aside.submit(files.fsync_file, settings.warehouse_build)
        # With little to read, most of the time goes into dbt's own work between the queries.
        arguments = ["run", "--select", *chosen.values(), "--threads", "2", "--no-populate-cache"]
        with dbt_runner.dbt_session(settings) as dbt:
            tests = dbt_tests.compile_tests(dbt, manifest, variables)
            with dbt_tests.IncrementTestRunner(dbt, tests, chosen.keys(), progress) as testing:
                models = dbt.call(arguments, variables, manifest, progress, testing.on_model_built)
                # Should dbt have left one unsaid: no model goes untested.
                for model in models:
                    if not model.failed:
                        testing.on_model_built(model.unique_id)
                results = testing.results()
        flushed.result()
    return build_input, [*models, *results]


def publish_warehouse(settings: Settings, build_input: BuildInput) -> None:
    """Put the finished build in the place of the warehouse by one rename; call it within `building`.

    Whoever has the old one open keeps reading the old one. Raises NotPublished if rows stand in DuckDB's log only.
    """
    if reason := _checkpoint_error(settings.warehouse_build):
        # Whoever collects needs the room more.
        _remove_build(settings)
        raise PublishError(
            f"The warehouse was built but not published, because DuckDB could not write all of it into its file: "
            f"{reason}. The published warehouse, if there is one, is as it was, and the raw tables are untouched. Make "
            f"room on the disk of {settings.warehouse} (a build needs the warehouse's size once more), and build again."
        )
    # Neither was flushed by DuckDB (`fsync_mode` in dbt's profile).
    for path in (settings.warehouse_build, changes.scratch_path(settings)):
        files.fsync_file(path)
    changes.write_record(settings, build_input, dbt_runner.project_digest())
    # A change that somebody made to the old warehouse must not be replayed into the new one.
    _wal(settings.warehouse).unlink(missing_ok=True)
    with _close_in_background(settings.warehouse):
        files.publish_file(settings.warehouse_build, settings.warehouse)


def _checkpoint_error(database: Path) -> str:
    """Why a closed database is not all in its file, or nothing: on closing DuckDB keeps that to itself."""
    log = _wal(database)
    if not log.exists():
        return ""
    try:
        with duckdb.connect(str(database)) as db:
            db.execute("CHECKPOINT")
    except duckdb.Error as error:
        return str(error)
    return f"the log {log} stayed behind" if log.exists() else ""


@contextmanager
def _close_in_background(path: Path) -> Iterator[None]:
    """Keep a file that is replaced meanwhile open, and let a thread close it: to give up half a gigabyte takes time."""
    try:
        old = os.open(path, os.O_RDONLY)
    except OSError:
        # There is none yet, or none that can be read: then its room is given up at once.
        yield
        return
    try:
        yield
    finally:
        Thread(target=os.close, args=(old,), name="give up the old warehouse").start()


def _open_changes(settings: Settings, record: BuildRecord) -> BuildInput:
    """Show dbt what came since the published build."""
    build_input = changes.incremental_input(settings, record)
    changes.create_raw_views(settings, build_input)
    return build_input


@contextmanager
def _freeze_gc() -> Iterator[None]:
    """Let Python look for garbage only among what is new: dbt and Dagster are large, and are there to stay."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _copy_published(settings: Settings) -> None:
    """The published warehouse, to be brought up to date."""
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    settings.warehouse_build.chmod(0o600)


def _fallback_reason(why: str) -> str:
    return f"what came since the last build cannot be taken in ({why})"


def _variables(now: datetime) -> dict[str, Any]:
    return {"now": now.isoformat(), "field_availability": dbt_runner.field_availability()}


def _describe_changes(build_input: BuildInput) -> str:
    """How much an increment takes in, for the log."""
    days = {table: len(places) for table, places in build_input.changed_days.items() if places}
    return (
        f"what came since the last build ({', '.join(f'{n} days of {table}' for table, n in days.items()) or 'no day'})"
    )


def _unchanged_marts(manifest: Any, build_input: BuildInput) -> list[str]:
    """The marts that nothing came for; one that does not say what feeds it depends on the hour as well."""
    fed = (node for node in manifest.nodes.values() if "raw_tables" in node.config.meta)
    return sorted(node.name for node in fed if not build_input.changed_tables & set(node.config.meta["raw_tables"]))


def _wal(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def _remove_build(settings: Settings) -> None:
    """Take away what a build that failed left for inspection."""
    for path in (settings.warehouse_build, _wal(settings.warehouse_build)):
        path.unlink(missing_ok=True)

"""Build the warehouse in a file of its own beside the published one, test it, and publish it by one rename.

Not here: which raw files a build reads (see changes.py), how dbt is called (see dbt_runner.py), how the tests of an
increment run (see dbt_tests.py), and the assets of a build (see assets/warehouse.py).
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
from research_assets.warehouse.reader import READER_NAMES

BUILD_ARGUMENTS = ["build", "--exclude-resource-type", "unit_test"]
"""Arguments of dbt for a full refresh."""


class PublishError(RuntimeError):
    """A warehouse that was built but not written completely to its file."""


class BuildInProgress(RuntimeError):
    """Another process that is building this warehouse."""


@contextmanager
def build_lock(settings: Settings) -> Iterator[None]:
    """Exclude other builds of this warehouse in all processes; a process that dies releases the lock.

    Raises BuildInProgress at once if another build is running.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(dbt_runner.file_lock(settings, "build", wait=False))
        except BlockingIOError:
            raise BuildInProgress(
                f"The build of the warehouse {settings.warehouse} did not start, because the warehouse is being built "
                "by another process. Nothing was changed. Wait for that build to end, then start again if needed."
            ) from None
        _remove_build(settings)
        yield


def build_warehouse(
    settings: Settings, *, now: datetime, progress: LogCallback, full_refresh: bool = False
) -> tuple[BuildInput, list[NodeResult]]:
    """Build and test the models in `settings.warehouse_build`, and return the input and the result of each node.

    The build is an increment of the published warehouse. It is a full refresh if `full_refresh` is set, or if an
    increment is not possible or fails. `progress` is called from other threads. A failed model or test is a result,
    not an exception. Call it inside `build_lock`. Raises DbtError if dbt could not run.
    """
    reason = "requested in the run config" if full_refresh else "no published warehouse matches this dbt project"
    record = None if full_refresh else changes.read_record(settings, dbt_runner.project_digest())
    if record is not None:
        try:
            with _freeze_gc():
                build_input, results = _build_increment(settings, record, now, progress)
            if not (failed := [result for result in results if result.failed]):
                return build_input, results
            reason = _fallback_reason("; ".join(f"{result.name}: {result.message.strip()}" for result in failed))
        except changes.IncrementNotPossible as error:
            reason = str(error)
        except (DbtError, duckdb.Error, OSError) as error:
            # The published warehouse may be unreadable; a full refresh does not need it.
            reason = _fallback_reason(str(error))
        _remove_build(settings)
    progress(INFO, f"Full refresh of {settings.warehouse_build}: {reason}")
    manifest = dbt_runner.parse_project(settings)
    build_input = changes.full_input(settings, reason)
    changes.create_raw_views(settings, build_input)
    with dbt_runner.dbt_session(settings) as dbt:
        return build_input, dbt.call(BUILD_ARGUMENTS, _variables(now), manifest, progress)


def _build_increment(
    settings: Settings, record: BuildRecord, now: datetime, progress: LogCallback
) -> tuple[BuildInput, list[NodeResult]]:
    """Update a copy of the published warehouse. Raises IncrementNotPossible if a full refresh is necessary."""
    dbt_runner.clear_artifacts(settings)
    with ThreadPoolExecutor(2) as background:
        copied = background.submit(_copy_published, settings, record)
        opened = background.submit(_open_changes, settings, record)
        manifest = dbt_runner.parse_project(settings)
        build_input = opened.result()
        progress(INFO, f"Increment of {settings.warehouse_build}: {_describe_changes(build_input)}")
        unchanged_marts = _unchanged_marts(manifest, build_input)
        # The views are those of the previous build, and the seed depends on the project's files alone.
        selected = {
            unique_id: node.name
            for unique_id, node in manifest.nodes.items()
            if node.resource_type == "model" and node.config.materialized != "view" and node.name not in unchanged_marts
        }
        # Closing the gaps of replaced rows takes longer than replacing the rows, so only a build that compacts does it.
        vacuum_tasks = 100 if build_input.compact_bytes is None else 0
        variables = _variables(now) | {
            "is_increment": True,
            "unchanged_marts": unchanged_marts,
            "vacuum_tasks": vacuum_tasks,
        }
        copied.result()
        # dbt's profile turns off DuckDB's flushing (`fsync_mode`), so the copy is flushed here while dbt works.
        flushed = background.submit(files.fsync_file, settings.warehouse_build)
        # With little to read, dbt's own work between the queries takes most of the time, so two threads help.
        arguments = ["run", "--select", *selected.values(), "--threads", "2", "--no-populate-cache"]
        with dbt_runner.dbt_session(settings) as dbt:
            tests = dbt_tests.compile_tests(dbt, manifest, variables)
            with dbt_tests.IncrementTestRunner(dbt, tests, selected.keys(), progress) as test_runner:
                models = dbt.call(arguments, variables, manifest, progress, test_runner.on_model_built)
                # If dbt sent no event for a model, the model is still tested.
                for model in models:
                    if not model.failed:
                        test_runner.on_model_built(model.unique_id)
                results = test_runner.results()
        flushed.result()
    return build_input, [*models, *results]


def publish_warehouse(settings: Settings, build_input: BuildInput) -> None:
    """Replace the published warehouse with the finished build by one rename; call it inside `build_lock`.

    Open readers keep reading the old file. Raises PublishError if some rows are only in DuckDB's log.
    """
    if reason := _checkpoint_error(settings.warehouse_build):
        # The collector may need the disk space.
        _remove_build(settings)
        raise PublishError(
            f"The warehouse was built but not published, because DuckDB could not write all of it to its file: "
            f"{reason}. The published warehouse, if there is one, and the raw tables were not changed. Free space on "
            f"the disk of {settings.warehouse} (a build needs the size of the warehouse again), and repeat the build."
        )
    # DuckDB flushed neither of these files (`fsync_mode` in dbt's profile).
    for path in (settings.warehouse_build, changes.scratch_path(settings)):
        files.fsync_file(path)
    changes.write_record(settings, build_input, dbt_runner.project_digest())
    # Another program may have left a log beside the old warehouse; DuckDB would replay it into the new file. A program
    # that keeps the old file open may still write one after this: see `connect_read_only`.
    changes.write_ahead_log(settings.warehouse).unlink(missing_ok=True)
    with _close_in_background(settings.warehouse):
        files.publish_file(settings.warehouse_build, settings.warehouse)


def _checkpoint_error(database: Path) -> str:
    """Return why a closed database is not completely in its file, or an empty text.

    DuckDB does not report this when it closes the file.
    """
    log = changes.write_ahead_log(database)
    if not log.exists():
        return ""
    try:
        with duckdb.connect(str(database)) as db:
            db.execute("CHECKPOINT")
    except duckdb.Error as error:
        return str(error)
    return f"the log {log} still exists" if log.exists() else ""


@contextmanager
def _close_in_background(path: Path) -> Iterator[None]:
    """Keep a file open while it is replaced, and close it in a thread: freeing half a gigabyte takes time."""
    try:
        old = os.open(path, os.O_RDONLY)
    except OSError:
        # There is no file yet, or it cannot be read; then the rename itself frees the space.
        yield
        return
    try:
        yield
    finally:
        Thread(target=os.close, args=(old,), name="close the old warehouse").start()


def _open_changes(settings: Settings, record: BuildRecord) -> BuildInput:
    """Create the views of the data that arrived since the published build, and return the input."""
    build_input = changes.incremental_input(settings, record)
    changes.create_raw_views(settings, build_input)
    return build_input


@contextmanager
def _freeze_gc() -> Iterator[None]:
    """Restrict garbage collection to new objects: dbt and Dagster are large, and their objects stay."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _copy_published(settings: Settings, record: BuildRecord) -> None:
    """Copy the published warehouse to the build file. Raises IncrementNotPossible if it is not the recorded file."""
    settings.warehouse_build.touch(mode=0o600)
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    if changes.file_stamp(settings.warehouse.stat()) != record["file"]:
        raise changes.IncrementNotPossible("another program wrote to the published warehouse while it was copied")


def _fallback_reason(reason: str) -> str:
    return f"the increment failed ({reason})"


def _variables(now: datetime) -> dict[str, Any]:
    return {"now": now.isoformat(), "field_availability": dbt_runner.field_availability()}


def _describe_changes(build_input: BuildInput) -> str:
    """Describe how much an increment reads, for the log."""
    counts = {table: len(days) for table, days in build_input.changed_days.items() if days}
    changed = ", ".join(f"{count} days of {table}" for table, count in counts.items())
    return f"{changed or 'no day'} changed since the last build"


def _unchanged_marts(manifest: Any, build_input: BuildInput) -> list[str]:
    """Return the marts whose raw tables have no new data.

    Marts without `raw_tables` in their meta depend on the time of the build as well and are never among them.
    """
    nodes = (node for node in manifest.nodes.values() if "raw_tables" in node.config.meta)
    return sorted(node.name for node in nodes if not build_input.changed_tables & set(node.config.meta["raw_tables"]))


def _remove_build(settings: Settings) -> None:
    """Remove the files that a failed build left for inspection, and those of readers that were killed while opening."""
    leftovers = settings.root.glob(READER_NAMES)
    for path in (settings.warehouse_build, changes.write_ahead_log(settings.warehouse_build), *leftovers):
        path.unlink(missing_ok=True)

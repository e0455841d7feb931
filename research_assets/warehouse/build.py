"""Build the warehouse in a file of its own beside the published one, test it, and publish it by one rename.

Not here: which raw files a build reads (see changes.py), how dbt is called (see dbt_runner.py), the codebook
(see codebook.py), and the assets of a build (see assets/warehouse.py).
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from logging import INFO
from pathlib import Path

import duckdb

from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.storage.listing import matching_paths
from research_assets.storage.lock_errors import LockTaken
from research_assets.storage.locks import lock_check, require_file_locks
from research_assets.warehouse import changes, codebook, dbt_runner
from research_assets.warehouse.changes import BuildInput, BuildRecord
from research_assets.warehouse.dbt_runner import DbtError, LogCallback, NodeResult
from research_assets.warehouse.reader import READER_NAMES

BUILD_ARGUMENTS = ("build", "--exclude-resource-type", "unit_test")
"""Arguments of dbt for a build. The unit tests check the project, not the data."""


class PublishError(RuntimeError):
    """A warehouse that was built but not written completely to its file."""


class BuildInProgress(RuntimeError):
    """Another process that is building this warehouse."""


@contextmanager
def build_lock(settings: Settings) -> Iterator[None]:
    """Exclude other builds of this warehouse in all processes; a process that dies releases the lock.

    Raises BuildInProgress at once if another build is running.
    """
    require_file_locks(settings.state)
    with ExitStack() as stack:
        try:
            stack.enter_context(dbt_runner.file_lock(settings, "build", wait=False))
        except LockTaken as error:
            raise BuildInProgress(
                f"The build of the warehouse {settings.warehouse} did not start, because the warehouse is being built "
                f"by {error.holder}. Nothing was changed. Wait for that build to end, then start again if needed."
            ) from None
        _remove_build(settings)
        yield


def build_warehouse(
    settings: Settings, *, now: datetime, progress: LogCallback, full_refresh: bool = False
) -> tuple[BuildInput, list[NodeResult]]:
    """Build and test the models in `settings.warehouse_build`, and return the input and the result of each node.

    The build is an increment of the published warehouse. It is a full refresh if `full_refresh` is set, or if an
    increment is not possible or fails. A failed model or test is a result, not an exception. Call it inside
    `build_lock`. Raises DbtError if dbt could not run.
    """
    reason = "requested in the run config" if full_refresh else "no published warehouse matches this dbt project"
    record = None if full_refresh else changes.read_record(settings, dbt_runner.project_digest())
    if record is not None:
        try:
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
    build_input = changes.full_input(settings, reason)
    return build_input, _run(settings, build_input, now, progress)


def _build_increment(
    settings: Settings, record: BuildRecord, now: datetime, progress: LogCallback
) -> tuple[BuildInput, list[NodeResult]]:
    """Update a copy of the published warehouse. Raises IncrementNotPossible if a full refresh is necessary."""
    build_input = changes.incremental_input(settings, record)
    progress(INFO, f"Increment of {settings.warehouse_build}: {_describe_changes(build_input)}")
    settings.warehouse_build.touch(mode=0o600)
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    if changes.file_stamp(settings.warehouse.stat()) != record["file"]:
        raise changes.IncrementNotPossible("another program wrote to the published warehouse while it was copied")
    return build_input, _run(settings, build_input, now, progress)


def _run(settings: Settings, build_input: BuildInput, now: datetime, progress: LogCallback) -> list[NodeResult]:
    """Build and test the models, then the codebook if they passed."""
    changes.create_raw_views(settings, build_input, now)
    results = dbt_runner.run_dbt(settings, BUILD_ARGUMENTS, progress)
    if not any(result.failed for result in results):
        codebook.write_codebook(settings)
    return results


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
    # DuckDB did not flush it (`fsync_mode` in dbt's profile).
    files.fsync_file(settings.warehouse_build)
    changes.write_record(settings, build_input, dbt_runner.project_digest())
    # Another program may have left a log beside the old warehouse; DuckDB would replay it into the new file. A program
    # that keeps the old file open may still write one after this: see `connect_read_only`.
    changes.write_ahead_log(settings.warehouse).unlink(missing_ok=True)
    if (check := lock_check(settings.state)) is not None:
        check()
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


def _fallback_reason(reason: str) -> str:
    return f"the increment failed ({reason})"


def _describe_changes(build_input: BuildInput) -> str:
    """Describe how much an increment reads, for the log."""
    counts = Counter(table for table, _, _ in build_input.changed_days)
    changed = ", ".join(f"{count} days of {table}" for table, count in counts.items())
    return f"{changed or 'no day'} changed since the last build"


def _remove_build(settings: Settings) -> None:
    """Remove the files that a failed build left for inspection, and those of readers that were killed while opening."""
    # What DuckDB wrote there because it did not fit into its memory.
    shutil.rmtree(settings.warehouse_build.with_name(settings.warehouse_build.name + ".tmp"), ignore_errors=True)
    leftovers = matching_paths(settings.root, READER_NAMES)
    for path in (settings.warehouse_build, changes.write_ahead_log(settings.warehouse_build), *leftovers):
        path.unlink(missing_ok=True)

"""One build of the warehouse: into a file of its own beside the published one, tested, published by one rename.

What a build takes in is `_intake.py`'s matter, how dbt runs `_dbt.py`'s, how the tests of an increment run
`_tests.py`'s, what a build means for assets `warehouse.py`'s.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from logging import INFO
from pathlib import Path
from typing import Any

import duckdb

from research_assets import files
from research_assets.assets import _dbt, _intake, _tests
from research_assets.assets._dbt import DbtError, NodeResult, Progress
from research_assets.assets._intake import Intake
from research_assets.settings import Settings

ARGUMENTS = ["build", "--exclude-resource-type", "unit_test"]


class WarehouseBusy(RuntimeError):
    """Another build of this warehouse is running."""


@contextmanager
def building(settings: Settings) -> Iterator[None]:
    """Keep every other build of this warehouse out, in whatever process; one that died holds nobody up.

    Raises WarehouseBusy at once if another build is running.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_dbt.locked(settings, "build", wait=False))
        except BlockingIOError:
            raise WarehouseBusy(
                f"The warehouse {settings.warehouse} is being built by another process, so this build did not start. "
                "Nothing was changed. Wait for the other one to end, then start again if it is still needed."
            ) from None
        _remove_build(settings)
        yield


def build(
    settings: Settings, *, now: datetime, progress: Progress, whole: bool = False
) -> tuple[Intake, list[NodeResult]]:
    """Build and test the models in `settings.warehouse_build`; what was taken in, and what became of each of them.

    What came since the published build is taken in, or everything: with `whole`, and by itself where an increment would
    not do or fails. `progress` is called from other threads. A failed model or test is a result, not an exception.
    Call it within `building`. Raises DbtError if dbt could not run at all.
    """
    project = _dbt.project_digest()
    intake = _intake.plan(settings, project, whole="it was asked for" if whole else None)
    if intake.why_whole is None:
        progress(INFO, f"Building {settings.warehouse_build} from {_extent(intake)}")
        try:
            results = _increment(settings, intake, now, progress)
            why = "; ".join(f"{result.name}: {result.message.strip()}" for result in results if result.failed)
        except (DbtError, duckdb.Error, OSError) as error:
            # A warehouse that cannot be copied is no reason to have none.
            results, why = [], str(error)
        if not why:
            return intake, results
        _remove_build(settings)
        intake = _intake.plan(settings, project, whole=f"what came since the last build cannot be taken in ({why})")
    progress(INFO, f"Building {settings.warehouse_build} from everything, because {intake.why_whole}")
    manifest = _dbt.parse(settings)
    _intake.open_raw(settings, intake)
    return intake, _dbt.call(settings, ARGUMENTS, _variables(now), manifest, progress)


def _increment(settings: Settings, intake: Intake, now: datetime, progress: Progress) -> list[NodeResult]:
    """Bring a copy of the published build up to date."""
    with ThreadPoolExecutor(1) as aside:
        copied = aside.submit(_copy_held, settings)
        manifest = _dbt.parse(settings)
        _intake.open_raw(settings, intake)
        idle = _idle(manifest, intake)
        # To close the gaps of replaced rows takes longer than to replace them: that is done when it is worth it.
        vacuum = 100 if intake.compact is None else 0
        variables = _variables(now) | {"increment": True, "idle": idle, "vacuum": vacuum}
        # The views and what follows from the project's files alone are those of the build before.
        left_out = ["--exclude-resource-type", "test", "--exclude", "config.materialized:view", "path:seeds", *idle]
        copied.result()
        # The disk works while dbt does: when dbt ends, DuckDB waits until all of the file is flushed.
        flushed = aside.submit(files.flush, settings.warehouse_build)
        # With little to read, most of the time goes into dbt's own work between the queries.
        models = _dbt.call(settings, [*ARGUMENTS, *left_out, "--threads", "2"], variables, manifest, progress)
        flushed.result()
    if any(model.failed for model in models):
        return models
    tests = _tests.compiled(settings, manifest, variables)
    return [*models, *_tests.run(settings, tests, {model.unique_id for model in models}, progress)]


def publish(settings: Settings, intake: Intake) -> None:
    """Put the finished build in the place of the warehouse by one rename; call it within `building`.

    Whoever has the old one open keeps reading the old one.
    """
    files.flush(settings.warehouse_build)
    _intake.write_record(settings, intake, _dbt.project_digest())
    # A change that somebody made to the old warehouse must not be replayed into the new one.
    _wal(settings.warehouse).unlink(missing_ok=True)
    files.publish(settings.warehouse_build, settings.warehouse)


def _copy_held(settings: Settings) -> None:
    """The published warehouse, to be brought up to date."""
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    settings.warehouse_build.chmod(0o600)


def _variables(now: datetime) -> dict[str, Any]:
    return {"now": now.isoformat(), "api_fields": _dbt.api_fields()}


def _extent(intake: Intake) -> str:
    """How much an increment takes in, for the log."""
    days = {table: len(places) for table, places in intake.days.items() if places}
    return (
        f"what came since the last build ({', '.join(f'{n} days of {table}' for table, n in days.items()) or 'no day'})"
    )


def _idle(manifest: Any, intake: Intake) -> list[str]:
    """The marts that nothing came for; one that does not say what feeds it depends on the hour as well."""
    fed = (node for node in manifest.nodes.values() if "fed_by" in node.config.meta)
    return sorted(node.name for node in fed if not intake.news & set(node.config.meta["fed_by"]))


def _wal(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def _remove_build(settings: Settings) -> None:
    """Take away what a build that failed left for inspection."""
    for path in (settings.warehouse_build, _wal(settings.warehouse_build)):
        path.unlink(missing_ok=True)

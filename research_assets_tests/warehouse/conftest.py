"""Fixtures: one built warehouse for all tests that only read it, so dbt is imported and the project parsed once."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from research_assets.assets.warehouse import warehouse_definitions
from research_assets.settings import Settings
from research_assets_tests.conftest import FakeClock
from research_assets_tests.warehouse.raw_data import UPSTREAM, new_settings, write_raw_data


def materialize(settings: Settings, **options: Any) -> dg.ExecuteInProcessResult:
    """Build and publish in this process, on an ephemeral Dagster instance or the `instance` of the options."""
    definitions = warehouse_definitions(UPSTREAM, settings, clock=FakeClock(), pre_build=options.pop("pre_build", None))
    given: dg.DagsterInstance | None = options.pop("instance", None)
    with nullcontext(given) if given else dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(list(definitions.assets or []), instance=instance, **options)  # type: ignore[arg-type]


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on the published warehouse."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


@dataclass(frozen=True)
class BuiltWarehouse:
    """A published warehouse and the result of its build."""

    settings: Settings
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="session")
def built_warehouse(tmp_path_factory: pytest.TempPathFactory) -> BuiltWarehouse:
    """Return a warehouse that was built and published from the raw tables of `raw_data`, and copied for readers."""
    folder = tmp_path_factory.mktemp("warehouse")
    (folder / "shared").mkdir()
    # Whatever the umask of this process is.
    (folder / "shared").chmod(0o750)
    settings = replace(new_settings(folder / "data"), shared_marts=folder / "shared")
    write_raw_data(settings.raw)
    return BuiltWarehouse(settings, materialize(settings))


@pytest.fixture(scope="session")
def rows(built_warehouse: BuiltWarehouse) -> Callable[[str], Sequence[tuple[Any, ...]]]:
    """Return a function that queries the published warehouse."""
    return lambda sql: query(built_warehouse.settings, sql)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with an empty data root of the test."""
    return new_settings(tmp_path / "own")

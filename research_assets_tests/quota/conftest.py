"""Fixtures of the ledger's tests: a new ledger in a SQLite file, and one in a PostgreSQL database."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from research_assets.quota.postgres_ledger import PostgresLedger
from research_assets_tests.postgres import PostgresServer
from research_assets_tests.quota.operations import Place, file_in

_schemas = count()


@pytest.fixture
def new_database_place(postgres: PostgresServer) -> Callable[[], Place]:
    """Return the place of a ledger in a schema of its own at each call."""
    return lambda: partial(PostgresLedger, postgres.url, f"ledger_{next(_schemas)}")


@pytest.fixture
def database_place(new_database_place: Callable[[], Place]) -> Place:
    """The place of a ledger in a new schema."""
    return new_database_place()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The place of a new ledger."""
    if request.param == "sqlite":
        return file_in(tmp_path)
    in_database: Place = request.getfixturevalue("database_place")
    return in_database

"""The databases and roles of a lab on a real PostgreSQL, as `docs/deploy/postgres.sql` creates them."""

from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from research_assets_tests.docs.deployment_files import copy_to, create_databases
from research_assets_tests.postgres import PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> PostgresServer:
    """Return a server with the databases of a lab."""
    create_databases(postgres)
    return postgres


def execute(server: PostgresServer, role: str, database: str, statement: str) -> None:
    """Execute a statement on a new connection."""
    engine = create_engine(f"postgresql+psycopg2://{role}@127.0.0.1:{server.port}/{database}")
    with engine.begin() as db:
        db.execute(text(statement))
    engine.dispose()


def test_each_role_uses_its_own_database_alone(server: PostgresServer) -> None:
    for role, other in (("dagster", "ledger"), ("ledger", "dagster")):
        execute(server, role, role, "CREATE SCHEMA mine")
        for database in (other, "postgres"):
            with pytest.raises(DBAPIError, match="permission denied"):
                execute(server, role, database, "CREATE SCHEMA theirs")
        for statement in ("CREATE ROLE another", "CREATE DATABASE another", f"DROP DATABASE {other}"):
            with pytest.raises(DBAPIError):
                execute(server, role, role, statement)


def test_dagster_stores_its_instance_in_the_database(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to(tmp_path, "dagster.yaml")
    # The address in the file names no port.
    monkeypatch.setenv("PGPORT", str(server.port))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs() == []
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    execute(server, "dagster", "dagster", "SELECT id FROM runs")

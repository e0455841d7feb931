"""The tests of an increment: dbt compiles them once for each state of the project, and here their SQL is run.

An increment's tests are twenty small queries, and around each of them dbt works several times as long as DuckDB does
on it. A build of everything has its tests run by dbt; they are the same tests, and pass and fail in the same way.
"""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from logging import WARNING
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import orjson

from research_assets import files
from research_assets.assets import _dbt
from research_assets.assets._dbt import NodeResult, Progress
from research_assets.assets._intake import staging_path
from research_assets.settings import Settings
from research_assets.table_sql import text


@dataclass(frozen=True, slots=True)
class Test:
    """A test of dbt. `sql` yields the rows that it objects to, in the models of the ids `models`."""

    unique_id: str
    name: str
    warns: bool
    models: Sequence[str]
    sql: str


def compiled(settings: Settings, manifest: Any, variables: Mapping[str, Any]) -> list[Test]:
    """The tests of the project with the SQL of an increment; `variables` are those of one.

    Which increment it is does not show in the SQL: what changed stands in a table.
    """
    kept, project = settings.dbt_target / "tests.json", _dbt.project_digest()
    if (held := _held(kept, project)) is not None:
        return held
    sql = {
        result.unique_id: result.sql
        for result in _dbt.call(settings, ["compile", "--select", "test_type:data"], variables, manifest)
    }
    nodes = {unique_id: manifest.nodes[unique_id] for unique_id in sql}
    tests = [
        Test(unique_id, node.name, str(node.config.severity).lower() == "warn", node.depends_on.nodes, sql[unique_id])
        for unique_id, node in nodes.items()
    ]
    files.write_private(kept, orjson.dumps({"project": project, "tests": [asdict(test) for test in tests]}))
    return tests


def run(settings: Settings, tests: Sequence[Test], built: Set[str], progress: Progress) -> list[NodeResult]:
    """The verdicts on the build file, of the tests that look at a model that was built."""
    with (
        duckdb.connect(str(settings.warehouse_build), read_only=True) as db,
        ThreadPoolExecutor(2) as pool,
    ):
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"ATTACH {text(staging_path(settings))} AS scratch (READ_ONLY)")
        chosen = [test for test in tests if built & set(test.models)]
        return [*pool.map(lambda test: _run(db.cursor(), test, progress), chosen)]


def _run(db: duckdb.DuckDBPyConnection, test: Test, progress: Progress) -> NodeResult:
    """One verdict, in dbt's words."""
    began, failures = perf_counter(), None
    try:
        ((failures,),) = db.execute(f"SELECT count(*) FROM ({test.sql}) AS objected").fetchall()
        status = "pass" if not failures else "warn" if test.warns else "fail"
        message = f"{failures} rows object" if failures else ""
    except duckdb.Error as error:
        status, message = "error", str(error)
    if message:
        progress(WARNING, f"{test.name}: {message}")
    return NodeResult(test.unique_id, test.name, status, message, failures, perf_counter() - began, test.sql)


def _held(path: Path, project: str) -> list[Test] | None:
    """The tests as they were compiled before, if the project is still the same."""
    try:
        held = orjson.loads(path.read_bytes())
        return [Test(**test) for test in held["tests"]] if held["project"] == project else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Tests of an increment: dbt compiles them once for each state of the project, and this module runs their SQL.

An increment has about twenty small test queries, and dbt's own work around each of them takes several times DuckDB's
time. Here they run beside the last models. In a full refresh dbt runs the same tests, with the same results.

Not here: the definitions of the tests (see the YAML files and `tests/` in `dbt_project/`).
"""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from logging import WARNING
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import orjson

from research_assets.storage import files
from research_assets.warehouse import dbt_runner
from research_assets.warehouse.dbt_runner import DbtSession, LogCallback, NodeResult

MODELS_LEFT_AT_START = 2
"""Number of remaining models at which the tests begin: as many as dbt builds in parallel."""


@dataclass(frozen=True, slots=True)
class CompiledTest:
    """A test of dbt. `sql` yields its failing rows in the models with the ids `models`."""

    unique_id: str
    name: str
    warns: bool
    models: Sequence[str]
    sql: str


def compile_tests(dbt: DbtSession, manifest: Any, variables: Mapping[str, Any]) -> list[CompiledTest]:
    """Return the tests of the project with the SQL of an increment; `variables` are those of an increment.

    The SQL is the same for all increments, because the changed days are in a table.
    """
    cache, project = dbt.settings.dbt_target / "tests.json", dbt_runner.project_digest()
    if (cached := _cached_tests(cache, project)) is not None:
        return cached
    sql = {
        result.unique_id: result.sql
        for result in dbt.call(["compile", "--select", "test_type:data"], variables, manifest)
    }
    nodes = {unique_id: manifest.nodes[unique_id] for unique_id in sql}
    tests = [
        CompiledTest(
            unique_id, node.name, str(node.config.severity).lower() == "warn", node.depends_on.nodes, sql[unique_id]
        )
        for unique_id, node in nodes.items()
    ]
    files.write_private(cache, orjson.dumps({"project": project, "tests": [asdict(test) for test in tests]}))
    return tests


class IncrementTestRunner:
    """The tests of the models of an increment, each run when all its models are built; a context manager.

    The tests begin when only `MODELS_LEFT_AT_START` models remain, which depend on each other: until then dbt uses
    every core. dbt may end before the tests do; its session lasts until the end of the block.
    """

    def __init__(self, dbt: DbtSession, tests: Sequence[CompiledTest], models: Set[str], progress: LogCallback) -> None:
        self._dbt = dbt
        self._waiting = [test for test in tests if models & set(test.models)]
        self._remaining_models = set(models)
        self._progress = progress
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._thread = ThreadPoolExecutor(1, "tests")
        self._futures: list[Future[list[NodeResult]]] = []

    def __enter__(self) -> "IncrementTestRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def on_model_built(self, model: str) -> None:
        """Note that a model is built, and start the tests that are ready; repeated calls for a model are allowed.

        dbt calls it from its own threads and does not wait for the tests.
        """
        self._futures.append(self._thread.submit(self._run_ready_tests, model))

    def results(self) -> list[NodeResult]:
        """Wait for the tests of all built models and return their results."""
        return [result for future in self._futures for result in future.result()]

    def _run_ready_tests(self, model: str) -> list[NodeResult]:
        """Run the tests that waited for this model and return their results."""
        if self._connection is None:
            self._connection = self._dbt.open_build()
        self._remaining_models.discard(model)
        if len(self._remaining_models) > MODELS_LEFT_AT_START:
            return []
        ready = [test for test in self._waiting if not self._remaining_models & set(test.models)]
        self._waiting = [test for test in self._waiting if test not in ready]
        return [self._run(self._connection, test) for test in ready]

    def _run(self, db: duckdb.DuckDBPyConnection, test: CompiledTest) -> NodeResult:
        """Run one test and return its result, with dbt's names of states."""
        started, failures = perf_counter(), None
        try:
            ((failures,),) = db.execute(f"SELECT count(*) FROM ({test.sql}) AS failing_rows").fetchall()
            status = "pass" if not failures else "warn" if test.warns else "fail"
            message = f"{failures} failing rows" if failures else ""
        except (duckdb.Error, RuntimeError) as error:
            status, message = "error", str(error)
        if message:
            self._progress(WARNING, f"{test.name}: {message}")
        return NodeResult(test.unique_id, test.name, status, message, failures, perf_counter() - started, test.sql)


def _cached_tests(path: Path, project: str) -> list[CompiledTest] | None:
    """Return the tests that were compiled before, or None if they are lost or belong to another project state."""
    try:
        cached = orjson.loads(path.read_bytes())
        return [CompiledTest(**test) for test in cached["tests"]] if cached["project"] == project else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

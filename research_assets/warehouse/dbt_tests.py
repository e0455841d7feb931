"""The tests of an increment: dbt compiles them once for each state of the project, and here their SQL is run.

An increment's tests are twenty small queries, and around each of them dbt works several times as long as DuckDB does
on it. Here they are run beside the last models. A build of everything has its tests run by dbt; they are the same
tests, and pass and fail in the same way.
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
"""So many models are left when the tests begin: as many as dbt builds side by side."""


@dataclass(frozen=True, slots=True)
class CompiledTest:
    """A test of dbt. `sql` yields the rows that it objects to, in the models of the ids `models`."""

    unique_id: str
    name: str
    warns: bool
    models: Sequence[str]
    sql: str


def compile_tests(dbt: DbtSession, manifest: Any, variables: Mapping[str, Any]) -> list[CompiledTest]:
    """The tests of the project with the SQL of an increment; `variables` are those of one.

    Which increment it is does not show in the SQL: what changed stands in a table.
    """
    kept, project = dbt.settings.dbt_target / "tests.json", dbt_runner.project_digest()
    if (held := _cached_tests(kept, project)) is not None:
        return held
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
    files.write_private(kept, orjson.dumps({"project": project, "tests": [asdict(test) for test in tests]}))
    return tests


class IncrementTestRunner:
    """The tests that look at what an increment builds, each run when all of that is built; a context manager.

    They begin when few models are left, which follow one from the other: until then dbt keeps every core busy.
    dbt may end long before they do; its session goes on until the end of the block.
    """

    def __init__(self, dbt: DbtSession, tests: Sequence[CompiledTest], models: Set[str], progress: LogCallback) -> None:
        self._dbt = dbt
        self._waiting = [test for test in tests if models & set(test.models)]
        self._left = set(models)
        self._progress = progress
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._thread = ThreadPoolExecutor(1, "tests")
        self._attempts: list[Future[list[NodeResult]]] = []

    def __enter__(self) -> "IncrementTestRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def on_model_built(self, model: str) -> None:
        """Take note, once or more, that a model is built; dbt calls it from its own threads and waits for no test."""
        self._attempts.append(self._thread.submit(self._built, model))

    def results(self) -> list[NodeResult]:
        """The verdicts on all that was built, once they are there."""
        return [verdict for found in self._attempts for verdict in found.result()]

    def _built(self, model: str) -> list[NodeResult]:
        """The verdicts for which this model was waited."""
        if self._connection is None:
            self._connection = self._dbt.open_build()
        self._left.discard(model)
        if len(self._left) > MODELS_LEFT_AT_START:
            return []
        ready = [test for test in self._waiting if not self._left & set(test.models)]
        self._waiting = [test for test in self._waiting if test not in ready]
        return [self._run(self._connection, test) for test in ready]

    def _run(self, db: duckdb.DuckDBPyConnection, test: CompiledTest) -> NodeResult:
        """One verdict, in dbt's words."""
        began, failures = perf_counter(), None
        try:
            ((failures,),) = db.execute(f"SELECT count(*) FROM ({test.sql}) AS objected").fetchall()
            status = "pass" if not failures else "warn" if test.warns else "fail"
            message = f"{failures} rows object" if failures else ""
        except (duckdb.Error, RuntimeError) as error:
            status, message = "error", str(error)
        if message:
            self._progress(WARNING, f"{test.name}: {message}")
        return NodeResult(test.unique_id, test.name, status, message, failures, perf_counter() - began, test.sql)


def _cached_tests(path: Path, project: str) -> list[CompiledTest] | None:
    """The tests as they were compiled before, if the project is still the same."""
    try:
        held = orjson.loads(path.read_bytes())
        return [CompiledTest(**test) for test in held["tests"]] if held["project"] == project else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

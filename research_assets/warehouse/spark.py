"""Build the marts with Spark instead of DuckDB, and publish them as Parquet files: the second engine of the warehouse.

The build reads the same raw tables and runs the same dbt project with the target `spark`. A driver in a child process
is local or belongs to a standalone cluster (`session`); a cluster with a Thrift server brings its own.

Not here: the layout of the published folder (see parquet_marts.py), the SQL that Spark needs (see
`dbt_project/macros/spark.sql`), and the build on DuckDB (see build.py).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets import fields
from research_assets.settings import DBT_PROJECT_DIR, NOT_FOR_DBT, Settings, child_environment
from research_assets.storage import files
from research_assets.storage.checked_lines import add_checksum, is_intact
from research_assets.storage.file_locks import LOCK_FILE, exclusive
from research_assets.storage.listing import all_files, matching_paths
from research_assets.storage.lock_errors import LockTaken
from research_assets.storage.raw_sql import sql_literal
from research_assets.warehouse import changes, dbt_runner
from research_assets.warehouse.codebook import COLUMNS, DESCRIPTION, create_codebook
from research_assets.warehouse.parquet_marts import (
    BUILDS,
    MARTS,
    PUBLISHED,
    IndexedMart,
    create_build_views,
    new_build,
    publish_build,
    read_index,
    write_index,
)
from research_assets.warehouse.spark_dbt import OPERATION_ERRORS

RECORD = "input.json"
"""File of a published build with its input: the raw files and the digest of the dbt project."""

WORK = ".build"
"""Folder of a running build in the output folder; the next build removes what a failed one left there."""

_PATTERN = frozenset("[]{}*?\\")
"""Letters with a meaning in the paths that Spark reads; it has no way to quote them."""

LOOPBACK = "127.0.0.1"

DEFAULT_CONF: Mapping[str, str] = {
    # Nothing listens on other addresses. The driver of a cluster on several machines needs its own address here.
    "spark.driver.host": LOOPBACK,
    "spark.driver.bindAddress": LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "2g",
}
"""Configuration of a session, as in `spark-defaults.conf`; SparkOptions.conf overrides it."""


class SparkBuildError(RuntimeError):
    """A build on Spark that could not start, or whose models or tests failed; nothing was published."""


class ModelsFailed(SparkBuildError):
    """A build on Spark in which a model or a test failed."""


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """Where Spark runs.

    `master` is the address of a session's cluster: `local[*]` or `spark://host:port`. `thrift` is the (host, port) of a
    Thrift server, which replaces the session. `conf` is configuration of the session.
    """

    master: str = "local[*]"
    thrift: tuple[str, int] | None = None
    conf: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SparkBuild:
    """A published build: its folder, whether it is an increment, and the seconds of each model and test by name."""

    folder: Path
    is_increment: bool
    seconds: Mapping[str, float]


def missing_requirements(environment: Mapping[str, str]) -> list[str]:
    """Return what a session with this environment lacks, each with what to do; empty if it can start."""
    missing = []
    if find_spec("pyspark") is None or find_spec("dbt.adapters.spark") is None:
        missing.append("pyspark and dbt-spark (install research-assets with the extra `spark`)")
    if shutil.which("java") is None and not environment.get("JAVA_HOME"):
        missing.append("Java 17 or later (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)")
    return missing


def build_on_spark(
    settings: Settings,
    output: Path,
    *,
    now: datetime,
    options: SparkOptions | None = None,
    full_refresh: bool = False,
    unit_tests: bool = False,
) -> SparkBuild:
    """Build and test all marts from the raw tables and publish them in the folder `output`.

    The build is an increment of the marts published there. It is a full refresh if `full_refresh` is set, or if an
    increment is not possible or fails. `unit_tests` also runs the unit tests of the models. Raises SparkBuildError if
    another build uses the folder, if Spark cannot start, or if a model or test fails; the published build stays.
    """
    options = options or SparkOptions()
    output = output.resolve()
    if _PATTERN & set(str(output)):
        raise SparkBuildError(
            f"The build on Spark did not start, because Spark reads {output} as a pattern. Nothing was changed. Choose "
            "an output folder whose path contains none of []{}*?\\"
        )
    environment = child_environment(settings)
    if missing := missing_requirements(environment):
        raise SparkBuildError(f"The build on Spark did not start. Missing: {'; '.join(missing)}. Nothing was changed.")
    files.private_folder(output)
    with _build_lock(output):
        record = None if full_refresh else _read_record(output)
        if record is not None:
            try:
                return _build(settings, output, record, now, options, environment, unit_tests=unit_tests)
            except (changes.IncrementNotPossible, ModelsFailed):
                # The published marts may lack files, or rows of theirs changed; a full refresh needs none of them.
                pass
        return _build(settings, output, None, now, options, environment, unit_tests=unit_tests)


def _build(
    settings: Settings,
    output: Path,
    record: Mapping[str, Any] | None,
    now: datetime,
    options: SparkOptions,
    environment: Mapping[str, str],
    *,
    unit_tests: bool,
) -> SparkBuild:
    """Build and publish: an increment of the published marts with its record, a full refresh without."""
    build_input = changes.full_input(settings, "") if record is None else changes.incremental_input(settings, record)
    work = output / WORK
    shutil.rmtree(work, ignore_errors=True)
    files.private_folder(work)
    build = work / "build"
    _link_input(settings.raw, work / "input", build_input.file_stamps)
    kept = [] if record is None else _keep_days(output / PUBLISHED, build, build_input.changed_days)
    _run_dbt(
        work,
        _calls(work, build, now, settings.verify_days, build_input.changed_days, kept, unit_tests=unit_tests),
        options,
        environment,
    )
    seconds = {result["unique_id"].split(".")[2]: result["execution_time"] for result in _run_results(work)}
    manifest = orjson.loads((work / "target" / "manifest.json").read_bytes())
    simulated = settings.is_simulated
    write_index(build, _index(manifest), simulated=simulated)
    codebook = _write_codebook(build, manifest)
    write_index(build, [*_index(manifest), codebook], simulated=simulated)
    stored = {"project": _project_digest(), "file_stamps": build_input.file_stamps}
    files.write_private(build / RECORD, add_checksum(orjson.dumps(stored)))
    for path in all_files(build, "*.parquet"):
        # The others were flushed when they were published.
        if path.stat().st_nlink == 1:
            files.fsync_file(path)
    published = new_build(output, now)
    files.private_folder(published.parent)
    build.rename(published)
    previous = (output / PUBLISHED).resolve() if (output / PUBLISHED).exists() else None
    publish_build(output, published)
    # Readers that opened the previous build keep reading its files until the build after this one.
    for old in matching_paths(output / BUILDS, "*"):
        if old not in (published, previous):
            shutil.rmtree(old)
    shutil.rmtree(work)
    return SparkBuild(published, record is not None, seconds)


def _project_digest() -> str:
    """Return a digest of all that the marts depend on, except data."""
    return " ".join([dbt_runner.project_digest(), version("pyspark"), version("dbt-spark")])


def _read_record(output: Path) -> Mapping[str, Any] | None:
    """Return the input of the published build; None if there is none of this dbt project."""
    try:
        line = (output / PUBLISHED / RECORD).read_bytes()
        record: Mapping[str, Any] = orjson.loads(line)
        return record if is_intact(line) and record["project"] == _project_digest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep_days(published: Path, build: Path, changed_days: Sequence[tuple[str, str, str]]) -> list[str]:
    """Link the unchanged days of the marts that are built by day, and return the names of these marts.

    A day that changed is left out: if it has no rows any more, Spark would keep its old ones.
    """
    kept = [mart for mart in read_index(published.resolve()) if mart.raw_table is not None]
    for mart in kept:
        changed = {f"study={study}/day={day}" for table, study, day in changed_days if table == mart.raw_table}
        source, target = published.resolve() / MARTS / mart.name, build / MARTS / mart.name
        target.mkdir(parents=True)
        for path in matching_paths(source, "study=*/day=*/*.parquet"):
            if f"{path.parent.parent.name}/{path.parent.name}" not in changed:
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                _link(path, copy)
    return [mart.name for mart in kept]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # The folders are on different file systems, or the file system has no links.
        shutil.copyfile(source, target)


def _write_codebook(build: Path, manifest: Mapping[str, Any]) -> IndexedMart:
    """Count the marts of a build with DuckDB and write the mart `codebook` beside them."""
    folder = build / MARTS / "codebook"
    folder.mkdir()
    with duckdb.connect() as db:
        db.execute("CREATE SCHEMA marts")
        create_build_views(db, build, "memory", "marts")
        create_codebook(db, manifest)
        db.execute(f"COPY marts.codebook TO {sql_literal(folder / 'codebook.parquet')} (FORMAT parquet)")
    return IndexedMart("codebook", DESCRIPTION, [(name, kind, text) for name, (kind, text, _) in COLUMNS.items()], ())


@contextmanager
def _build_lock(output: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(output / LOCK_FILE))
        except LockTaken as error:
            raise SparkBuildError(
                f"The marts in {output} are being built by {error.holder}. Nothing was changed. Wait for that build to "
                "end."
            ) from None
        yield


def _link_input(raw: Path, target: Path, file_stamps: Mapping[str, changes.FileStamps]) -> None:
    """Create a folder with the raw files of the input. Collectors add files during the build, in the same folders."""
    for table, days in file_stamps.items():
        (target / table).mkdir(parents=True)
        for day, stamps in days.items():
            folder = target / table / day
            folder.mkdir(parents=True)
            for name in stamps:
                # The coverage of an open journal is removed once the journal is sealed.
                with suppress(FileNotFoundError):
                    _link(raw / table / day / name, folder / name)


def _calls(
    work: Path,
    build: Path,
    now: datetime,
    verify_days: int,
    changed_days: Sequence[tuple[str, str, str]],
    kept: Sequence[str],
    *,
    unit_tests: bool,
) -> list[list[str]]:
    """Return the arguments of the calls of dbt."""
    paths = {
        "--project-dir": DBT_PROJECT_DIR,
        "--profiles-dir": DBT_PROJECT_DIR,
        "--target-path": work / "target",
        "--log-path": work,
    }
    variables = {"spark_marts": str(build / MARTS), "spark_seeds": str(work / "seeds")}
    common = [
        "--target",
        "spark",
        "--vars",
        orjson.dumps(variables).decode(),
        "--no-use-colors",
        *(str(word) for pair in paths.items() for word in pair),
    ]
    prepare = {
        "raw": str(work / "input"),
        "columns": {
            table: [(column.name, column.type) for column in columns] for table, columns in fields.raw_tables().items()
        },
        "marts": str(build / MARTS),
        "kept": kept,
        "changed_days": changed_days,
        "built_at": now.isoformat(),
        "verify_days": verify_days,
    }
    calls = [
        ["run-operation", "prepare_spark", "--args", orjson.dumps(prepare).decode(), *common],
        ["build", "--exclude-resource-type", "unit_test", *common],
    ]
    if unit_tests:
        calls.append(["test", "--select", "test_type:unit", *common])
    return calls


def _run_dbt(work: Path, calls: Sequence[Sequence[str]], options: SparkOptions, environment: Mapping[str, str]) -> None:
    """Run the calls in a child process. Raises SparkBuildError if one of them fails."""
    # A build needs no credentials.
    environment = {name: value for name, value in environment.items() if not name.startswith(NOT_FOR_DBT)}
    if options.thrift is None:
        conf = {"spark.master": options.master, **DEFAULT_CONF, **options.conf}
        folder = work / "conf"
        folder.mkdir()
        lines = (f"{name} {value}\n".replace("\\", "\\\\") for name, value in conf.items())
        (folder / "spark-defaults.conf").write_text("".join(lines), encoding="utf-8")
        environment |= {"SPARK_CONF_DIR": str(folder), "RESEARCH_SPARK_METHOD": "session"}
        environment.setdefault("SPARK_LOCAL_IP", conf["spark.driver.bindAddress"])
    else:
        host, port = options.thrift
        environment |= {
            "RESEARCH_SPARK_METHOD": "thrift",
            "RESEARCH_SPARK_HOST": host,
            "RESEARCH_SPARK_PORT": str(port),
        }
    environment |= {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    log = work / "spark.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "research_assets.warehouse.spark_dbt"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session keeps its metastore in the working directory.
            cwd=work,
            env=environment,
            umask=0o077,
        ) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(calls) + b"\n")
        process.stdin.flush()
        # The input stays open: its end tells the process that this one has died.
        process.wait()
    if process.returncode:
        failed = [f"{name}: {message}" for name, message in _failures(work)]
        error = ModelsFailed if failed else SparkBuildError
        raise error(
            f"The build on Spark failed: {'; '.join(failed) or 'Spark or dbt did not start'}. Nothing was published. "
            f"See {log}."
        )


def _run_results(work: Path) -> Sequence[Mapping[str, Any]]:
    try:
        results: Sequence[Mapping[str, Any]] = orjson.loads((work / "target" / "run_results.json").read_bytes())[
            "results"
        ]
    except (OSError, ValueError, KeyError):
        return []
    return results


def _failures(work: Path) -> list[tuple[str, str]]:
    """Return the names of failed models, tests and operations, each with its message."""
    operation = work / OPERATION_ERRORS
    message = " ".join(operation.read_text(encoding="utf-8").split()) if operation.exists() else ""
    return [
        (result["unique_id"].split(".")[2], (result["message"] or message or result["status"]).strip())
        for result in _run_results(work)
        if result["status"] in ("error", "fail", "runtime error")
    ]


def _index(manifest: Mapping[str, Any]) -> list[IndexedMart]:
    """Return the marts of dbt's manifest."""
    nodes = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "marts" and node["config"]["enabled"]
    ]
    return [
        IndexedMart(
            node["name"],
            node["description"],
            [(column["name"], column["data_type"], column["description"]) for column in node["columns"].values()],
            node["config"].get("partition_by") or (),
            node["config"]["meta"].get("raw_table"),
        )
        for node in sorted(nodes, key=lambda node: str(node["name"]))
    ]

"""Input of a build: the raw files that exist, compared with those from which the published warehouse was built.

A build reads the files that exist when it begins, and records them with the warehouse. The next build reads only the
new data, as an increment. It is a full refresh if a file of a collected entity was removed or changed (removed data
must not remain in unused pages of the warehouse file), if the dbt project changed, or if the record is uncertain.
This module also writes the small DuckDB file through which dbt reads the raw tables.

Not here: calls of dbt (see dbt_runner.py) and the build itself (see build.py).
"""

import os
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets import fields
from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.storage.checked_lines import add_checksum, is_intact
from research_assets.storage.raw_repair import repair_files
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.raw_writer import PLACEHOLDER_STUDY
from research_assets.storage.shared_duckdb import connect_shared

FileStamps = Mapping[str, Mapping[str, str]]
"""Files of one raw table: `study=…/day=…` to file name to a stamp that changes with the file."""

BuildRecord = Mapping[str, Any]
"""Stored record of the published build: the files from which it was built, and the file that it is."""

DAY_TABLES = ("videos", "comments", "rejected", "requests")
"""Raw tables whose marts are rebuilt day by day: a day's rows follow from the files of that day alone."""

REWRITTEN_TABLES = ("requests", "expected_units")
"""Raw tables whose files are rewritten regularly; files of other tables are only added, except open coverage."""

MAX_GROWTH = 1.25
"""Multiple of its compact size from which a warehouse is compacted."""

OPEN_COVERAGE_SUFFIX = "-open.parquet"
"""File ending of the coverage of an open journal: rewritten while the journal grows, removed when it is sealed."""


@dataclass(frozen=True, slots=True)
class BuildInput:
    """Input of one build.

    `file_stamps` contains every raw file, and `files` the paths below `raw/` to read, both by table.
    `full_refresh_reason` is None for an increment. `changed_days` are the (study, day) pairs to rebuild, by table.
    `coverage_partitions` are the (study, entity, partition) of the rows of each file of `coverage`: they can differ
    from the file's folder, and cannot be read any more once the file is gone. `changed_tables` are the raw tables with
    new files or attempts. `compact_bytes` is the size of the warehouse (bytes) when replaced rows last left no gaps in
    it; None if this build is to close all gaps.
    """

    file_stamps: Mapping[str, FileStamps]
    full_refresh_reason: str | None
    files: Mapping[str, Sequence[str]]
    changed_days: Mapping[str, Sequence[tuple[str, str]]]
    coverage_partitions: Mapping[str, Sequence[tuple[str, str, str]]]
    changed_tables: Set[str]
    compact_bytes: int | None


class IncrementNotPossible(Exception):
    """A raw file was removed or changed, so an increment would keep its rows."""


def full_input(settings: Settings, reason: str) -> BuildInput:
    """Return all raw files as the input of a full refresh; `reason` says why it is one."""
    present = list_raw_files(settings.raw)
    paths = {table: _paths(table, stamps) for table, stamps in present.items()}
    if _repair(settings, paths):
        present = list_raw_files(settings.raw)
        paths = {table: _paths(table, stamps) for table, stamps in present.items()}
    return BuildInput(
        present, reason, paths, {}, _read_coverage_partitions(settings.raw, paths["coverage"]), present.keys(), None
    )


def incremental_input(settings: Settings, record: BuildRecord) -> BuildInput:
    """Return the data that arrived since the published build, whose input is in `record`.

    Raises IncrementNotPossible if a full refresh is necessary.
    """
    present = list_raw_files(settings.raw)
    past: Mapping[str, FileStamps] = record["file_stamps"]
    _require_append_only(past, present)
    coverage = _paths("coverage", present["coverage"])
    changed = {table: _changed(past.get(table, {}), stamps) for table, stamps in present.items()}
    if messages := _repair(settings, {table: _new_paths(table, past, present, changed) for table in present}):
        raise IncrementNotPossible(messages[0])
    new_coverage = set(_new_paths("coverage", past, present, changed))
    new_partitions = _read_coverage_partitions(settings.raw, sorted(new_coverage))
    unchanged_coverage = set(coverage) - new_coverage
    # The earlier partitions of a file that was removed or rewritten have changed as well.
    withdrawn = [
        partitions for path, partitions in record["coverage_partitions"].items() if path not in unchanged_coverage
    ]
    affected = [row for partitions in (*new_partitions.values(), *withdrawn) for row in partitions]
    coverage_partitions = new_partitions | {path: record["coverage_partitions"][path] for path in unchanged_coverage}
    days = {table: {_parse_folder(folder) for folder in changed[table]} for table in DAY_TABLES}
    days["coverage"] = {(study, day) for study, _, day in affected}
    days["coverage"] |= {_parse_folder(folder) for folder in changed["expected_units"]}
    # The inclusion probability of a video is in the coverage of its comments.
    days["comments"] |= {(study, day) for study, entity, day in affected if entity == "comments"}
    by_folder = {table: days[table] for table in DAY_TABLES} | {"expected_units": days["coverage"]}
    paths = {}
    for table in present:
        if table == "coverage":
            needed = days["coverage"] | days["comments"]
            paths[table] = [
                path for path in coverage if any((study, day) in needed for study, _, day in coverage_partitions[path])
            ]
        elif table in by_folder:
            folders = (f"study={study}/day={day}" for study, day in by_folder[table])
            paths[table] = _paths(table, {folder: present[table].get(folder, {}) for folder in folders})
        else:
            paths[table] = _new_paths(table, past, present, changed)
    # The files of a changed day that are not new are read again.
    if messages := _repair(settings, paths):
        raise IncrementNotPossible(messages[0])
    changed_tables = {table for table, folders in changed.items() if folders} | {entity for _, entity, _ in affected}
    sorted_days = {table: sorted(pairs) for table, pairs in days.items()}
    has_grown = settings.warehouse.stat().st_size > MAX_GROWTH * record["compact_bytes"]
    compact_bytes = None if has_grown else record["compact_bytes"]
    return BuildInput(present, None, paths, sorted_days, coverage_partitions, changed_tables, compact_bytes)


def _repair(settings: Settings, paths: Mapping[str, Sequence[str]]) -> list[str]:
    """Repair the damaged files among the raw files that a build reads; returns a sentence about each."""
    return repair_files(settings.raw, [settings.raw / path for listed in paths.values() for path in listed])


def list_raw_files(raw: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return every Parquet file of the raw tables that readers see, with a stamp: inode, size and time of change."""
    listed: dict[str, dict[str, dict[str, str]]] = {}
    for table in fields.raw_tables():
        days: dict[str, dict[str, str]] = {}
        for study in _entries(raw / table, "study="):
            for day in _entries(Path(study.path), "day="):
                with os.scandir(day.path) as entries:
                    stamps = {e.name: file_stamp(e.stat()) for e in entries if e.name.endswith(".parquet")}
                if stamps and study.name != f"study={PLACEHOLDER_STUDY}":
                    days[f"{study.name}/{day.name}"] = stamps
        listed[table] = days
    return listed


def scratch_path(settings: Settings) -> Path:
    """Return the path of the DuckDB file with the views that a build reads; it is never published.

    dbt's profile attaches it under the name of the file, so its views also work if a person opens it.
    """
    return settings.dbt_target / "scratch.duckdb"


def create_raw_views(settings: Settings, build_input: BuildInput) -> None:
    """Write the file through which dbt reads the raw tables: a view of each table, and the changed days.

    An increment keeps the file of the previous build, with the views that dbt created in it.
    """
    path = scratch_path(settings)
    if build_input.full_refresh_reason is not None:
        # If this build fails, its views remain. Without the record they cannot be taken for those of the published one.
        for old in (_record_path(settings), path, write_ahead_log(path)):
            old.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE SCHEMA IF NOT EXISTS raw")
        for table in fields.raw_tables():
            # A view without other files takes its columns from the empty file.
            paths = [
                f"{table}/study={PLACEHOLDER_STUDY}/day=1970-01-01/empty.parquet",
                *build_input.files.get(table, ()),
            ]
            rows = f"SELECT * FROM {_read_parquet(settings.raw, paths)} WHERE study <> '{PLACEHOLDER_STUDY}'"
            db.execute(f"CREATE OR REPLACE VIEW raw.{table} AS {rows}")
        db.execute("CREATE OR REPLACE TABLE raw.changed_days (raw_table VARCHAR, study VARCHAR, day DATE)")
        changed = [(table, *pair) for table, pairs in build_input.changed_days.items() for pair in pairs]
        if changed:
            db.executemany("INSERT INTO raw.changed_days VALUES (?, ?, ?)", changed)
    path.chmod(0o600)


def read_record(settings: Settings, project: str) -> BuildRecord | None:
    """Return the record of the published warehouse; None unless it certainly describes this file and this project.

    A damaged record counts as none.

    `project` is the digest of the dbt project and its tools.
    """
    try:
        line = _record_path(settings).read_bytes()
        if not is_intact(line):
            return None
        record: BuildRecord = orjson.loads(line)
        matches = record["project"] == project and record["file"] == file_stamp(settings.warehouse.stat())
        return record if matches and record["compact_bytes"] and scratch_path(settings).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        # The record is lost or damaged; a full refresh needs none.
        return None


def write_record(settings: Settings, build_input: BuildInput, project: str) -> None:
    """Record the input of the finished build before it is published.

    The record identifies this file, so it does not apply to another file that may replace it.
    """
    file = settings.warehouse_build.stat()
    record = {
        "project": project,
        "file": file_stamp(file),
        "file_stamps": build_input.file_stamps,
        "coverage_partitions": build_input.coverage_partitions,
        "compact_bytes": build_input.compact_bytes or file.st_size,
    }
    files.write_private(_record_path(settings), add_checksum(orjson.dumps(record)))


def forget_record(settings: Settings) -> None:
    """Make the next build a full refresh."""
    _record_path(settings).unlink(missing_ok=True)


def _record_path(settings: Settings) -> Path:
    return settings.dbt_target / "build_record.json"


def _require_append_only(past: Mapping[str, FileStamps], present: Mapping[str, FileStamps]) -> None:
    """Raise IncrementNotPossible if a file was removed or changed: an increment cannot find the rows that it had."""
    for table, days in past.items():
        for folder, stamps in days.items():
            present_stamps = present.get(table, {}).get(folder, {})
            for name, stamp in stamps.items():
                if (
                    present_stamps.get(name) != stamp
                    and table not in REWRITTEN_TABLES
                    and not name.endswith(OPEN_COVERAGE_SUFFIX)
                ):
                    raise IncrementNotPossible(
                        f"raw/{table}/{folder}/{name} was {'changed' if name in present_stamps else 'removed'}"
                    )


def _changed(past: FileStamps, present: FileStamps) -> list[str]:
    """Return the folders in which any file differs, including removed folders."""
    return sorted(folder for folder in past.keys() | present.keys() if past.get(folder) != present.get(folder))


def _new_paths(
    table: str, past: Mapping[str, FileStamps], present: Mapping[str, FileStamps], changed: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the files of a table that are new or rewritten since the published warehouse was built."""
    past_files, present_files = past.get(table, {}), present.get(table, {})
    return [
        f"{table}/{folder}/{name}"
        for folder in changed.get(table, ())
        for name, stamp in sorted(present_files.get(folder, {}).items())
        if past_files.get(folder, {}).get(name) != stamp
    ]


def _read_coverage_partitions(raw: Path, coverage: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """Return the study, entity and partition of the rows of each of some files of `coverage`."""
    partitions: dict[str, list[tuple[str, str, str]]] = {path: [] for path in coverage}
    if coverage:
        with closing(connect_shared()) as db:
            rows = db.execute(
                f"SELECT DISTINCT filename, study, entity, partition::VARCHAR FROM {_read_parquet(raw, coverage)} "
                "WHERE partition IS NOT NULL ORDER BY ALL"
            ).fetchall()
        for path, study, entity, day in rows:
            partitions[Path(path).relative_to(raw).as_posix()].append((study, entity, day))
    return partitions


def _paths(table: str, days: FileStamps) -> list[str]:
    return [f"{table}/{folder}/{name}" for folder, stamps in sorted(days.items()) for name in sorted(stamps)]


def _parse_folder(folder: str) -> tuple[str, str]:
    """Parse `study=garden/day=2026-02-01` as ("garden", "2026-02-01")."""
    study, _, day = folder.partition("/")
    return study.removeprefix("study="), day.removeprefix("day=")


def _entries(folder: Path, prefix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    except FileNotFoundError:
        return []


def file_stamp(status: os.stat_result) -> str:
    """Return a stamp that changes with the file: inode, size and time of change."""
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def write_ahead_log(database: Path) -> Path:
    """Return the path of the log in which DuckDB keeps the changes of a database until it writes them to the file."""
    return database.with_name(database.name + ".wal")


def _read_parquet(raw: Path, paths: Sequence[str]) -> str:
    """Return a table expression of the rows of some files of one raw table."""
    listed = ", ".join(sql_literal(raw / path) for path in paths)
    # With explicit types, a study called 2026 stays text.
    types = "{'study': VARCHAR, 'day': DATE}"
    return f"read_parquet([{listed}], hive_partitioning = true, union_by_name = true, hive_types = {types})"

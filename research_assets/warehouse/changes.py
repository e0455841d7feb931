"""What a build takes in: the raw files that are there, against those from which the published warehouse was built.

A build reads the files that were there when it began, and says with the warehouse which they were. The next one takes
in what came since, or builds everything anew: when a file of the collected entities is gone or changed (a removal must
not live on in the unused pages of a file), when the dbt project changed, and whenever it is not sure. Nothing here runs
dbt; it writes one small DuckDB file, through which dbt sees the raw tables.
"""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets import fields
from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.raw_writer import PLACEHOLDER_STUDY

FileStamps = Mapping[str, Mapping[str, str]]
"""Below one raw table: `study=…/day=…` to file name to a stamp that changes with the file."""

BuildRecord = Mapping[str, Any]
"""What is held on disk about the published build: from which files it was made, and which file it is."""

DAY_TABLES = ("videos", "comments", "requests")
"""Raw tables whose marts are made anew day by day: a day's rows follow from the files of that day alone."""

REWRITTEN_TABLES = ("requests", "wanted")
"""Raw tables that are rewritten as a matter of course; every other file is only ever added, except notes."""

MAX_GROWTH = 1.25
"""From this multiple of its compact size on, a warehouse is made compact again."""

OPEN_COVERAGE_SUFFIX = "-open.parquet"
"""Ending of the coverage of a journal that is still open: rewritten as it goes on, gone when it is sealed."""


@dataclass(frozen=True, slots=True)
class BuildInput:
    """What one build reads: `stamps` is every raw file; `why_whole` says why all of it, and is None for an increment.

    `reads` gives the paths below `raw/` to read, by table; `days` the (study, day) pairs to make anew, by table.
    `spoken` says of which study, entity and partition each file of `coverage` speaks: it need not be that of its
    folder, and once a file is gone, it cannot be asked. `news` are the raw tables of which files or verdicts came.
    `compact` is the size of the warehouse (bytes) when rows that were replaced last left no gap in it; None if this
    build is to leave none.
    """

    file_stamps: Mapping[str, FileStamps]
    full_refresh_reason: str | None
    files: Mapping[str, Sequence[str]]
    changed_days: Mapping[str, Sequence[tuple[str, str]]]
    coverage_partitions: Mapping[str, Sequence[tuple[str, str, str]]]
    changed_tables: Set[str]
    compact_bytes: int | None


class IncrementNotPossible(Exception):
    """An increment would not do: something did not come, but go."""


def full_input(settings: Settings, why: str) -> BuildInput:
    """All that is there, for a build of everything; `why` is the reason for it."""
    present = list_raw_files(settings.raw)
    reads = {table: _paths(table, days) for table, days in present.items()}
    return BuildInput(
        present, why, reads, {}, _read_coverage_partitions(settings.raw, reads["coverage"]), present.keys(), None
    )


def incremental_input(settings: Settings, record: BuildRecord) -> BuildInput:
    """What came since the published build, of which `record` says from what it was made.

    Raises NotAdded if an increment would not do.
    """
    present = list_raw_files(settings.raw)
    past: Mapping[str, FileStamps] = record["file_stamps"]
    _require_append_only(past, present)
    results = _paths("coverage", present["coverage"])
    changed = {table: _changed(past.get(table, {}), days) for table, days in present.items()}
    news = set(_new_paths("coverage", past, present, changed))
    reported, kept = _read_coverage_partitions(settings.raw, sorted(news)), set(results) - news
    # Of a file that is gone or was written again, what it said before has changed as well.
    taken_back = [places for path, places in record["coverage_partitions"].items() if path not in kept]
    touched = [(at, entity, day) for places in (*reported.values(), *taken_back) for at, entity, day in places]
    spoken = reported | {path: record["coverage_partitions"][path] for path in kept}
    days = {table: {_parse_folder(folder) for folder in changed[table]} for table in DAY_TABLES}
    days["coverage"] = {(study, day) for study, _, day in touched}
    days["coverage"] |= {_parse_folder(folder) for folder in changed["wanted"]}
    # The chance with which a video was drawn stands in the coverage of its comments.
    days["comments"] |= {(study, day) for study, entity, day in touched if entity == "comments"}
    by_folder = {table: days[table] for table in DAY_TABLES} | {"wanted": days["coverage"]}
    reads = {}
    for table in present:
        if table == "coverage":
            wanted = days["coverage"] | days["comments"]
            reads[table] = [path for path in results if any((at, day) in wanted for at, _, day in spoken[path])]
        elif table in by_folder:
            folders = (f"study={study}/day={day}" for study, day in by_folder[table])
            reads[table] = _paths(table, {folder: present[table].get(folder, {}) for folder in folders})
        else:
            reads[table] = _new_paths(table, past, present, changed)
    came = {table for table, folders in changed.items() if folders} | {entity for _, entity, _ in touched}
    sorted_days = {table: sorted(found) for table, found in days.items()}
    grown = settings.warehouse.stat().st_size > MAX_GROWTH * record["compact_bytes"]
    return BuildInput(present, None, reads, sorted_days, spoken, came, None if grown else record["compact_bytes"])


def list_raw_files(raw: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Every Parquet file of the raw tables that readers see, with a stamp: inode, size and time of change."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for table in fields.raw_tables():
        days: dict[str, dict[str, str]] = {}
        for study in _entries(raw / table, "study="):
            for day in _entries(Path(study.path), "day="):
                with os.scandir(day.path) as entries:
                    stamps = {e.name: _stamp(e.stat()) for e in entries if e.name.endswith(".parquet")}
                if stamps and study.name != f"study={PLACEHOLDER_STUDY}":
                    days[f"{study.name}/{day.name}"] = stamps
        found[table] = days
    return found


def scratch_path(settings: Settings) -> Path:
    """The DuckDB file of views that a build reads through, made anew by each; none of it is published.

    dbt's profile calls it as the file is called, so that its views are right whoever opens it.
    """
    return settings.dbt_target / "scratch.duckdb"


def create_raw_views(settings: Settings, build_input: BuildInput) -> None:
    """Make the file through which dbt sees the raw tables: a view of each over the files to read, and what changed.

    For an increment the file of the build before is taken, with the views that dbt made in it.
    """
    path = scratch_path(settings)
    if build_input.full_refresh_reason is not None:
        # If this build fails, its views stay behind: then they must not be taken for those of the published one.
        for old in (_record_path(settings), path, path.with_name(path.name + ".wal")):
            old.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE SCHEMA IF NOT EXISTS raw")
        for table in fields.raw_tables():
            # The empty file lets a view bind that has nothing to read.
            paths = [
                f"{table}/study={PLACEHOLDER_STUDY}/day=1970-01-01/empty.parquet",
                *build_input.files.get(table, ()),
            ]
            rows = f"SELECT * FROM {_read_parquet(settings.raw, paths)} WHERE study <> '{PLACEHOLDER_STUDY}'"
            db.execute(f"CREATE OR REPLACE VIEW raw.{table} AS {rows}")
        db.execute("CREATE OR REPLACE TABLE raw.changed_days (raw_table VARCHAR, study VARCHAR, day DATE)")
        changed = [(table, *place) for table, places in build_input.changed_days.items() for place in places]
        if changed:
            db.executemany("INSERT INTO raw.changed_days VALUES (?, ?, ?)", changed)
    path.chmod(0o600)


def read_record(settings: Settings, project: str) -> BuildRecord | None:
    """What the published warehouse was made of; None unless it is certain that it is this one.

    `project` stands for the dbt project and its tools.
    """
    try:
        record: BuildRecord = orjson.loads(_record_path(settings).read_bytes())
        fits = record["project"] == project and record["file"] == _stamp(settings.warehouse.stat())
        return record if fits and record["compact_bytes"] and scratch_path(settings).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        # Lost or damaged: everything is built anew, which needs no record.
        return None


def write_record(settings: Settings, build_input: BuildInput, project: str) -> None:
    """Say of the finished build, before it is published, from what it was made.

    The record names the very file, so that it says nothing of any other that may come to stand in its place.
    """
    file = settings.warehouse_build.stat()
    made_of = {
        "file_stamps": build_input.file_stamps,
        "coverage_partitions": build_input.coverage_partitions,
        "compact_bytes": build_input.compact_bytes or file.st_size,
    }
    record = {"project": project, "file": _stamp(file)} | made_of
    files.write_private(_record_path(settings), orjson.dumps(record))


def _record_path(settings: Settings) -> Path:
    return settings.dbt_target / "build_record.json"


def _require_append_only(past: Mapping[str, FileStamps], present: Mapping[str, FileStamps]) -> None:
    """Raises NotAdded if a file is gone or another: of what was added an increment knows, of what went it does not."""
    for table, days in past.items():
        for folder, stamps in days.items():
            held = present.get(table, {}).get(folder, {})
            for name, stamp in stamps.items():
                if (
                    held.get(name) != stamp
                    and table not in REWRITTEN_TABLES
                    and not name.endswith(OPEN_COVERAGE_SUFFIX)
                ):
                    raise IncrementNotPossible(
                        f"raw/{table}/{folder}/{name} is {'changed' if name in held else 'gone'}"
                    )


def _changed(past: FileStamps, present: FileStamps) -> list[str]:
    """The folders in which anything differs, those that are gone included."""
    return sorted(folder for folder in past.keys() | present.keys() if past.get(folder) != present.get(folder))


def _new_paths(
    table: str, past: Mapping[str, FileStamps], present: Mapping[str, FileStamps], changed: Mapping[str, Sequence[str]]
) -> list[str]:
    """The files of a table that were not there, or were others, when the held warehouse was built."""
    held, found = past.get(table, {}), present.get(table, {})
    return [
        f"{table}/{folder}/{name}"
        for folder in changed.get(table, ())
        for name, stamp in sorted(found.get(folder, {}).items())
        if held.get(folder, {}).get(name) != stamp
    ]


def _read_coverage_partitions(raw: Path, coverage: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """The study, entity and partition of which each of some files of coverage speaks."""
    spoken: dict[str, list[tuple[str, str, str]]] = {path: [] for path in coverage}
    if coverage:
        with duckdb.connect() as db:
            rows = db.execute(
                f"SELECT DISTINCT filename, study, entity, partition::VARCHAR FROM {_read_parquet(raw, coverage)} "
                "WHERE partition IS NOT NULL ORDER BY ALL"
            ).fetchall()
        for path, study, entity, day in rows:
            spoken[Path(path).relative_to(raw).as_posix()].append((study, entity, day))
    return spoken


def _paths(table: str, days: FileStamps) -> list[str]:
    return [f"{table}/{folder}/{name}" for folder, stamps in sorted(days.items()) for name in sorted(stamps)]


def _parse_folder(folder: str) -> tuple[str, str]:
    """`study=garden/day=2026-02-01` as ("garden", "2026-02-01")."""
    study, _, day = folder.partition("/")
    return study.removeprefix("study="), day.removeprefix("day=")


def _entries(folder: Path, prefix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    except FileNotFoundError:
        return []


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _read_parquet(raw: Path, paths: Sequence[str]) -> str:
    """The rows of some files of one raw table, as a table expression."""
    listed = ", ".join(sql_literal(raw / path) for path in paths)
    # Typed here, so that a study called 2026 stays text.
    types = "{'study': VARCHAR, 'day': DATE}"
    return f"read_parquet([{listed}], hive_partitioning = true, union_by_name = true, hive_types = {types})"

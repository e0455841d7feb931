"""Input of a build: the raw files that exist, compared with those from which the published warehouse was built.

A build reads the files that exist when it begins, and records them with the warehouse. The next build tells dbt which
days of which raw tables changed since, and the incremental models replace these days. It is a full refresh if a file
of a collected entity was removed or changed (removed data must not remain in unused pages of the warehouse file), if
the dbt project changed, or if the record is uncertain. This module also writes the small DuckDB file through which dbt
reads the raw tables.

Not here: calls of dbt (see dbt_runner.py) and the build itself (see build.py).
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

FileStamps = Mapping[str, Mapping[str, str]]
"""Files of one raw table: `study=…/day=…` to file name to a stamp that changes with the file."""

BuildRecord = Mapping[str, Any]
"""Stored record of the published build: the files from which it was built, and the file that it is."""

OPEN_COVERAGE_SUFFIX = "-open.parquet"
"""File ending of the coverage of an open journal: rewritten while the journal grows, removed when it is sealed."""


_COVERAGE = "coverage"


@dataclass(frozen=True, slots=True)
class BuildInput:
    """Input of one build.

    `file_stamps` contains every raw file, by table. `full_refresh_reason` is None for an increment, whose
    `changed_days` are the (table, study, day) with other files than in the published build.
    """

    file_stamps: Mapping[str, FileStamps]
    full_refresh_reason: str | None
    changed_days: Sequence[tuple[str, str, str]] = ()


class IncrementNotPossible(Exception):
    """A raw file was removed or changed, so an increment would keep its rows."""


def full_input(settings: Settings, reason: str) -> BuildInput:
    """Return all raw files as the input of a full refresh; `reason` says why it is one."""
    present = list_raw_files(settings.raw)
    if _repair(settings, present):
        present = list_raw_files(settings.raw)
    return BuildInput(present, reason)


def incremental_input(settings: Settings, record: BuildRecord) -> BuildInput:
    """Return the raw files and the days that changed since the published build, whose input is in `record`.

    Raises IncrementNotPossible if a full refresh is necessary.
    """
    present = list_raw_files(settings.raw)
    past: Mapping[str, FileStamps] = record["file_stamps"]
    _require_append_only(past, present)
    # A file that had to be repaired was perhaps read before.
    if messages := _repair(settings, present):
        raise IncrementNotPossible(messages[0])
    changed_days = [
        (name, *_parse_folder(folder))
        for table, stamps in present.items()
        for folder in _changed(past.get(table, {}), stamps)
        # New times of verification are in the marts of the verified ids.
        for name in (table, fields.VERIFIED_TABLES.get(table, table))
    ]
    return BuildInput(present, None, list(dict.fromkeys(changed_days)))


def _repair(settings: Settings, present: Mapping[str, FileStamps]) -> list[str]:
    """Repair the damaged files among the raw files; returns a sentence about each."""
    return repair_files(settings.raw, [settings.raw / path for table in present for path in _paths(table, present)])


def list_raw_files(raw: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return every Parquet file of the raw tables that readers see, with a stamp: inode, size and time of change."""
    return {table: _list_table(raw / table) for table in fields.raw_tables()}


def _list_table(table: Path) -> dict[str, dict[str, str]]:
    days: dict[str, dict[str, str]] = {}
    for study in _entries(table, "study="):
        for day in _entries(Path(study.path), "day="):
            with os.scandir(day.path) as entries:
                stamps = {e.name: file_stamp(e.stat()) for e in entries if e.name.endswith(".parquet")}
            if stamps and study.name != f"study={PLACEHOLDER_STUDY}":
                days[f"{study.name}/{day.name}"] = stamps
    return days


@dataclass(frozen=True, slots=True)
class Publications:
    """Files of raw/coverage, of which each publication of a collection writes one.

    `newest` is the time of the newest of them (UTC), None if there is none. `unbuilt_newest` is that of the files that
    the published warehouse does not contain, and `unbuilt` a digest of these; empty if there is none. The times are
    those of the machine, whose clock may have been wrong: they never show whether a file is new.
    """

    newest: datetime | None
    unbuilt: str
    unbuilt_newest: datetime | None


def list_publications(settings: Settings, *, is_built: bool = True) -> Publications:
    """Return the files of raw/coverage, compared with those of the published warehouse.

    Without `is_built` the warehouse counts as not published.
    """
    present = _without_inodes(_list_table(settings.raw / _COVERAGE))
    built = _without_inodes(_built_coverage(settings)) if is_built and present else {}
    unbuilt = {path: stamp for path, stamp in present.items() if built.get(path) != stamp}
    digest = hashlib.sha256(repr(sorted(unbuilt.items())).encode()).hexdigest()[:16] if unbuilt else ""
    return Publications(_newest(present.values()), digest, _newest(unbuilt.values()))


def _built_coverage(settings: Settings) -> FileStamps:
    """Return the files of raw/coverage in the published warehouse; none if the record is that of another file.

    A person may have written to the warehouse since it was published, which adds no raw file, and a copy of the data
    folder has other inodes.
    """
    try:
        line = _record_path(settings).read_bytes()
        record: BuildRecord = orjson.loads(line) if is_intact(line) else {}
        recorded, published = record["file"].split(":"), file_stamp(settings.warehouse.stat()).split(":")
        is_same = recorded[0] == published[0] or recorded[1:] == published[1:]
        stamps: FileStamps = record["file_stamps"][_COVERAGE] if is_same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return stamps


def _without_inodes(files_of_days: FileStamps) -> dict[str, tuple[int, int]]:
    """Return size and time of change (nanoseconds) by path.

    Some file systems number their inodes again while they are mounted (FAT, exFAT).
    """
    stamps = {
        f"{day}/{name}": stamp.split(":") for day, names in files_of_days.items() for name, stamp in names.items()
    }
    return {path: (int(size), int(changed)) for path, (_, size, changed) in stamps.items()}


def _newest(stamps: Iterable[tuple[int, int]]) -> datetime | None:
    changed = max((changed for _, changed in stamps), default=None)
    return None if changed is None else datetime.fromtimestamp(changed / 1e9, UTC)


def scratch_path(settings: Settings) -> Path:
    """Return the path of the DuckDB file with the views that a build reads; it is never published.

    dbt's profile attaches it under the name of the file, so its views also work if a person opens it.
    """
    return settings.dbt_target / "scratch.duckdb"


def create_raw_views(settings: Settings, build_input: BuildInput, now: datetime) -> None:
    """Write the file through which dbt reads the raw tables: a view of each table, the changed days and the time."""
    path = scratch_path(settings)
    for old in (path, write_ahead_log(path)):
        old.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as db:
        # One transaction: DuckDB writes each one to its log, and waits for the disk.
        db.execute("BEGIN")
        db.execute("CREATE SCHEMA raw")
        for table in fields.raw_tables():
            # A view without other files takes its columns from the empty file.
            paths = [
                f"{table}/study={PLACEHOLDER_STUDY}/day=1970-01-01/empty.parquet",
                *_paths(table, build_input.file_stamps),
            ]
            rows = f"SELECT * FROM {_read_parquet(settings.raw, paths)} WHERE study <> '{PLACEHOLDER_STUDY}'"
            db.execute(f"CREATE VIEW raw.{table} AS {rows}")
        db.execute("CREATE TABLE raw.build (built_at TIMESTAMPTZ, verify_days INTEGER)")
        db.execute("INSERT INTO raw.build VALUES (?, ?)", [now, settings.verify_days])
        db.execute("CREATE TABLE raw.changed_days (raw_table VARCHAR, study VARCHAR, day DATE)")
        if build_input.changed_days:
            lists = [list(values) for values in zip(*build_input.changed_days, strict=True)]
            # One list for each column: a statement for each row takes twenty times as long.
            db.execute(
                "INSERT INTO raw.changed_days SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::DATE[])",
                lists,
            )
        db.execute("COMMIT")
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
        return record if matches and record["file_stamps"] else None
    except (OSError, ValueError, KeyError, TypeError):
        # The record is lost or damaged; a full refresh needs none.
        return None


def is_built_from_present_files(settings: Settings) -> bool:
    """Return whether the published warehouse was certainly built from the raw files of entities that exist now."""
    try:
        line = _record_path(settings).read_bytes()
        record: BuildRecord = orjson.loads(line) if is_intact(line) else {}
        is_same = record["file"] == file_stamp(settings.warehouse.stat())
        built: Mapping[str, FileStamps] = record["file_stamps"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    present = list_raw_files(settings.raw)
    tables = (built.keys() | present.keys()).difference(fields.WRITTEN_BY_BUILDS)
    return is_same and all(built.get(table, {}) == present.get(table, {}) for table in tables)


def write_record(settings: Settings, build_input: BuildInput, project: str) -> None:
    """Record the input of the finished build before it is published.

    The record identifies this file, so it does not apply to another file that may replace it.
    """
    record = {
        "project": project,
        "file": file_stamp(settings.warehouse_build.stat()),
        "file_stamps": build_input.file_stamps,
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
                    and table not in fields.WRITTEN_BY_BUILDS
                    and not name.endswith(OPEN_COVERAGE_SUFFIX)
                ):
                    raise IncrementNotPossible(
                        f"raw/{table}/{folder}/{name} was {'changed' if name in present_stamps else 'removed'}"
                    )


def _changed(past: FileStamps, present: FileStamps) -> list[str]:
    """Return the folders in which any file differs, including removed folders."""
    return sorted(folder for folder in past.keys() | present.keys() if past.get(folder) != present.get(folder))


def _paths(table: str, file_stamps: Mapping[str, FileStamps]) -> list[str]:
    """Return the paths of a table's files below `raw/`, in the order of their days."""
    days = file_stamps.get(table, {})
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

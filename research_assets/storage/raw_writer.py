"""A capture into typed Parquet, and the other files of the raw tables.

DuckDB reads the compressed capture with explicit columns and writes Parquet; no row passes through Python. A file is
written under a temporary name that no reader looks for and published by one rename; a capture that is written again
replaces itself. What is in a page is the business of `table_sql.py`, rebuilding everything that of `replay.py`.

Layout: `raw/<table>/study=<study>/day=<day>/<capture>.parquet`. The coverage of a capture is published last, so that
its presence says that the rows are there (`is_written`).
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import orjson
import zstandard

from research_assets.fields import COVERAGE, ENTITIES, Entity, raw_tables
from research_assets.storage.captures import CHUNK, DamagedCapture, Manifest
from research_assets.storage.files import private_folder, publish_file
from research_assets.storage.parquet_io import LARGE_MEMORY, open_duckdb, publish_parquet, temporary_folder, write_query
from research_assets.storage.raw_sql import (
    DAY_COLUMN,
    day_of,
    fits_typed_parsing,
    json_records,
    json_transform_type,
    lenient_rows,
    pruning_column,
    read_json_sql,
    sql_identifier,
    sql_literal,
    typed_rows,
)

PLACEHOLDER_STUDY = "__none__"
"""The study of the empty files that let a query over a raw table bind before anything was collected."""


@dataclass(frozen=True, slots=True)
class WrittenCapture:
    """The files of a capture: Parquet paths by raw table, and the entity's distinct rows by UTC day."""

    capture: str
    entity: str
    paths: Mapping[str, tuple[Path, ...]]
    rows: Mapping[date, int]


def write_capture(raw: Path, sealed: Path) -> WrittenCapture:
    """Write a sealed capture's rows and verdicts as Parquet; within it, the newest of the rows with one key is kept.

    Raises DamagedCapture if it cannot be read.
    """
    manifest = Manifest.load(sealed)
    manifest.verify()  # DuckDB takes a file that was cut off for a short one
    entity = ENTITIES[manifest.entity]
    with temporary_folder(raw, manifest.capture) as folder:
        try:
            with open_duckdb(folder) as db:
                days = _write_rows(db, raw, folder, entity, manifest)
        except duckdb.OutOfMemoryException:
            # Pages many times larger than any seen: better slow and large than not at all.
            with open_duckdb(folder, memory=LARGE_MEMORY, threads=1) as db:
                days = _write_rows(db, raw, folder, entity, manifest)
        _remove_others(raw / entity.name, manifest, days)
        with open_duckdb(folder) as db:
            coverage = _write_verdicts(db, raw, folder, manifest)
        _remove_others(raw / "coverage", manifest, [coverage])
    rows = {date.fromisoformat(path.parent.name.removeprefix("day=")): n for path, n in days.items()}
    return WrittenCapture(manifest.capture, entity.name, {entity.name: tuple(days), "coverage": (coverage,)}, rows)


def is_written(raw: Path, manifest: Manifest) -> bool:
    """Whether a capture's Parquet is complete; if not, a crash came between sealing and writing: write it."""
    return any((raw / "coverage" / f"study={manifest.study}").glob(f"day=*/{manifest.capture}.parquet"))


def write_rows(raw: Path, table: str, *, study: str, day: date, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a small table made in Python as one file; columns that a row lacks are null. Returns its path."""
    (path,) = write_files(raw, table, study=study, files=[(day, name, rows)])
    return path


def write_files(
    raw: Path, table: str, *, study: str, files: Iterable[tuple[date, str, Iterable[Mapping[str, Any]]]]
) -> list[Path]:
    """The same for several files of a study, each by its day, its name and its rows; each is published when written."""
    columns = raw_tables()[table]
    paths: list[Path] = []
    with temporary_folder(raw, f"{table}-{study}") as folder, open_duckdb(folder) as db:
        for day, name, rows in files:
            path = _path(raw, table, study, day.isoformat(), name)
            lines, longest = folder / "rows.jsonl", 0
            with lines.open("wb") as file:
                for row in rows:
                    if extra := row.keys() - {column.name for column in columns}:
                        raise ValueError(f"raw/{table} has no column {', '.join(sorted(extra))}")
                    longest = max(longest, file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)))
            source = read_json_sql(lines, {column.name: column.type for column in columns}, longest)
            publish_parquet(db, f"SELECT * FROM {source}", path)
            paths.append(path)
    return paths


def ensure_tables(raw: Path) -> None:
    """Give each raw table an empty file with today's columns, so that a query over its folder always binds."""
    with temporary_folder(raw, "empty") as folder, open_duckdb(folder) as db:
        for table, columns in raw_tables().items():
            path = _path(raw, table, PLACEHOLDER_STUDY, "1970-01-01", "empty")
            nulls = ", ".join(f"NULL::{column.type} AS {sql_identifier(column.name)}" for column in columns)
            wanted = f"SELECT * FROM (SELECT {nulls}) WHERE false"
            if not path.exists() or _types(
                db, f"SELECT * FROM read_parquet({sql_literal(path)}, hive_partitioning = false)"
            ) != (_types(db, wanted)):
                publish_parquet(db, wanted, path)


def _types(db: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    """Names and types of a query's columns; none if it cannot be run."""
    try:
        return db.execute(f"DESCRIBE {query}").fetchall()
    except duckdb.Error:
        return []


def _write_rows(
    db: duckdb.DuckDBPyConnection, raw: Path, folder: Path, entity: Entity, manifest: Manifest
) -> dict[Path, int]:
    """Publish the rows of a capture, one file per day; returns their paths with their row counts."""
    if not manifest.pages:
        return {}
    whole = folder / "whole.tmp"
    day = day_of(entity) or (f"DATE {sql_literal(manifest.first)}" if manifest.first == manifest.last else DAY_COLUMN)
    _parse(db, whole, entity, manifest, with_day=day == DAY_COLUMN)
    kept = _deduplicated(db, whole, entity)
    bound = pruning_column(entity) if day == DAY_COLUMN or day_of(entity) else "observed_at"
    days = db.execute(
        f"SELECT {day} AS d, count(*), min({bound})::VARCHAR, max({bound})::VARCHAR, count({bound}) "
        f"FROM {kept} GROUP BY d ORDER BY d"
    ).fetchall()
    counts = {
        _path(raw, entity.name, manifest.study, found[0].isoformat(), manifest.capture): found[1] for found in days
    }
    if len(days) == 1 and day != DAY_COLUMN and kept == _table(whole):
        for path in counts:
            private_folder(path.parent)
            publish_file(whole, path)
        return counts
    columns = ", ".join(sql_identifier(column.name) for column in raw_tables()[entity.name])
    for path, (found, count, low, high, bounded) in zip(counts, days, strict=True):
        where = f"{day} = DATE {sql_literal(found)}"
        if bounded == count:
            where += f" AND {bound} BETWEEN {sql_literal(low)} AND {sql_literal(high)}"
        publish_parquet(db, f"SELECT {columns} FROM {kept} WHERE {where}", path)
    return counts


def _deduplicated(db: duckdb.DuckDBPyConnection, whole: Path, entity: Entity) -> str:
    """The rows of a file without those of which it holds a newer one, as a table expression."""
    table, key = _table(whole), ", ".join(map(sql_identifier, entity.key))
    complete = " AND ".join(f"{sql_identifier(name)} IS NOT NULL" for name in entity.key)
    repeated = f"(SELECT {key} FROM {table} WHERE {complete} GROUP BY ALL HAVING count(*) > 1)"
    # Of equally new ones the choice must not depend on the order in which threads wrote them.
    db.execute(
        f"CREATE TEMP TABLE older AS SELECT file_row_number FROM (SELECT file_row_number, row_number() OVER ("
        f"PARTITION BY {key} ORDER BY observed_at DESC, to_json(r)::VARCHAR) AS place FROM ("
        f"SELECT file_row_number, t AS r, {key}, observed_at FROM (SELECT * EXCLUDE file_row_number, file_row_number "
        f"FROM {table}) t SEMI JOIN {repeated} USING ({key}))) WHERE place > 1"
    )
    (older,) = db.execute("SELECT count(*) FROM older").fetchall()[0]
    return f"(SELECT * FROM {table} ANTI JOIN older USING (file_row_number))" if older else table


def _table(whole: Path) -> str:
    return f"read_parquet({sql_literal(whole)}, file_row_number = true)"


def _parse(db: duckdb.DuckDBPyConnection, target: Path, entity: Entity, manifest: Manifest, *, with_day: bool) -> None:
    """Write all rows of a capture into one file, by the quick way if its answers are what was expected."""
    # A file of several days is only read once more to be split, so little is spent on packing it.
    packing = "zstd" if manifest.first == manifest.last else "lz4"
    try:
        if fits_typed_parsing(entity, manifest):
            try:
                return write_query(db, typed_rows(entity, manifest, with_day=with_day), target, packing)
            except (duckdb.InvalidInputException, duckdb.ConversionException):
                target.unlink(missing_ok=True)
        nested = ", ".join(
            f"NULL::{f.type} AS {sql_identifier(f.name)}" for f in entity.fields if f.type.endswith("[]")
        )
        types = db.sql(f"SELECT {nested}") if nested else None
        structures = dict(zip(types.columns, map(json_transform_type, types.types), strict=True)) if types else {}
        # By way of a file, since DuckDB takes JSON in pieces of 32 MB: too much for all that is done to each record.
        records = target.with_suffix(".records")
        db.execute("SET threads = 1")
        write_query(db, json_records(entity, manifest), records, "lz4")
        source = f"read_parquet({sql_literal(records)})"
        return write_query(db, lenient_rows(entity, manifest, source, structures, with_day=with_day), target, packing)
    except duckdb.InvalidInputException as error:
        raise DamagedCapture(
            manifest.path, 0, str(error).splitlines()[0], "Nothing was written. It is what was published: report this."
        ) from error


def _write_verdicts(db: duckdb.DuckDBPyConnection, raw: Path, folder: Path, manifest: Manifest) -> Path:
    """Publish the verdicts of a capture under the UTC day on which it ended; returns the path."""
    lines, longest = folder / "units.jsonl", 0
    with lines.open("wb") as file:
        for line in _read_attempt_lines(manifest):
            longest = max(longest, file.write(line))
    source = read_json_sql(lines, {column.name: column.type for column in COVERAGE}, longest)
    ended = manifest.last_at
    if ended is None:
        ended = db.execute(f"SELECT CAST(max(last_at) AS DATE)::VARCHAR FROM {source}").fetchall()[0][0]
    began = f"{manifest.capture[:4]}-{manifest.capture[4:6]}-{manifest.capture[6:8]}"
    day = ended[:10] if ended else began
    path = _path(raw, "coverage", manifest.study, day, manifest.capture)
    named = f"coalesce(capture, {sql_literal(manifest.capture)}) AS capture"
    publish_parquet(db, f"SELECT * REPLACE ({named}) FROM {source}", path)
    return path


def _read_attempt_lines(manifest: Manifest) -> Iterator[bytes]:
    """The lines of the `unit` events, told by how every line of a journal begins."""
    if not manifest.units:
        return
    with manifest.path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_size=CHUNK) as pages:
        yield from (line for line in io.BufferedReader(pages, CHUNK) if line.startswith(b'{"event":"unit",'))


def _remove_others(table: Path, manifest: Manifest, paths: Iterable[Path]) -> None:
    """Remove what an earlier writing of the capture put elsewhere."""
    kept = set(paths)
    for path in (table / f"study={manifest.study}").glob(f"day=*/{manifest.capture}.parquet"):
        if path not in kept:
            path.unlink()


def _path(raw: Path, table: str, study: str, day: str, name: str) -> Path:
    return raw / table / f"study={study}" / f"day={day}" / f"{name}.parquet"

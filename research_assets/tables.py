"""A capture into typed Parquet, and the other files of the raw tables.

DuckDB reads the compressed capture with explicit columns and writes Parquet; no row passes through Python. A file is
written under a temporary name that no reader looks for and published by one rename; a capture that is written again
replaces itself. What is in a page is the business of `table_sql.py`, rebuilding everything that of `replay.py`.

Layout: `raw/<table>/study=<study>/day=<day>/<capture>.parquet`. The coverage of a capture is published last, so that
its presence says that the rows are there (`is_written`).
"""

import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import orjson
import zstandard

from research_assets.captures import CHUNK, DamagedCapture, Manifest
from research_assets.fields import COVERAGE, ENTITIES, Entity, raw_tables
from research_assets.files import hidden, private_folder, publish
from research_assets.table_sql import (
    DAY,
    bound_of,
    careful_rows,
    day_of,
    is_plain,
    plain_rows,
    quoted,
    reader,
    structure,
    text,
)

MEMORY = "256MB"
THREADS = 2
# Writers keep a row group of each thread in memory; larger ones do not fit beside the JSON and are spilled to disk.
ROW_GROUP = 10_240
NOBODY = "__none__"
"""The study of the empty files that let a query over a raw table bind before anything was collected."""


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a capture: Parquet paths by raw table, and the entity's distinct rows by UTC day."""

    capture: str
    entity: str
    paths: Mapping[str, tuple[Path, ...]]
    rows: Mapping[date, int]


def write_capture(raw: Path, sealed: Path) -> Written:
    """Write a sealed capture's rows and verdicts as Parquet; within it, the newest of the rows with one key is kept.

    Raises DamagedCapture if it cannot be read.
    """
    manifest = Manifest.load(sealed)
    manifest.verify()  # DuckDB takes a file that was cut off for a short one
    entity = ENTITIES[manifest.entity]
    with _workshop(raw, manifest.capture) as shop, _database(shop) as db:
        days = _write_rows(db, raw, shop, entity, manifest)
        _remove_others(raw / entity.name, manifest, days)
        coverage = _write_verdicts(db, raw, shop, manifest)
        _remove_others(raw / "coverage", manifest, [coverage])
    rows = {date.fromisoformat(path.parent.name.removeprefix("day=")): n for path, n in days.items()}
    return Written(manifest.capture, entity.name, {entity.name: tuple(days), "coverage": (coverage,)}, rows)


def is_written(raw: Path, manifest: Manifest) -> bool:
    """Whether a capture's Parquet is complete; if not, a crash came between sealing and writing: write it."""
    return any((raw / "coverage" / f"study={manifest.study}").glob(f"day=*/{manifest.capture}.parquet"))


def write_rows(raw: Path, table: str, *, study: str, day: date, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a small table made in Python as one file; columns that a row lacks are null. Returns its path."""
    columns = raw_tables()[table]
    path = _path(raw, table, study, day.isoformat(), name)
    with _workshop(raw, name) as shop, _database(shop) as db:
        lines, longest = shop / "rows.jsonl", 0
        with lines.open("wb") as file:
            for row in rows:
                if extra := row.keys() - {column.name for column in columns}:
                    raise ValueError(f"raw/{table} has no column {', '.join(sorted(extra))}")
                longest = max(longest, file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)))
        source = reader(lines, {column.name: column.type for column in columns}, longest)
        _copy(db, f"SELECT * FROM {source}", path)
    return path


def ensure_tables(raw: Path) -> None:
    """Give each raw table an empty file with today's columns, so that a query over its folder always binds."""
    with _workshop(raw, "empty") as shop, _database(shop) as db:
        for table, columns in raw_tables().items():
            path = _path(raw, table, NOBODY, "1970-01-01", "empty")
            nulls = ", ".join(f"NULL::{column.type} AS {quoted(column.name)}" for column in columns)
            wanted = f"SELECT * FROM (SELECT {nulls}) WHERE false"
            if not path.exists() or _types(
                db, f"SELECT * FROM read_parquet({text(path)}, hive_partitioning = false)"
            ) != (_types(db, wanted)):
                _copy(db, wanted, path)


def _types(db: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    """Names and types of a query's columns; none if it cannot be run."""
    try:
        return db.execute(f"DESCRIBE {query}").fetchall()
    except duckdb.Error:
        return []


def _write_rows(
    db: duckdb.DuckDBPyConnection, raw: Path, shop: Path, entity: Entity, manifest: Manifest
) -> dict[Path, int]:
    """Publish the rows of a capture, one file per day; returns their paths with their row counts."""
    if not manifest.pages:
        return {}
    whole = shop / "whole.tmp"
    day = day_of(entity) or (f"DATE {text(manifest.first)}" if manifest.first == manifest.last else DAY)
    _parse(db, whole, entity, manifest, with_day=day == DAY)
    kept = _newest(db, whole, entity)
    bound = bound_of(entity) if day == DAY or day_of(entity) else "observed_at"
    days = db.execute(
        f"SELECT {day} AS d, count(*), min({bound})::VARCHAR, max({bound})::VARCHAR, count({bound}) "
        f"FROM {kept} GROUP BY d ORDER BY d"
    ).fetchall()
    counts = {
        _path(raw, entity.name, manifest.study, found[0].isoformat(), manifest.capture): found[1] for found in days
    }
    if len(days) == 1 and day != DAY and kept == _table(whole):
        for path in counts:
            private_folder(path.parent)
            publish(whole, path)
        return counts
    columns = ", ".join(quoted(column.name) for column in raw_tables()[entity.name])
    for path, (found, count, low, high, bounded) in zip(counts, days, strict=True):
        where = f"{day} = DATE {text(found)}"
        if bounded == count:
            where += f" AND {bound} BETWEEN {text(low)} AND {text(high)}"
        _copy(db, f"SELECT {columns} FROM {kept} WHERE {where}", path)
    return counts


def _newest(db: duckdb.DuckDBPyConnection, whole: Path, entity: Entity) -> str:
    """The rows of a file without those of which it holds a newer one, as a table expression."""
    table, key = _table(whole), ", ".join(map(quoted, entity.key))
    complete = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in entity.key)
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
    return f"read_parquet({text(whole)}, file_row_number = true)"


def _parse(db: duckdb.DuckDBPyConnection, target: Path, entity: Entity, manifest: Manifest, *, with_day: bool) -> None:
    """Write all rows of a capture into one file, by the quick way if its answers are what was expected."""
    # A file of several days is only read once more to be split, so little is spent on packing it.
    packing = "zstd" if manifest.first == manifest.last else "lz4"
    try:
        if is_plain(entity, manifest):
            try:
                return _copy_to(db, plain_rows(entity, manifest, with_day=with_day), target, packing)
            except (duckdb.InvalidInputException, duckdb.ConversionException):
                target.unlink(missing_ok=True)
        nested = ", ".join(f"NULL::{f.type} AS {quoted(f.name)}" for f in entity.fields if f.type.endswith("[]"))
        types = db.sql(f"SELECT {nested}") if nested else None
        structures = dict(zip(types.columns, map(structure, types.types), strict=True)) if types else {}
        return _copy_to(db, careful_rows(entity, manifest, structures, with_day=with_day), target, packing)
    except duckdb.InvalidInputException as error:
        raise DamagedCapture(
            manifest.path, 0, str(error).splitlines()[0], "Nothing was written. It is what was published: report this."
        ) from error


def _write_verdicts(db: duckdb.DuckDBPyConnection, raw: Path, shop: Path, manifest: Manifest) -> Path:
    """Publish the verdicts of a capture under the UTC day on which it ended; returns the path."""
    lines, longest = shop / "units.jsonl", 0
    with lines.open("wb") as file:
        for line in _verdicts(manifest):
            longest = max(longest, file.write(line))
    source = reader(lines, {column.name: column.type for column in COVERAGE}, longest)
    ended = manifest.last_at
    if ended is None:
        ended = db.execute(f"SELECT CAST(max(last_at) AS DATE)::VARCHAR FROM {source}").fetchall()[0][0]
    began = f"{manifest.capture[:4]}-{manifest.capture[4:6]}-{manifest.capture[6:8]}"
    day = ended[:10] if ended else began
    path = _path(raw, "coverage", manifest.study, day, manifest.capture)
    named = f"coalesce(capture, {text(manifest.capture)}) AS capture"
    _copy(db, f"SELECT * REPLACE ({named}) FROM {source}", path)
    return path


def _verdicts(manifest: Manifest) -> Iterator[bytes]:
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


def _copy(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    private_folder(path.parent)
    _copy_to(db, query, hidden(path))
    publish(hidden(path), path)


def _copy_to(db: duckdb.DuckDBPyConnection, query: str, target: Path, compression: str = "zstd") -> None:
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP}"
    db.execute(f"COPY ({query}) TO {text(target)} ({options})")


@contextmanager
def _database(shop: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": THREADS,
        "temp_directory": str(shop / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=settings) as db:
        db.execute("SET TimeZone = 'UTC'")
        yield db


@contextmanager
def _workshop(raw: Path, name: str) -> Iterator[Path]:
    """A private folder for what is under construction; those of dead processes are cleared away first."""
    yard = private_folder(raw / ".tmp")
    gate = os.open(yard, os.O_RDONLY)
    mark = -1
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for old in yard.iterdir():
            _clear_if_left(old)
        shop = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=yard))
        mark = os.open(shop, os.O_RDONLY)
        fcntl.flock(mark, fcntl.LOCK_EX)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield shop
        finally:
            shutil.rmtree(shop, ignore_errors=True)
    finally:
        os.close(gate)
        if mark >= 0:
            os.close(mark)


def _clear_if_left(shop: Path) -> None:
    handle = os.open(shop, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(shop, ignore_errors=True)
    finally:
        os.close(handle)

"""Writing the raw tables: captures and small tables as typed Parquet files.

DuckDB reads the compressed capture with explicit columns and writes Parquet; no row passes through Python. A file is
written under a temporary name and published by one rename. Writing a capture again replaces its files. Not here: the
SQL that types the rows (see raw_sql.py), rebuilding all captures (see replay.py).

Layout: `raw/<table>/study=<study>/day=<day>/<capture>.parquet`. The coverage of a capture is published last, so that
its file proves that all rows were written.
"""

import io
import logging
import os
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
from research_assets.storage.file_locks import locked
from research_assets.storage.listing import matching_paths
from research_assets.storage.parquet_io import (
    LARGE_MEMORY,
    MEMORY,
    SMALL_CAPTURE,
    connect_small_writer,
    open_duckdb,
    publish_parquet,
    temporary_folder,
    write_draft,
    write_query,
)
from research_assets.storage.raw_digests import publish_raw_files, remove_raw_file
from research_assets.storage.raw_refused import split_refused
from research_assets.storage.raw_sql import (
    DAY_COLUMN,
    day_of,
    fits_typed_parsing,
    json_records,
    json_transform_type,
    lenient_rows,
    read_json_sql,
    rejected_elements,
    sql_identifier,
    sql_literal,
    typed_rows,
)

_LOGGER = logging.getLogger(__name__)

PLACEHOLDER_STUDY = "__none__"
"""Study of the empty files that let a query over a raw table bind before data was collected."""


@dataclass(frozen=True, slots=True)
class WrittenCapture:
    """The files of a capture: Parquet paths by raw table, and the number of distinct rows by UTC day."""

    capture: str
    entity: str
    paths: Mapping[str, tuple[Path, ...]]
    rows: Mapping[date, int]


def write_capture(raw: Path, sealed: Path) -> WrittenCapture:
    """Write the rows, rejected elements and attempts of a sealed capture as Parquet.

    Of rows with the same key, the newest is kept. Records that DuckDB refuses are in the raw table `rejected` instead.
    A capture is written by one process at a time; another one waits.
    Raises DamagedCapture if the capture cannot be read.
    """
    manifest = Manifest.load(sealed)
    manifest.verify()  # DuckDB reads a truncated file without an error
    entity = ENTITIES[manifest.entity]
    # Open for writing, because a lock needs that on some network file systems.
    with locked(os.open(sealed, os.O_RDWR), sealed), temporary_folder(raw, manifest.capture) as folder:
        try:
            days, rejected = _write_pages(raw, folder, entity, manifest)
            with connect_small_writer() as db:
                coverage = _write_attempts(db, raw, folder, manifest)
        except duckdb.IOException:
            raise  # of the disk, not of the capture
        except duckdb.Error as error:
            raise DamagedCapture(
                manifest.path,
                0,
                str(error).splitlines()[0],
                "It is not in the raw tables. The file is unchanged since it was published; report this as a bug.",
            ) from error
        _remove_others(raw / entity.name, manifest, days)
        _remove_others(raw / "rejected", manifest, rejected)
        _remove_others(raw / "coverage", manifest, [coverage])
    rows = {date.fromisoformat(path.parent.name.removeprefix("day=")): n for path, n in days.items()}
    return WrittenCapture(manifest.capture, entity.name, {entity.name: tuple(days), "coverage": (coverage,)}, rows)


def is_written(raw: Path, manifest: Manifest) -> bool:
    """Return whether the Parquet of a capture is complete; it is not after a crash between sealing and writing."""
    return any(matching_paths(raw / "coverage" / f"study={manifest.study}", f"day=*/{manifest.capture}.parquet"))


def write_rows(raw: Path, table: str, *, study: str, day: date, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows from Python as one file and return its path; missing columns are null."""
    (path,) = write_files(raw, table, study=study, files=[(day, name, rows)])
    return path


def write_files(
    raw: Path, table: str, *, study: str, files: Iterable[tuple[date, str, Iterable[Mapping[str, Any]]]]
) -> list[Path]:
    """Write several files of a study, each with its day, name and rows; each is published as soon as it is written."""
    columns = raw_tables()[table]
    paths: list[Path] = []
    with temporary_folder(raw, f"{table}-{study}") as folder, connect_small_writer() as db:
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
    """Write an empty file with the current columns for each raw table, so that queries over its folder bind."""
    # Builds begin with this call, so it also removes what killed processes left in the temporary folder.
    with temporary_folder(raw, "empty"), connect_small_writer() as db:
        for table, columns in raw_tables().items():
            path = _path(raw, table, PLACEHOLDER_STUDY, "1970-01-01", "empty")
            nulls = ", ".join(f"NULL::{column.type} AS {sql_identifier(column.name)}" for column in columns)
            expected = f"SELECT * FROM (SELECT {nulls}) WHERE false"
            existing = f"SELECT * FROM read_parquet({sql_literal(path)}, hive_partitioning = false)"
            if not path.exists() or _types(db, existing) != _types(db, expected):
                publish_parquet(db, expected, path)


def _types(db: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    """Return the names and types of the columns of a query; an empty list if the query fails."""
    try:
        return db.execute(f"DESCRIBE {query}").fetchall()
    except duckdb.Error:
        return []


def _write_pages(raw: Path, folder: Path, entity: Entity, manifest: Manifest) -> tuple[dict[Path, int], list[Path]]:
    """Publish rows and rejected elements of a capture; returns the row count by path, and the path of the rejected.

    A capture that DuckDB refuses as a whole is written record by record.
    """
    if not manifest.pages:
        return {}, []
    whole = folder / "whole.tmp"
    # Pages that are many times larger than usual need more memory.
    for memory in (MEMORY, LARGE_MEMORY):
        is_small = memory == MEMORY and manifest.plain_size < SMALL_CAPTURE
        try:
            with connect_small_writer() if is_small else open_duckdb(folder, memory=memory) as db:
                _parse(db, whole, entity, manifest)
                days = _publish_rows(db, raw, whole, entity, manifest)
                return days, _write_rejected(db, raw, entity, manifest)
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            _LOGGER.info("DuckDB refuses the capture %s: %s", manifest.path, str(error).splitlines()[0])
            if not isinstance(error, duckdb.OutOfMemoryException):
                break

    def write(target: Path, part: Manifest) -> None:
        # An error may leave the connection unusable, so each part has its own.
        with open_duckdb(folder, memory=LARGE_MEMORY) as db:
            _parse(db, target, entity, part)

    parts, rejections = split_refused(folder, entity, manifest, write)
    _LOGGER.warning(
        "Loaded the capture %s record by record; %s elements and values are in the raw table rejected.",
        manifest.path,
        len(rejections),
    )
    with open_duckdb(folder, memory=LARGE_MEMORY) as db:
        days = {}
        if parts:
            files = ", ".join(map(sql_literal, parts))
            write_query(db, f"SELECT * FROM read_parquet([{files}])", whole)
            days = _publish_rows(db, raw, whole, entity, manifest)
    return days, _write_rejections(raw, manifest, rejections)


def _write_rejections(raw: Path, manifest: Manifest, rejections: list[dict[str, Any]]) -> list[Path]:
    """Publish rows of the raw table `rejected`; returns the path, or none if there are none."""
    if not rejections or manifest.first_at is None:
        return []
    day = date.fromisoformat(manifest.first_at[:10])
    return [write_rows(raw, "rejected", study=manifest.study, day=day, name=manifest.capture, rows=rejections)]


def _day_expression(entity: Entity, manifest: Manifest) -> str:
    """Return the UTC day of a row as SQL: `DAY_COLUMN` in a capture of several days, else its own or the capture's."""
    if manifest.first != manifest.last:
        return DAY_COLUMN
    return day_of(entity) or f"DATE {sql_literal(manifest.first)}"


def _publish_rows(
    db: duckdb.DuckDBPyConnection, raw: Path, whole: Path, entity: Entity, manifest: Manifest
) -> dict[Path, int]:
    """Publish the rows of the file `whole`, one file per day; returns the row count by path."""
    day = _day_expression(entity, manifest)
    kept = _deduplicated(db, whole, entity)
    groups = db.execute(f"SELECT {day} AS d, count(*) FROM {kept} GROUP BY d ORDER BY d").fetchall()
    counts = {_path(raw, entity.name, manifest.study, d.isoformat(), manifest.capture): n for d, n in groups}
    if len(groups) == 1 and day != DAY_COLUMN and kept == _table(whole):
        publish_raw_files([(whole, path) for path in counts])
        return counts
    columns = ", ".join(sql_identifier(column.name) for column in raw_tables()[entity.name])
    drafts = []
    for path, (date_of_rows, _) in zip(counts, groups, strict=True):
        rows = f"SELECT {columns} FROM {kept} WHERE {day} = DATE {sql_literal(date_of_rows)}"
        drafts.append((write_draft(db, rows, path), path))
    publish_raw_files(drafts)
    return counts


def _deduplicated(db: duckdb.DuckDBPyConnection, whole: Path, entity: Entity) -> str:
    """Return a table expression for the rows of a file without older rows of the same key."""
    table, key = _table(whole), ", ".join(map(sql_identifier, entity.key))
    complete = " AND ".join(f"{sql_identifier(name)} IS NOT NULL" for name in entity.key)
    repeated = f"SELECT {key} FROM {table} WHERE {complete} GROUP BY ALL HAVING count(*) > 1"
    # Most captures repeat no key; planning the window below takes several times as long as this query.
    if not db.execute(f"{repeated} LIMIT 1").fetchall():
        return table
    # Among rows of the same time, the choice must not depend on the order in which threads wrote them.
    db.execute(
        f"CREATE TEMP TABLE older AS SELECT file_row_number FROM (SELECT file_row_number, row_number() OVER ("
        f"PARTITION BY {key} ORDER BY observed_at DESC, to_json(r)::VARCHAR) AS place FROM ("
        f"SELECT file_row_number, t AS r, {key}, observed_at FROM (SELECT * EXCLUDE file_row_number, file_row_number "
        f"FROM {table}) t SEMI JOIN ({repeated}) USING ({key}))) WHERE place > 1"
    )
    return f"(SELECT * FROM {table} ANTI JOIN older USING (file_row_number))"


def _table(whole: Path) -> str:
    return f"read_parquet({sql_literal(whole)}, file_row_number = true)"


def _parse(db: duckdb.DuckDBPyConnection, target: Path, entity: Entity, manifest: Manifest) -> None:
    """Write all rows of a capture into one file, by typed parsing if its responses match the registry."""
    with_day = _day_expression(entity, manifest) == DAY_COLUMN
    # A file of several days is temporary and read once to be split, so it gets a fast compression.
    compression = "zstd" if manifest.first == manifest.last else "lz4"
    if fits_typed_parsing(entity, manifest):
        try:
            return write_query(db, typed_rows(entity, manifest, with_day=with_day), target, compression)
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            target.unlink(missing_ok=True)
    nested = ", ".join(f"NULL::{f.type} AS {sql_identifier(f.name)}" for f in entity.fields if f.type.endswith("[]"))
    types = db.sql(f"SELECT {nested}") if nested else None
    structures = dict(zip(types.columns, map(json_transform_type, types.types), strict=True)) if types else {}
    # The records are first written to a file, because DuckDB reads JSON in chunks of 32 MB, which would need too
    # much memory in the field-by-field query.
    records = target.with_suffix(".records")
    write_query(db, json_records(entity, manifest), records, "lz4")
    source = f"read_parquet({sql_literal(records)})"
    return write_query(db, lenient_rows(entity, manifest, source, structures, with_day=with_day), target, compression)


def _write_rejected(db: duckdb.DuckDBPyConnection, raw: Path, entity: Entity, manifest: Manifest) -> list[Path]:
    """Publish the elements of a capture that cannot be used; returns the path, or none if there are none."""
    if not manifest.rejected or manifest.first_at is None:
        return []
    path = _path(raw, "rejected", manifest.study, manifest.first_at[:10], manifest.capture)
    publish_parquet(db, rejected_elements(entity, manifest), path)
    return [path]


def _write_attempts(db: duckdb.DuckDBPyConnection, raw: Path, folder: Path, manifest: Manifest) -> Path:
    """Publish the attempts of a capture under the UTC day on which it ended; returns the path."""
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
    with_capture = f"coalesce(capture, {sql_literal(manifest.capture)}) AS capture"
    publish_parquet(db, f"SELECT * REPLACE ({with_capture}) FROM {source}", path)
    return path


def _read_attempt_lines(manifest: Manifest) -> Iterator[bytes]:
    """Yield the lines of the `unit` events; the beginning of a line identifies its event."""
    if not manifest.units:
        return
    with manifest.path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_size=CHUNK) as pages:
        yield from (line for line in io.BufferedReader(pages, CHUNK) if line.startswith(b'{"event":"unit",'))


def _remove_others(table: Path, manifest: Manifest, paths: Iterable[Path]) -> None:
    """Remove files that an earlier write of the capture published under other days."""
    kept = set(paths)
    for path in matching_paths(table / f"study={manifest.study}", f"day=*/{manifest.capture}.parquet"):
        if path not in kept:
            remove_raw_file(path)


def _path(raw: Path, table: str, study: str, day: str, name: str) -> Path:
    return raw / table / f"study={study}" / f"day={day}" / f"{name}.parquet"

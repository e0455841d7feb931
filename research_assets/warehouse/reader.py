"""Read access to the published warehouse: its path, its marts, and the SQL that filters a mart by study and day.

Notebooks, exports, reports and assets share it. A warehouse is a DuckDB file, or a folder of Parquet files that a build
on Spark published. A reader never blocks a build, because a build publishes by one rename. A program of a person that
has the warehouse open for writing never blocks a reader.

Not here: DataFrames (see notebook.py), exported files (see the package `export`).
"""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from research_assets.settings import VARIABLES, Settings
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.warehouse import parquet_marts
from research_assets.warehouse.changes import file_stamp, write_ahead_log

MARTS_SCHEMA = "marts"
"""Schema of the marts in the warehouse."""

READER_NAMES = ".reader-*.duckdb"
"""Pattern of the names, beside the warehouse, under which readers open it. A name exists only while a reader opens."""

_COPY_ATTEMPTS = 3

DAY_COLUMNS = ("day", "partition_day", "month")
"""Columns by which a mart is filtered by day: the first of these that the mart has as a date."""


class WarehouseReadError(ValueError):
    """A warehouse, mart, column or study that cannot be read; the message lists the available ones."""


@dataclass(frozen=True, slots=True)
class MartColumn:
    """A column of a mart: its name, DuckDB type and description."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Mart:
    """A table for analysis: the description of its grain, and its columns in order."""

    name: str
    description: str
    columns: tuple[MartColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def day_column(self) -> str | None:
        """Return the column by which the mart is filtered by day; None if its rows belong to no day."""
        dates = {column.name for column in self.columns if column.type == "DATE"}
        return next((name for name in DAY_COLUMNS if name in dates), None)


def data_folder_settings(folder: str | Path | None = None) -> Settings:
    """Return settings with a warehouse: that of `folder`, or by default that of the environment.

    `folder` is a data folder, or a folder of marts that a build on Spark published. If a data folder contains only
    simulated data, the settings are those of the simulated data. Raises WarehouseReadError if there is no warehouse,
    and SettingsError if the environment is invalid.
    """
    if folder is not None and parquet_marts.is_parquet_marts(Path(folder).expanduser()):
        return Settings.from_env(over={VARIABLES["marts_folder"].name: str(folder)})
    over = {} if folder is None else {VARIABLES["root"].name: str(folder), VARIABLES["marts_folder"].name: ""}
    settings = Settings.from_env(over=over)
    if settings.marts_folder is not None:
        require_warehouse(settings)
        return settings
    if settings.root.is_file():
        raise WarehouseReadError(f"{settings.root} is a file. Nothing was read. Name the data folder that contains it.")
    simulated = settings.for_sandbox()
    if not settings.warehouse.is_file() and simulated.warehouse.is_file():
        return simulated
    require_warehouse(settings)
    return settings


def require_warehouse(settings: Settings) -> None:
    """Raise WarehouseReadError if the data folder, or the folder of marts if one is set, contains no warehouse."""
    if settings.marts_folder is not None:
        if not parquet_marts.is_parquet_marts(settings.marts_folder):
            raise WarehouseReadError(
                f"The folder {settings.marts_folder} contains no published marts, so nothing was read. Build them with "
                f"research-assets spark-build, or unset {VARIABLES['marts_folder'].name} to read those of DuckDB."
            )
        return
    if settings.warehouse.is_file():
        return
    contains = "contains" if settings.root.is_dir() else "does not exist, so it contains"
    raise WarehouseReadError(
        f"The folder {settings.root} {contains} no warehouse, so nothing was read. Build the marts first: "
        "research-assets build. To see simulated data, run: research-assets demo. To read another folder, name it or "
        f"set {VARIABLES['root'].name}."
    )


def published_at(warehouse: Path) -> datetime:
    """Return when a warehouse was published. Raises OSError if there is none."""
    return datetime.fromtimestamp(_published_file(warehouse).stat().st_mtime, UTC)


def published_identity(warehouse: Path) -> int | None:
    """Return a number that differs between the builds of a warehouse; None if there is none."""
    try:
        return _published_file(warehouse).stat().st_ino
    except OSError:
        return None


def _published_file(warehouse: Path) -> Path:
    """Return the file that a build replaces when it publishes."""
    return warehouse / parquet_marts.PUBLISHED / parquet_marts.INDEX if warehouse.is_dir() else warehouse


def is_simulated(settings: Settings) -> bool:
    """Return whether the data in the data folder, or in the folder of marts if one is set, came from a sandbox.

    Raises WarehouseReadError if the folder of marts has no valid index.
    """
    if settings.marts_folder is not None and parquet_marts.is_parquet_marts(settings.marts_folder):
        try:
            return parquet_marts.contains_simulated_data(settings.marts_folder)
        except (OSError, ValueError, KeyError) as error:
            raise _cannot_be_opened(settings.marts_folder, error) from error
    return settings.is_simulated


def connect_read_only(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Open a read-only connection to a warehouse; times are UTC, and the marts need no schema name.

    `warehouse` is a DuckDB file, or the folder in which a build on Spark published Parquet files. The connection keeps
    the build that is published now; a connection opened after the next build reads that one.
    It reads what the build wrote, not what another program has written to a log beside it. Raises WarehouseReadError if
    the file cannot be opened.
    """
    # The file is attached to a separate database, because DuckDB shares one instance per path and process: a second
    # `duckdb.connect(path)` would read the old file while the first connection is open.
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "TimeZone": "UTC"})
    try:
        # DuckDB spills to the working directory by default; here the spilled data stays in the private data folder.
        # People who may only read the marts cannot write there.
        if os.access(warehouse.parent, os.W_OK):
            spill = warehouse.with_name(f".spill-{os.getpid()}")
            connection.execute(f"SET temp_directory = {sql_literal(spill)}")
        if warehouse.is_dir():
            connection.execute("ATTACH ':memory:' AS warehouse")
            connection.execute(f"CREATE SCHEMA warehouse.{MARTS_SCHEMA}")
            parquet_marts.create_views(connection, warehouse, "warehouse", MARTS_SCHEMA)
        else:
            _remove_foreign_log(connection, warehouse)
            _attach(connection, warehouse)
        connection.execute(f"USE warehouse.{MARTS_SCHEMA}")
    except (duckdb.Error, OSError, ValueError, KeyError) as error:
        connection.close()
        raise _cannot_be_opened(warehouse, error) from error
    return connection


def _cannot_be_opened(warehouse: Path, error: Exception) -> WarehouseReadError:
    rebuild = "run research-assets spark-build" if warehouse.is_dir() else "materialize the group warehouse/marts"
    return WarehouseReadError(
        f"The warehouse {warehouse} cannot be opened: {error}. Nothing was read. If another program has it open for "
        f"writing, close it there. If the file is damaged, {rebuild} to build it again."
    )


def _attach(connection: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    """Attach the published file under a name that no other program knows.

    Beside the published name there can be the log of a program that opened it for writing, before or after the last
    build. DuckDB would replay this log, or refuse to open the file because the log belongs to another one.
    """
    try:
        _attach_as(connection, warehouse, os.link)
    except duckdb.IOException:
        # Another program has this very file open for writing, and DuckDB's lock admits no reader. The program has
        # its changes in its log until it writes them to the file, so a copy has the published rows.
        _attach_as(connection, warehouse, _copy_unchanged)
    except OSError:
        # The folder is read-only, or the file system has no links.
        connection.execute(f"ATTACH {sql_literal(warehouse)} AS warehouse (READ_ONLY)")


def _attach_as(connection: duckdb.DuckDBPyConnection, warehouse: Path, make: Callable[[Path, Path], None]) -> None:
    file = warehouse.resolve()
    for last in (False, True):
        with _reader_name(file) as name:
            make(file, name)
            try:
                connection.execute(f"ATTACH {sql_literal(name)} AS warehouse (READ_ONLY)")
                return
            except duckdb.IOException:
                # A build that begins removes the names that killed readers left, and may hit a live one.
                if last or name.exists():
                    raise


@contextmanager
def _reader_name(warehouse: Path) -> Iterator[Path]:
    """Yield an unused name in the folder of the warehouse; at the end, what has this name is removed."""
    name = warehouse.with_name(READER_NAMES.replace("*", f"{os.getpid()}-{secrets.token_hex(4)}"))
    try:
        yield name
    finally:
        name.unlink(missing_ok=True)


def _copy_unchanged(source: Path, target: Path) -> None:
    """Copy a file that nobody writes to meanwhile. Raises OSError if somebody does, and if the disk is full."""
    for _ in range(_COPY_ATTEMPTS):
        before = file_stamp(source.stat())
        target.touch(mode=0o600)
        shutil.copyfile(source, target)
        if file_stamp(source.stat()) == before:
            return
    raise OSError(errno.EBUSY, "another program is writing to it")


def _remove_foreign_log(connection: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    """Remove a log beside the warehouse if DuckDB says that it belongs to another file.

    A program that had an earlier warehouse open for writing leaves it. Our readers ignore the log, but no other program
    could open the warehouse. The log of a program that writes to this warehouse is kept: DuckDB reports its lock first.
    """
    log = write_ahead_log(warehouse)
    try:
        before = file_stamp(log.stat())
    except OSError:
        return
    try:
        connection.execute(f"ATTACH {sql_literal(warehouse)} AS published (READ_ONLY)")
        connection.execute("DETACH published")
    except duckdb.Error as error:
        if "WAL" in str(error):
            with suppress(OSError):
                # Otherwise a build was published in the meantime, and the log may be that of a program that opened it.
                if file_stamp(log.stat()) == before:
                    log.unlink()


def read_marts(connection: duckdb.DuckDBPyConnection) -> dict[str, Mart]:
    """Return the marts of the warehouse, by name."""
    columns: dict[str, list[MartColumn]] = {}
    for name, column, kind, comment in connection.sql(
        "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns() "
        f"WHERE database_name = 'warehouse' AND schema_name = '{MARTS_SCHEMA}' ORDER BY table_name, column_index"
    ).fetchall():
        columns.setdefault(name, []).append(MartColumn(name=column, type=kind, description=comment))
    descriptions = dict(
        connection.sql(
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'warehouse' "
            f"AND schema_name = '{MARTS_SCHEMA}' UNION ALL SELECT view_name, comment FROM duckdb_views() "
            f"WHERE database_name = 'warehouse' AND schema_name = '{MARTS_SCHEMA}'"
        ).fetchall()
    )
    return {name: Mart(name, descriptions.get(name) or "", tuple(found)) for name, found in columns.items()}


def read_studies(connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart]) -> list[str]:
    """Return the names of the studies with data in any of the marts, sorted."""
    tables = [mart.name for mart in marts.values() if "study" in mart.names]
    if not tables:
        return []
    union = " UNION ".join(f"SELECT study FROM {sql_identifier(table)}" for table in tables)
    return [row[0] for row in connection.sql(f"SELECT study FROM ({union}) WHERE study <> '' ORDER BY 1").fetchall()]


def require_studies(requested: Collection[str], available: Sequence[str]) -> None:
    """Raise WarehouseReadError for a study without data; the message lists the studies with data."""
    if missing := sorted(set(requested) - set(available)):
        raise WarehouseReadError(
            f"There is no data of the study {', '.join(missing)}; there are: {', '.join(available) or 'none'}. "
            "If the study was collected just now, materialize the group warehouse/marts first."
        )


def parse_day(value: Any) -> date | None:
    """Convert a date, a time or text such as `2026-02-01` to a UTC day; None stays None.

    A time with a time zone belongs to its UTC day, a time without one is UTC. Times are those of Python, pandas and
    numpy, and text in ISO 8601. Raises WarehouseReadError for another value, and for a missing time (NaT).
    """
    try:
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        if not isinstance(value, str | datetime):
            # numpy's dates have no method for it; their text is ISO 8601 with up to nanoseconds.
            value = str(value) if type(value).__name__ == "datetime64" else value.isoformat()
        if isinstance(value, str):
            text = re.sub(r"(\.\d{6})\d+", r"\1", value.strip())
            value = datetime.fromisoformat(text)
        # The NaT of pandas is a datetime without a day.
        day: date = (value.astimezone(UTC) if value.tzinfo is not None else value).date()
        return date(day.year, day.month, day.day)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise WarehouseReadError(f"{value!r} is not a calendar day. Write it as 2026-02-01.") from error


def filter_condition(
    mart: Mart, studies: Sequence[str] = (), first: date | None = None, last: date | None = None
) -> str:
    """Return the SQL condition that restricts a mart to studies and days (inclusive); empty without a restriction.

    Raises WarehouseReadError if the mart has no study column or no day column to filter by.
    """
    parts = []
    if studies:
        if "study" not in mart.names:
            raise WarehouseReadError(f"The mart {mart.name} has no column study; omit the study.")
        parts.append(f"study IN ({', '.join(map(sql_literal, studies))})")
    for bound, sign in ((first, ">="), (last, "<=")):
        if bound is not None:
            if mart.day_column is None:
                raise WarehouseReadError(f"Rows of the mart {mart.name} belong to no single day; omit first and last.")
            parts.append(f"{sql_identifier(mart.day_column)} {sign} DATE {sql_literal(bound.isoformat())}")
    return " AND ".join(parts)

"""The published warehouse as readers see it: where it is, which marts it has, and a mart narrowed to what is wanted.

Shared by notebooks and exports. It only reads: never in a build's way, because a build publishes by one rename. How
rows become DataFrames or files is not decided here.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb

from research_assets.settings import VARIABLES, Settings

MARTS_SCHEMA = "marts"
DAY_COLUMNS = ("day", "partition_day", "month")
"""Columns by which a mart is narrowed to days: the first of these that it has as a date."""


class WarehouseReadError(ValueError):
    """Nothing can be read, or what was asked for is not there; the message says what is."""


@dataclass(frozen=True, slots=True)
class MartColumn:
    """A column of a mart: its name, DuckDB type and meaning."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Mart:
    """A table for people: what one row is, and its columns in order."""

    name: str
    description: str
    columns: tuple[MartColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)

    @property
    def day_column(self) -> str | None:
        """The column by which it is narrowed to days; None if its rows belong to no day."""
        dates = {column.name for column in self.columns if column.type == "DATE"}
        return next((name for name in DAY_COLUMNS if name in dates), None)


def data_folder_settings(place: str | Path | None = None) -> Settings:
    """Settings whose root holds a warehouse: the named data folder, or without a name the environment's.

    Where only simulated data was collected, that is taken.
    Raises ReadingError if there is no warehouse, and SettingsError if the environment cannot be used.
    """
    over = {} if place is None else {VARIABLES["root"].name: str(place)}
    settings = Settings.from_env(over=over)
    if settings.root.is_file():
        raise WarehouseReadError(f"{settings.root} is a file. Name the data folder that holds it.")
    simulated = settings.for_sandbox()
    if not settings.warehouse.is_file() and simulated.warehouse.is_file():
        return simulated
    require_warehouse(settings)
    return settings


def require_warehouse(settings: Settings) -> None:
    """Raise ReadingError if the data folder holds no warehouse."""
    if settings.warehouse.is_file():
        return
    held = "holds" if settings.root.is_dir() else "does not exist, so it holds"
    raise WarehouseReadError(
        f"The folder {settings.root} {held} no warehouse, so nothing can be read. Build it: materialize the group "
        "warehouse in the UI (make ui), or collect simulated data first: research-assets demo. Another folder can be "
        f"named, or set as {VARIABLES['root'].name}."
    )


def is_simulated(settings: Settings) -> bool:
    """Whether the data root was filled by a sandbox."""
    mark = settings.state / "origin"
    return mark.is_file() and mark.read_text().strip() == "sandbox"


def connect_read_only(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads a warehouse and cannot change it; times are UTC, the marts need no schema's name.

    It keeps the file that is published now; whoever connects after the next build sees the next one.
    Raises ReadingError if the file cannot be opened.
    """
    # Attached to a database of its own: DuckDB hands out one instance per path and process, and a second
    # `duckdb.connect(path)` would see the old file as long as the first one is open.
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "TimeZone": "UTC"})
    try:
        # What does not fit into memory stays in the private folder; DuckDB would put it where the process was started.
        spill = warehouse.with_name(f".spill-{os.getpid()}")
        connection.execute(f"SET temp_directory = {sql_literal(str(spill))}")
        connection.execute(f"ATTACH {sql_literal(str(warehouse))} AS warehouse (READ_ONLY)")
        connection.execute(f"USE warehouse.{MARTS_SCHEMA}")
    except duckdb.Error as error:
        connection.close()
        raise WarehouseReadError(
            f"The warehouse {warehouse} cannot be opened: {error}. Nothing was read. If another program has it open "
            "for writing, close it there; if the file is damaged, build it anew: materialize the group warehouse."
        ) from error
    return connection


def read_marts(connection: duckdb.DuckDBPyConnection) -> dict[str, Mart]:
    """What the warehouse offers, by name."""
    columns: dict[str, list[MartColumn]] = {}
    for name, column, kind, comment in connection.sql(
        "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns() "
        f"WHERE database_name = 'warehouse' AND schema_name = '{MARTS_SCHEMA}' ORDER BY table_name, column_index"
    ).fetchall():
        columns.setdefault(name, []).append(MartColumn(name=column, type=kind, description=comment))
    described = dict(
        connection.sql(
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'warehouse' "
            f"AND schema_name = '{MARTS_SCHEMA}' UNION ALL SELECT view_name, comment FROM duckdb_views() "
            f"WHERE database_name = 'warehouse' AND schema_name = '{MARTS_SCHEMA}'"
        ).fetchall()
    )
    return {name: Mart(name, described.get(name) or "", tuple(found)) for name, found in columns.items()}


def read_studies(connection: duckdb.DuckDBPyConnection, known: Mapping[str, Mart]) -> list[str]:
    """The studies of which anything is held, by name."""
    tables = [mart.name for mart in known.values() if "study" in mart.names]
    if not tables:
        return []
    union = " UNION ".join(f"SELECT study FROM {sql_identifier(table)}" for table in tables)
    return [row[0] for row in connection.sql(f"SELECT study FROM ({union}) WHERE study <> '' ORDER BY 1").fetchall()]


def require_studies(asked: Collection[str], held: Sequence[str]) -> None:
    """Raise ReadingError for a study of which nothing is held, naming those that are there."""
    if missing := sorted(set(asked) - set(held)):
        raise WarehouseReadError(
            f"Nothing is held of the study {', '.join(missing)}; there are: {', '.join(held) or 'none'}. "
            "If it was collected just now, build the marts first: materialize the group warehouse."
        )


def parse_day(value: str | date | None) -> date | None:
    """A day of the calendar from a date, a moment or text such as `2026-02-01`. Raises ReadingError for other text."""
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise WarehouseReadError(f"{value!r} is no day of the calendar. Write it as 2026-02-01.") from error


def filter_condition(mart: Mart, asked: Sequence[str] = (), first: date | None = None, last: date | None = None) -> str:
    """The SQL condition that narrows a mart to studies and days, both ends included; empty if nothing is narrowed.

    Raises ReadingError if the mart has no study or no day to be narrowed by.
    """
    parts = []
    if asked:
        if "study" not in mart.names:
            raise WarehouseReadError(f"The mart {mart.name} belongs to no study; leave the study out.")
        parts.append(f"study IN ({', '.join(map(sql_literal, asked))})")
    for bound, sign in ((first, ">="), (last, "<=")):
        if bound is not None:
            if mart.day_column is None:
                raise WarehouseReadError(
                    f"Rows of the mart {mart.name} belong to no single day; leave first and last out."
                )
            parts.append(f"{sql_identifier(mart.day_column)} {sign} DATE {sql_literal(bound.isoformat())}")
    return " AND ".join(parts)


def sql_identifier(name: str) -> str:
    """A name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_literal(text: str) -> str:
    """A text quoted for SQL."""
    return "'" + text.replace("'", "''") + "'"

"""The marts in a notebook: `research_assets.open("data").videos(study="gardening")` returns a pandas DataFrame.

Access is read-only. Types are preserved from DuckDB to pandas: ids stay 64-bit integers even if some are missing,
timestamps are UTC, lists are lists. The marts and their columns are read from the warehouse.

Not here: the connection and the filters (see reader.py).
"""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from research_assets.storage.raw_sql import sql_identifier
from research_assets.warehouse.reader import (
    Mart,
    WarehouseReadError,
    connect_read_only,
    data_folder_settings,
    filter_condition,
    is_simulated,
    parse_day,
    published_identity,
    read_marts,
    read_studies,
    require_studies,
)

_WIDE_INTEGER = re.compile(r"U?HUGEINT|DECIMAL\(\d+,0\)")

Day = str | date | np.datetime64 | None
"""A UTC day, or a time within it: with a time zone its UTC day, without one a time in UTC."""


class MartReader:
    """One mart: a call returns a DataFrame, `relation()` a query that DuckDB runs later."""

    def __init__(self, warehouse: "Warehouse", mart: Mart) -> None:
        self._warehouse, self._mart = warehouse, mart
        self.__doc__ = mart.description

    def __call__(
        self,
        study: str | Sequence[str] | None = None,
        first: Day = None,
        last: Day = None,
        columns: str | Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return the rows of one or several studies (default: all) from the first to the last UTC day, as a DataFrame.

        Raises WarehouseReadError for an unknown study or column, for a last day before the first one, and for days if
        rows belong to no single day.
        """
        return to_dataframe(self.relation(study, first, last, columns))

    def relation(
        self,
        study: str | Sequence[str] | None = None,
        first: Day = None,
        last: Day = None,
        columns: str | Sequence[str] | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return the same rows as a DuckDB relation, which reads nothing until its rows are fetched."""
        mart = self._mart
        studies, names = _listed(study), _listed(columns)
        require_studies(studies, self._warehouse.studies)
        if unknown := [name for name in names if name not in mart.names]:
            raise WarehouseReadError(
                f"The mart {mart.name} has no column {', '.join(unknown)}; it has: {', '.join(mart.names)}."
            )
        chosen = ", ".join(map(sql_identifier, names)) or "*"
        days = parse_day(first), parse_day(last)
        if days[0] and days[1] and days[1] < days[0]:
            raise WarehouseReadError(f"The last day, {days[1]}, is before the first, {days[0]}. Nothing was read.")
        where = filter_condition(mart, studies, *days)
        return self._warehouse.sql(
            f"SELECT {chosen} FROM {sql_identifier(mart.name)}" + (f" WHERE {where}" if where else "")
        )

    @property
    def columns(self) -> pd.DataFrame:
        """Return the name, type and description of each column."""
        rows = [(column.name, column.type, column.description) for column in self._mart.columns]
        return pd.DataFrame(rows, columns=["column", "type", "description"])

    def __repr__(self) -> str:
        return f"{self._mart.name}: {self._mart.description}\nColumns: {', '.join(self._mart.names)}"


class Warehouse:
    """The marts of one folder, as published when it was opened, with an attribute for each mart."""

    def __init__(self, warehouse: Path, *, simulated: bool) -> None:
        self.path = warehouse
        self.simulated = simulated
        self._opened = published_identity(warehouse)
        self._connection = connect_read_only(warehouse)
        self._marts = read_marts(self._connection)
        self._studies: list[str] | None = None

    @property
    def marts(self) -> list[str]:
        """Return the names of the marts."""
        return list(self._marts)

    @property
    def studies(self) -> list[str]:
        """Return the names of the studies with data."""
        if self._studies is None:
            self._studies = read_studies(self._connection, self._marts)
        return self._studies

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return a query over the marts that DuckDB runs later: `sql("SELECT … FROM videos")`.

        `frame(…)` converts it to a DataFrame with the types of the marts; DuckDB's own `.df()` converts ids to floats
        if some are missing. Raises WarehouseReadError for an empty query, and duckdb.Error for an invalid one.
        """
        # DuckDB returns None for an empty query.
        relation: duckdb.DuckDBPyRelation | None = self._connection.sql(query)
        if relation is None:
            raise WarehouseReadError(f"The query {query!r} contains no statement. Nothing was read.")
        return relation

    def frame(self, query: str | duckdb.DuckDBPyRelation) -> pd.DataFrame:
        """Return the result of a query or relation as a DataFrame with the types of the marts."""
        return to_dataframe(self.sql(query) if isinstance(query, str) else query)

    def relation(
        self, mart: str, study: str | Sequence[str] | None = None, first: Day = None, last: Day = None
    ) -> duckdb.DuckDBPyRelation:
        """Return a mart by its name, filtered as in a call of it, as a relation that DuckDB runs later."""
        return self._reader(mart).relation(study, first, last)

    @property
    def superseded(self) -> bool:
        """Return whether a newer build was published since this one was opened; open again to read it."""
        return published_identity(self.path) != self._opened

    def close(self) -> None:
        """Close the file; its relations become invalid."""
        self._connection.close()

    def __enter__(self) -> "Warehouse":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _reader(self, name: str) -> MartReader:
        if name not in self._marts:
            raise WarehouseReadError(f"There is no mart {name!r}; there are: {', '.join(self._marts)}.")
        return MartReader(self, self._marts[name])

    def __getattr__(self, name: str) -> MartReader:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._reader(name)
        except WarehouseReadError as error:
            raise AttributeError(str(error), name=name, obj=self) from error

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._marts]

    def __repr__(self) -> str:
        kind = "simulated data" if self.simulated else "collected data"
        newer = "; a newer build was published since, open again to read it" if self.superseded else ""
        return (
            f"{self.path} ({kind}{newer})\nStudies: {', '.join(self.studies) or 'none'}\nMarts: {', '.join(self.marts)}"
        )


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def open_warehouse(folder: str | Path | None = None) -> Warehouse:
    """Open the marts of a data folder, or of a folder that Spark published; default: those of the environment.

    Raises WarehouseReadError if there is no warehouse.
    """
    settings = data_folder_settings(folder)
    return Warehouse(settings.published_marts, simulated=is_simulated(settings))


def to_dataframe(relation: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """Convert a relation to a DataFrame: Int64, boolean, str, float64, datetime64[us, UTC], datetime64 for days, lists.

    Integers wider than 64 bits, such as results of `sum`, become Int64; DuckDB raises an error if a value does not fit.
    A further column of the same name gets a number, as in DuckDB: `study`, `study_1`.
    """
    kinds = [str(kind) for kind in relation.types]
    if any(map(_WIDE_INTEGER.fullmatch, kinds)):
        kinds = ["BIGINT" if _WIDE_INTEGER.fullmatch(kind) else kind for kind in kinds]
        relation = relation.project(
            ", ".join(
                f"#{number}::BIGINT AS {sql_identifier(name)}" if kind == "BIGINT" else f"#{number}"
                for number, (name, kind) in enumerate(zip(relation.columns, kinds, strict=True), start=1)
            )
        )
    arrays = relation.fetchnumpy()
    return pd.DataFrame(
        {name: _series(values, kind) for (name, values), kind in zip(arrays.items(), kinds, strict=True)}
    )


def _series(values: Any, kind: str) -> Any:
    """Convert one column of DuckDB to the pandas type for it."""
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return pd.Series([_plain(value) for value in np.ma.asarray(values).tolist()], dtype=object)
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if kind.endswith(("INT", "INTEGER")):
        return pd.arrays.IntegerArray(data.astype("uint64" if kind == "UBIGINT" else "int64"), mask)
    if kind == "BOOLEAN":
        return pd.arrays.BooleanArray(data.astype(bool), mask)
    if kind in ("VARCHAR", "UUID"):
        return pd.array([None if missing else str(v) for v, missing in zip(data, mask, strict=True)], dtype="str")
    series: Any = pd.Series(data).mask(mask)
    return series.dt.tz_localize("UTC") if kind == "TIMESTAMP WITH TIME ZONE" else series


def _plain(value: Any) -> Any:
    """Convert nested values to lists and dicts, missing values to None."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value

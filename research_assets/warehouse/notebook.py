"""The marts in a notebook: `research_assets.open("data").videos(study="gardening")` gives a pandas DataFrame.

Types survive the way from DuckDB to pandas: ids stay 64-bit integers also where some are missing, moments are UTC,
lists are lists. Read-only. Which marts and columns there are is read from the warehouse.
"""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from research_assets.warehouse.reader import (
    Mart,
    WarehouseReadError,
    connect_read_only,
    data_folder_settings,
    filter_condition,
    is_simulated,
    parse_day,
    read_marts,
    read_studies,
    require_studies,
    sql_identifier,
)


class MartReader:
    """One mart: called, a DataFrame of it; `relation()`, the same as a query that DuckDB has not run yet."""

    def __init__(self, reading: "Warehouse", mart: Mart) -> None:
        self._reading, self._mart = reading, mart
        self.__doc__ = mart.description

    def __call__(
        self,
        study: str | None = None,
        first: str | date | None = None,
        last: str | date | None = None,
        columns: list[str] | None = None,
    ) -> pd.DataFrame:
        """Rows of one study (without it: of all) from the first to the last UTC day, as a DataFrame.

        Raises ReadingError for a study or column that is not there, and for days where rows belong to no single day.
        """
        return to_dataframe(self.relation(study, first, last, columns))

    def relation(
        self,
        study: str | None = None,
        first: str | date | None = None,
        last: str | date | None = None,
        columns: list[str] | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """The same rows as a DuckDB relation: nothing is read before it is asked for, whatever its size."""
        mart = self._mart
        if study is not None:
            require_studies([study], self._reading.studies)
        if unknown := [name for name in columns or () if name not in mart.names]:
            raise WarehouseReadError(
                f"{mart.name} has no column {', '.join(unknown)}; it has: {', '.join(mart.names)}."
            )
        chosen = ", ".join(map(sql_identifier, columns)) if columns else "*"
        where = filter_condition(mart, [study] if study is not None else [], parse_day(first), parse_day(last))
        return self._reading.sql(
            f"SELECT {chosen} FROM {sql_identifier(mart.name)}" + (f" WHERE {where}" if where else "")
        )

    @property
    def columns(self) -> pd.DataFrame:
        """What each column is: name, type, description."""
        rows = [(column.name, column.type, column.description) for column in self._mart.columns]
        return pd.DataFrame(rows, columns=["column", "type", "description"])

    def __repr__(self) -> str:
        return f"{self._mart.name}: {self._mart.description}\nColumns: {', '.join(self._mart.names)}"


class Warehouse:
    """The marts of one data folder, as they were published when it was opened; an attribute for each mart."""

    def __init__(self, warehouse: Path, *, simulated: bool) -> None:
        self.path = warehouse
        self.simulated = simulated
        self._opened = warehouse.stat().st_ino
        self._connection = connect_read_only(warehouse)
        self._marts = read_marts(self._connection)
        self._studies: list[str] | None = None

    @property
    def marts(self) -> list[str]:
        """The names of the marts."""
        return list(self._marts)

    @property
    def studies(self) -> list[str]:
        """The names of the studies of which anything is held."""
        if self._studies is None:
            self._studies = read_studies(self._connection, self._marts)
        return self._studies

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query of one's own over the marts, not run before it is asked for: `sql("SELECT … FROM videos")`.

        `frame(…)` makes a DataFrame of it with the types that the marts have; its own `.df()` turns ids into floats
        where some are missing.
        """
        return self._connection.sql(query)

    def frame(self, query: str | duckdb.DuckDBPyRelation) -> pd.DataFrame:
        """The result of a query or relation as a DataFrame with right types."""
        return to_dataframe(self.sql(query) if isinstance(query, str) else query)

    def relation(
        self, mart: str, study: str | None = None, first: str | date | None = None, last: str | date | None = None
    ) -> duckdb.DuckDBPyRelation:
        """A mart by its name, narrowed as in a call of it, as a relation that DuckDB has not run yet."""
        return self._reader(mart).relation(study, first, last)

    @property
    def superseded(self) -> bool:
        """Whether a newer build was published since; to see it, open again."""
        return not self.path.exists() or self.path.stat().st_ino != self._opened

    def close(self) -> None:
        """Let go of the file; relations that came from it end with it."""
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
        newer = "; a newer build was published since, open again to see it" if self.superseded else ""
        return (
            f"{self.path} ({kind}{newer})\nStudies: {', '.join(self.studies) or 'none'}\nMarts: {', '.join(self.marts)}"
        )


def open_warehouse(place: str | Path | None = None) -> Warehouse:
    """Open the warehouse of a data folder to read it; without a name, the folder of the environment.

    Raises ReadingError if there is none.
    """
    settings = data_folder_settings(place)
    return Warehouse(settings.warehouse, simulated=is_simulated(settings))


def to_dataframe(relation: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """A relation as a DataFrame: Int64, boolean, str, float64, datetime64[us, UTC], datetime64 for days, lists.

    Whole numbers wider than 64 bits, as `sum` makes them, become Int64; DuckDB refuses if one does not fit.
    """
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    if "HUGEINT" in kinds.values():
        cast = (
            f"{sql_identifier(n)}{'::BIGINT' * (kind == 'HUGEINT')} AS {sql_identifier(n)}" for n, kind in kinds.items()
        )
        relation = relation.project(", ".join(cast))
    arrays = relation.fetchnumpy()
    return pd.DataFrame({name: _series(arrays[name], kind) for name, kind in kinds.items()})


def _series(values: Any, kind: str) -> Any:
    """One column of DuckDB in pandas' type for it."""
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
    """Nested values as lists and dicts, missing ones as None."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value

"""In-memory DuckDBs that a process opens once, because opening one takes longer than most queries.

Not here: writing large files, which has a DuckDB of its own that may spill to disk (see parquet_io.py).
"""

import os
from functools import cache

import duckdb

Config = tuple[tuple[str, str | int | bool], ...]

_READER: Config = ()


def connect_shared(config: Config = _READER) -> duckdb.DuckDBPyConnection:
    """Return a new connection, in UTC, to the in-memory DuckDB with these settings; the caller closes it.

    A connection may be used by one thread at a time. Only temporary views and tables belong to it alone.
    """
    try:
        connection = _database(os.getpid(), config).cursor()
        connection.execute("SELECT 1").fetchall()
    except duckdb.Error:
        # An internal error of DuckDB makes the whole database unusable, and only that one.
        _database.cache_clear()
        connection = _database(os.getpid(), config).cursor()
    return connection


@cache
def _database(_process: int, config: Config) -> duckdb.DuckDBPyConnection:
    """Return the database of a process: a forked child must not use the one of its parent, whose threads it lacks."""
    # Without a folder it does not spill: the default is a folder in the working directory, which others may read.
    own: dict[str, str | int | bool] = {"autoinstall_known_extensions": False, "temp_directory": ""}
    database = duckdb.connect(config={**own, **dict(config)})
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database

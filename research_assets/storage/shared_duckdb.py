"""One in-memory DuckDB for all queries of a process, because opening one takes longer than most queries.

Not here: writing Parquet with a bounded memory (see parquet_io.py).
"""

import os
from functools import cache

import duckdb


def connect_shared() -> duckdb.DuckDBPyConnection:
    """Return a new connection, in UTC, to the in-memory DuckDB of this process; the caller closes it.

    A connection may be used by one thread at a time. Only temporary views and tables belong to it alone.
    """
    return _database(os.getpid()).cursor()


@cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """Return the database of a process: a forked child must not use the one of its parent, whose threads it lacks."""
    database = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database

"""Where Parquet is made: a folder for what is under construction, and a DuckDB that stays small.

What is made is the business of `tables.py`.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from research_assets.storage.files import private_folder, publish_file, temporary_path
from research_assets.storage.raw_sql import sql_literal

MEMORY, LARGE_MEMORY = "256MB", "2GB"
# A compressed capture is read by one thread whatever is allowed; more would keep memory of their own and gain nothing.
THREADS = 1
# Writers keep a row group of each thread in memory; larger ones do not fit beside the JSON and are spilled to disk.
ROW_GROUP = 10_240


def publish_parquet(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Publish the rows of a query as a Parquet file."""
    private_folder(path.parent)
    write_query(db, query, temporary_path(path))
    publish_file(temporary_path(path), path)


def write_query(db: duckdb.DuckDBPyConnection, query: str, target: Path, compression: str = "zstd") -> None:
    """Write the rows of a query to a Parquet file."""
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP}"
    db.execute(f"COPY ({query}) TO {sql_literal(target)} ({options})")


@contextmanager
def open_duckdb(folder: Path, *, memory: str = MEMORY, threads: int = THREADS) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of bounded memory that spills into the workshop and thinks in UTC."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=settings) as db:
        db.execute("SET TimeZone = 'UTC'")
        yield db


@contextmanager
def temporary_folder(raw: Path, name: str) -> Iterator[Path]:
    """A private folder for what is under construction; those of dead processes are cleared away first."""
    yard = private_folder(raw / ".tmp")
    gate = os.open(yard, os.O_RDONLY)
    mark = -1
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for old in yard.iterdir():
            _remove_if_stale(old)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=yard))
        mark = os.open(folder, os.O_RDONLY)
        fcntl.flock(mark, fcntl.LOCK_EX)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(gate)
        if mark >= 0:
            os.close(mark)


def _remove_if_stale(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        # Its owner has ended since the folder was listed.
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)

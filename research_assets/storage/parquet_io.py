"""Writing Parquet: temporary folders, DuckDB connections with bounded memory, and atomic publication.

Not here: the tables that are written (see raw_writer.py).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import duckdb

from research_assets.storage.file_locks import LOCK_FILE, claim_abandoned, folder_lock, locked, open_lock
from research_assets.storage.files import private_folder, temporary_path
from research_assets.storage.raw_digests import publish_raw_files
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.shared_duckdb import Config, connect_shared

MEMORY, LARGE_MEMORY = "256MB", "2GB"
"""Memory limits of DuckDB: the default, and the limit of a second attempt after it ran out of memory."""

SMALL_CAPTURE = 1024 * 1024
"""Size in bytes, before compression, below which a capture is written without a DuckDB of its own.

A DuckDB that stays open keeps memory of what it wrote; for a larger capture, opening another one hardly counts."""

# DuckDB reads a compressed capture with one thread; more threads would use more memory without being faster.
THREADS = 1

# Writers keep one row group per thread in memory; larger ones do not fit next to the JSON and are spilled to disk.
ROW_GROUP = 10_240


def publish_parquet(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write the rows of a query to a raw file atomically, with its digest; creates its folder."""
    publish_raw_files([(write_draft(db, query, path), path)])


def write_draft(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path:
    """Write the rows of a query to the temporary file of a raw file, and return its path; creates its folder."""
    private_folder(path.parent)
    write_query(db, query, temporary_path(path))
    return temporary_path(path)


def write_query(db: duckdb.DuckDBPyConnection, query: str, target: Path, compression: str = "zstd") -> None:
    """Write the rows of a query to a Parquet file."""
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP}"
    db.execute(f"COPY ({query}) TO {sql_literal(target)} ({options})")


_SMALL_WRITER: Config = (("memory_limit", MEMORY), ("threads", THREADS), ("preserve_insertion_order", False))


def connect_small_writer() -> closing[duckdb.DuckDBPyConnection]:
    """Connect, for a block, to the in-memory DuckDB of this process for files that need no more than `MEMORY`."""
    return closing(connect_shared(_SMALL_WRITER))


@contextmanager
def open_duckdb(folder: Path, *, memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in UTC with bounded memory, which spills into `folder`."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "threads": THREADS,
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=settings) as db:
        db.execute("SET TimeZone = 'UTC'")
        yield db


@contextmanager
def temporary_folder(raw: Path, name: str) -> Iterator[Path]:
    """Create a private temporary folder for the block; first removes the folders of ended processes."""
    parent = private_folder(raw / ".tmp")
    with ExitStack() as stack:
        # Without the lock on the parent, another process could remove the folder before it is locked.
        with folder_lock(parent):
            for old in parent.iterdir():
                if old.is_dir():
                    _remove_if_stale(old)
            folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=parent))
            stack.enter_context(locked(open_lock(folder), folder / LOCK_FILE))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_stale(folder: Path) -> None:
    with claim_abandoned(folder / LOCK_FILE) as is_abandoned:
        # Without a lock file, its process was killed between the creation of both.
        if is_abandoned or not (folder / LOCK_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)

"""The quota ledger in one SQLite file, which all processes on a data folder share (WAL, flushed at each commit).

SQLite has no checksums, so each row has one (`crc`, of its other columns, written by triggers). Opening the file
compares the counters, the newest requests and, in a small file, its structure; `verify` compares all. Other rows of
`requests` are compared when they are read.

Not here: the tables (see tables.py), the operations (see ledger.py).
"""

import logging
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Insert,
    Integer,
    MetaData,
    NullPool,
    Row,
    Select,
    Table,
    create_engine,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from research_assets.quota.ledger_database import DamagedLedger, LedgerError
from research_assets.quota.tables import (
    APPLICATION,
    METADATA,
    REQUESTS,
    VERSION,
    verify_counters,
    verify_request_counts,
)
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import private_folder, write_private

_LOGGER = logging.getLogger(__name__)

_LOCK_TIMEOUT_SECONDS = 60.0
_PAGE_SIZE = 4096
_FRAME = 24 + _PAGE_SIZE
"""Size in bytes of a page in SQLite's log, with its header."""

_MAX_OPEN_CHECK = 16 << 20
"""Size in bytes up to which opening checks the structure of the whole file, which takes 0.1 s then."""

_SYNCHRONOUS = {True: "FULL", False: "NORMAL"}
"""SQLite's setting for transactions that are durable when they end, and for others."""

_NEWEST_REQUESTS = 2000
"""Number of requests whose rows opening compares."""


class SqliteLedger:
    """A ledger file, created at its first use; one connection per process, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._owner = os.getpid()

    @property
    def place(self) -> str:
        """Return the path of the file."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self.path.exists()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """Run the block as an exclusive write transaction: committed durably at its end, rolled back if it raises.

        With `durable=False` the next durable transaction makes it durable; until then a power failure may undo it, but
        a crash of the process cannot.
        """
        with self.reading() as db:
            db.exec_driver_sql(f"PRAGMA synchronous = {_SYNCHRONOUS[durable]}")
            db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db
            db.commit()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open the connection for the block. Raises LedgerError if the file cannot be used.

        Python raises UnicodeDecodeError if a message of SQLite quotes damaged text.
        """
        if self._owner != os.getpid():
            # A forked child must not use or close the inherited connection: its locks belong to the parent.
            _inherited.append(self._connection)
            self._lock, self._connection, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self.path)
                try:
                    yield self._connection
                finally:
                    # Without an open transaction this changes nothing in the file.
                    self._connection.rollback()
            except (DBAPIError, sqlite3.Error, OSError, UnicodeDecodeError, DamagedLedger) as error:
                message, is_damage = _error_message(self.path, error)
                raise LedgerError(message, is_damage=is_damage) from error

    def select(self, table: Table) -> Select[Any]:
        """Return a query of all columns of a table, and of the checksum."""
        return _select(table)

    def verified(self, table: Table, row: Row[Any]) -> Row[Any]:
        """Return a row of `select`. Raises DamagedLedger unless it has its checksum."""
        if row[-1] != _row_checksum(*row[:-1]):
            key = ", ".join(str(value) for value in row[: len(table.primary_key)])
            raise DamagedLedger(f"the row {key} of the table {table.name} does not match its checksum")
        return row

    def insert_if_missing(self, table: Table) -> Insert:
        """Return a statement that inserts a row unless there is one with its key."""
        return sqlite.insert(table).on_conflict_do_nothing()

    def verify(self) -> None:
        """Raise LedgerError unless the whole file is what was written: its structure, each row, and the counters."""
        with self.reading() as db:
            _verify_structure(_raw(db))
            for table in METADATA.tables.values():
                for row in db.execute(self.select(table)):
                    self.verified(table, row)
            verify_counters(db)
            verify_request_counts(db, "")

    def compact(self) -> None:
        """Write the file again without unused pages, and empty its log."""
        with self.reading() as db:
            db.exec_driver_sql("VACUUM")
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._owner == os.getpid():
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None


@cache
def _select(table: Table) -> Select[Any]:
    return select(table, literal_column("crc"))


_inherited: list[Connection | None] = []
"""Connections of parent processes; a reference prevents a forked child from closing them."""


def _with_checksum(table: Table, metadata: MetaData) -> Table:
    copy = table.to_metadata(metadata)
    copy.append_column(Column("crc", Integer))
    return copy


@cache
def _schema() -> str:
    """Return the SQL of a ledger without requests."""
    metadata, dialect = MetaData(), sqlite.dialect()
    statements = [
        f"PRAGMA page_size = {_PAGE_SIZE}",
        f"PRAGMA application_id = {APPLICATION}",
        f"PRAGMA user_version = {VERSION}",
    ]
    for table in METADATA.tables.values():
        copy = _with_checksum(table, metadata)
        statements.append(str(CreateTable(copy).compile(dialect=dialect)))
        indexes = sorted(copy.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return ";\n".join(statements) + ";"


def _row_checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _triggers() -> str:
    """Return the SQL of the triggers that write the checksum of each new or changed row.

    They exist in the connection alone, because a program without the function `row_checksum` could not write otherwise.
    """
    statements = []
    for table in METADATA.tables.values():
        columns = table.columns.keys()
        values = ", ".join(f"new.{column}" for column in columns)
        key = " AND ".join(f"{column} = new.{column}" for column in columns[: len(table.primary_key)])
        for event in ("INSERT", f"UPDATE OF {', '.join(columns)}"):
            statements.append(
                f"CREATE TEMP TRIGGER {table.name}_{event[:6].lower()} AFTER {event} ON main.{table.name} BEGIN "
                f"UPDATE {table.name} SET crc = row_checksum({values}) WHERE {key}; END;"
            )
    return "\n".join(statements)


def _raw(db: Connection) -> sqlite3.Connection:
    raw = db.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _verify_structure(db: sqlite3.Connection) -> None:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as expected:
        expected.executescript(_schema())
        schema = expected.execute(query).fetchall()
    if _without_layout(db.execute(query).fetchall()) != _without_layout(schema):
        raise DamagedLedger("its tables are not those of this version")
    [(result,)] = db.execute("PRAGMA integrity_check(1)").fetchall()
    if result != "ok":
        raise DamagedLedger(" ".join(result.split()))


def _without_layout(schema: list[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    """Return the rows of a schema without blanks, which another version of SQLAlchemy may place elsewhere."""
    return [tuple(re.sub(r"\s+", "", str(value)) for value in row) for row in schema]


def _report_lost_transactions(db: sqlite3.Connection, path: Path) -> None:
    """Keep a copy of SQLite's log, with a warning, if SQLite does not use all committed transactions in it.

    SQLite ends its log at the first page that is not what was written, as after a power failure, and reports no error.
    The format is that of https://sqlite.org/fileformat2.html#walformat. Only the log is opened: closing one of the
    other files would release the locks that SQLite holds on it.
    """
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not os.access(path, os.W_OK):
        return
    # While this process could write, no other process is between two pages of a transaction.
    db.execute("BEGIN IMMEDIATE")
    try:
        content = log.read_bytes() if log.exists() else b""
    finally:
        db.execute("ROLLBACK")
    if not content:
        return
    (_, used, _) = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if not _is_log_damaged(content, max(0, used)):
        return
    copy = log.with_name(f"{log.name}.damaged")
    write_private(copy, content)
    _LOGGER.warning(
        "The log %s of the quota ledger is damaged. SQLite uses %s of its %s pages, so the newest requests are not "
        "counted. The API may refuse requests before the cap is reached; the pool is then closed until the API accepts "
        "requests again. A copy of the log is %s.",
        *(log, used, len(content) // _FRAME, copy),
    )


def _is_log_damaged(content: bytes, used: int) -> bool:
    """Return whether the log has a committed transaction after its first `used` pages that is not what was written.

    A transaction that is intact there is either in the database, or was not acknowledged: its process was killed.
    """
    if len(content) < 32 + _FRAME:
        return False
    order: Literal["big", "little"] = "big" if content[3] & 1 else "little"
    header_is_intact = _log_checksum(content[:24], bytes(8), order) == content[24:32]
    # Pages of an older log, which are all in the database, have another salt than the header.
    salt = content[16:24] if header_is_intact else content[40:48]
    last = 0
    for number, at in enumerate(range(32, len(content) - _FRAME + 1, _FRAME), 1):
        if content[at + 8 : at + 16] == salt and content[at + 4 : at + 8] != bytes(4):
            last = number
    if last <= used:
        return False
    first = 32 + used * _FRAME
    checksum = content[first - _PAGE_SIZE - 8 : first - _PAGE_SIZE] if used else content[24:32]
    for at in range(first, 32 + last * _FRAME, _FRAME):
        checksum = _log_checksum(content[at : at + 8] + content[at + 24 : at + _FRAME], checksum, order)
        if checksum != content[at + 16 : at + 24] or content[at + 8 : at + 16] != salt:
            return True
    return not header_is_intact


def _log_checksum(data: bytes, start: bytes, order: Literal["big", "little"]) -> bytes:
    """Return the checksum of SQLite's log over some bytes, continued from that of the bytes before them."""
    first, second = int.from_bytes(start[:4], "big"), int.from_bytes(start[4:], "big")
    for at in range(0, len(data), 8):
        first = (first + int.from_bytes(data[at : at + 4], order) + second) & 0xFFFFFFFF
        second = (second + int.from_bytes(data[at + 4 : at + 8], order) + first) & 0xFFFFFFFF
    return first.to_bytes(4, "big") + second.to_bytes(4, "big")


_opened_path: ContextVar[Path] = ContextVar("path of the ledger that is opened")


@cache
def _engine() -> Engine:
    """Return the engine of all files: one, so that each statement is compiled once. It keeps no connection."""
    return create_engine(
        "sqlite://", creator=lambda: _connect(_opened_path.get()), poolclass=NullPool, hide_parameters=True
    )


def _open(path: Path) -> Connection:
    if not path.exists():
        _create(path)
    token = _opened_path.set(path)
    try:
        db = _engine().connect()
    finally:
        _opened_path.reset(token)
    ledger = SqliteLedger(path)
    try:
        for table in METADATA.tables.values():
            rows = ledger.select(table)
            if table is REQUESTS:
                rows = rows.order_by(table.c.id.desc()).limit(_NEWEST_REQUESTS)
            for row in db.execute(rows):
                ledger.verified(table, row)
        verify_counters(db)
        _raw(db).executescript(_triggers())
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        _address(path), timeout=_LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )
    try:
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise sqlite3.DatabaseError("it is not a quota ledger")
        if version > VERSION:
            raise LedgerError(
                f"The quota ledger {path} was written by a newer version of this project (format {version}; this "
                f"version supports {VERSION}). Nothing was changed. Update the project, or use another data folder."
            )
        _report_lost_transactions(db, path)
        db.execute("PRAGMA cell_size_check = ON")
        db.create_function("row_checksum", -1, _row_checksum, deterministic=True)
        if path.stat().st_size <= _MAX_OPEN_CHECK:
            _verify_structure(db)
    except BaseException:
        db.close()
        raise
    return db


def _address(path: Path) -> str:
    """Return the address at which SQLite opens the file, also in a folder without write access.

    There SQLite cannot create the files of its log, and without them it refuses to open the file. While no log exists,
    the file has all transactions, so it can be read as a file that does not change.
    """
    address = path.absolute().as_uri()
    is_complete = not path.with_name(f"{path.name}-wal").exists()
    return f"{address}?mode=ro&immutable=1" if is_complete and not os.access(path.parent, os.W_OK) else address


def _create(path: Path) -> None:
    """Create a complete ledger by one rename; if several processes do so, one succeeds.

    The draft of a process that was killed is overwritten, because its name does not depend on the process.
    """
    private_folder(path.parent)
    with folder_lock(path.parent):
        if not path.exists():
            write_private(path, _new_ledger())


def _new_ledger() -> bytes:
    """Return the content of a ledger without requests.

    It is made in memory: SQLite does not report if closing a file leaves a part of it in its log.
    """
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_schema())
        content = bytearray(db.serialize())
    # The versions that mark write-ahead logging (SQLite's file format, 1.3.3); a database in memory has none.
    content[18:20] = b"\2\2"
    return bytes(content)


def _error_message(path: Path, error: Exception) -> tuple[str, bool]:
    """Return the message about an error of the ledger, and whether the file is damaged."""
    error = getattr(error, "orig", None) or error
    reason, advice = str(error), _ERROR_ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, OSError):
        advice = _NOT_WRITABLE
    is_damage = advice is None
    if is_damage:
        reason = f"it is damaged ({error})"
        advice = (
            f"It was not changed. Restore it from a backup of today; or move it aside (mv {path} {path}.damaged, "
            "likewise its -wal and -shm files) and start again. A new ledger counts today's requests from 0, so the "
            "API may refuse requests before the cap is reached; the pool is then closed until the API accepts requests "
            "again. The .recover command of sqlite3 can restore rows of the old ledger."
        )
    return f"The quota ledger {path} cannot be used: {reason}. No request was sent. {advice}", is_damage


_NOT_WRITABLE = "Make its folder writable, or set RESEARCH_DATA to another folder."

_ERROR_ADVICE = {
    sqlite3.SQLITE_BUSY: f"Another process has locked it for {_LOCK_TIMEOUT_SECONDS:.0f} seconds: end that process, "
    "then try again.",
    sqlite3.SQLITE_FULL: "Free space on its disk, then try again.",
    # Also if the disk is too full for SQLite's log.
    sqlite3.SQLITE_IOERR: "Free space on its disk if it is full; otherwise check the disk. Then try again.",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
}
"""Advice by primary error code of SQLite. Any other error means that the file is damaged."""

"""The quota ledger: reservations of requests by pool and UTC day, stored in one SQLite file.

Every process on a data root shares the file (WAL, flushed at each commit). A reservation is one immediate transaction,
so all processes together never reserve more than the cap of a pool on a UTC day.

Tables (times are ISO 8601 text in UTC):

- `requests`: one row per reservation, completed by `settle`. Rows are never deleted. `settled` is 0 until then, 1 for a
  request that was sent, and 2 for one that was not sent and was released. `run` is the run whose budget the
  request was taken from; null without a budget and for a request that was not sent.
- `days`: per pool and UTC day the reserved requests (`used`), the responses that prove that the quota works
  (`answered`), the daily 429s (`n_refused_by_api`), whether the API reported the day as used up (`exhausted`), the time
  until which the pool is closed (`available_at`), the number of failed probes on a day without a response (`probes`),
  and the reservation that is the current probe (`probe`).
- `used`: per pool, UTC day and study the reserved requests.

SQLite has no checksums, so each row has one (`crc`, of its other columns, written by triggers), and the requests of a
day are counted in three tables. Opening the file compares the counters, the newest requests and, in a small file, its
structure; `verify` compares all. Rows of `requests` are compared when they are read.

Not here: when and what to send (see collect/), the pool of an endpoint (see tiktok/endpoints.py), the division of a day
between studies, which the agenda decides (see planning/ and fair_share.py).
"""

import logging
import os
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from research_assets.clock import MAX_CLOCK_SKEW, Clock, midnight, next_midnight
from research_assets.settings import Settings
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import private_folder, write_private

QuotaReason = Literal["cap", "api_refused", "not_reset", "reserved", "budget"]

_LOGGER = logging.getLogger(__name__)

MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL = timedelta(minutes=15), timedelta(hours=4)
"""The first and the longest interval between probes of a pool that was not reset at midnight."""

# The API may return these statuses before it checks the quota, so they do not prove that requests remain.
_STATUSES_BEFORE_QUOTA_CHECK = (401, 429)

_VERSION = 1
_APPLICATION = 0x52415154
_LOCK_TIMEOUT_SECONDS = 60.0
_PAGE_SIZE = 4096
_FRAME = 24 + _PAGE_SIZE
"""Size in bytes of a page in SQLite's log, with its header."""

_SCHEMA = f"""
PRAGMA page_size = {_PAGE_SIZE};
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, entity TEXT NOT NULL,
    unit TEXT NOT NULL, endpoint TEXT NOT NULL, sent_at TEXT NOT NULL, run TEXT, settled INTEGER NOT NULL DEFAULT 0,
    status INTEGER, code TEXT, rows INTEGER, latency REAL, log_id TEXT, crc INTEGER
) STRICT;
CREATE INDEX requests_by_day ON requests (day);
CREATE INDEX requests_by_run ON requests (run) WHERE run IS NOT NULL;
CREATE TABLE days (
    pool TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, answered INTEGER NOT NULL DEFAULT 0,
    n_refused_by_api INTEGER NOT NULL DEFAULT 0, exhausted INTEGER NOT NULL DEFAULT 0, available_at TEXT,
    probes INTEGER NOT NULL DEFAULT 0, probe INTEGER, crc INTEGER, PRIMARY KEY (pool, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE used (
    pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, n INTEGER NOT NULL, crc INTEGER,
    PRIMARY KEY (pool, day, study)
) STRICT, WITHOUT ROWID;
"""

_COLUMNS = {
    "requests": (
        *("id", "pool", "day", "study", "entity", "unit", "endpoint", "sent_at", "run"),
        *("settled", "status", "code", "rows", "latency", "log_id"),
    ),
    "days": ("pool", "day", "used", "answered", "n_refused_by_api", "exhausted", "available_at", "probes", "probe"),
    "used": ("pool", "day", "study", "n"),
}
"""The columns of each table that its checksum covers; the key columns come first."""

_KEYS = {"requests": 1, "days": 2, "used": 3}
"""Number of key columns of each table."""

_MAX_OPEN_CHECK = 16 << 20
"""Size in bytes up to which opening checks the structure of the whole file, which takes 0.1 s then."""

_NEWEST_REQUESTS = 2000
"""Number of requests whose rows opening compares."""


class LedgerError(Exception):
    """The ledger cannot be used. Nothing was reserved, so no request may be sent."""


class LedgerFile:
    """A ledger file, created at its first use; one connection per process, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner = os.getpid()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run the block as an exclusive write transaction: committed durably at its end, rolled back if it raises.

        With `durable=False` the next durable transaction makes it durable; until then a power failure may undo it, but
        a crash of the process cannot.
        """
        with self.reading() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
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
                yield self._connection
            except (sqlite3.Error, OSError, UnicodeDecodeError, _DamagedLedger) as error:
                raise LedgerError(_error_message(self.path, error)) from error

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._owner == os.getpid():
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None


_inherited: list[sqlite3.Connection | None] = []
"""Connections of parent processes; a reference prevents a forked child from closing them."""


class _DamagedLedger(Exception):
    """The content of the file is not what was written."""


def _row_checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _triggers() -> str:
    """Return the SQL of the triggers that write the checksum of each new or changed row.

    They exist in the connection alone, because a program without the function `row_checksum` could not write otherwise.
    """
    statements = []
    for table, columns in _COLUMNS.items():
        values = ", ".join(f"new.{column}" for column in columns)
        key = " AND ".join(f"{column} = new.{column}" for column in columns[: _KEYS[table]])
        for event in ("INSERT", f"UPDATE OF {', '.join(columns)}"):
            statements.append(
                f"CREATE TEMP TRIGGER {table}_{event[:6].lower()} AFTER {event} ON main.{table} BEGIN "
                f"UPDATE {table} SET crc = row_checksum({values}) WHERE {key}; END;"
            )
    return "\n".join(statements)


def _verify_row(table: str, row: sqlite3.Row) -> sqlite3.Row:
    """Return a row with all columns of a table. Raises _DamagedLedger unless it has its checksum."""
    if row["crc"] != _row_checksum(*(row[column] for column in _COLUMNS[table])):
        key = ", ".join(str(row[column]) for column in _COLUMNS[table][: _KEYS[table]])
        raise _DamagedLedger(f"the row {key} of the table {table} does not match its checksum")
    return row


def _verify_structure(db: sqlite3.Connection) -> None:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as expected:
        expected.executescript(_SCHEMA)
        schema = expected.execute(query).fetchall()
    if [tuple(row) for row in db.execute(query)] != schema:
        raise _DamagedLedger("its tables are not those of this version")
    [(result,)] = map(tuple, db.execute("PRAGMA integrity_check(1)").fetchall())
    if result != "ok":
        raise _DamagedLedger(" ".join(result.split()))


def _verify_counters(db: sqlite3.Connection) -> None:
    for table in ("days", "used"):
        for row in db.execute(f"SELECT * FROM {table}"):
            _verify_row(table, row)
    _compare_counts(db, "SELECT pool, day, n FROM used", "")


def _verify_request_counts(db: sqlite3.Connection, since: str) -> None:
    _compare_counts(db, "SELECT pool, day, 1 FROM requests WHERE settled <> 2", since)


def _compare_counts(db: sqlite3.Connection, rows: str, since: str) -> None:
    """Raise _DamagedLedger unless the numbers in `rows` (pool, day, n) add up to those of `days`; in one snapshot."""
    differing = db.execute(
        "SELECT pool, day, sum(used), sum(n) FROM (SELECT pool, day, used, 0 AS n FROM days "
        f"UNION ALL SELECT pool, day, 0, n FROM (SELECT NULL AS pool, NULL AS day, 0 AS n WHERE 0 UNION ALL {rows})) "
        "WHERE day >= ? GROUP BY pool, day HAVING sum(used) <> sum(n)",
        (since,),
    ).fetchone()
    if differing is not None:
        raise _DamagedLedger("pool {} of {} has {} requests in one table and {} in another".format(*differing))


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


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise sqlite3.DatabaseError("it is not a quota ledger")
        if version > _VERSION:
            raise LedgerError(
                f"The quota ledger {path} was written by a newer version of this project (format {version}; this "
                f"version supports {_VERSION}). Nothing was changed. Update the project, or use another data folder."
            )
        _report_lost_transactions(db, path)
        db.execute("PRAGMA cell_size_check = ON")
        db.create_function("row_checksum", -1, _row_checksum, deterministic=True)
        if path.stat().st_size <= _MAX_OPEN_CHECK:
            _verify_structure(db)
        _verify_counters(db)
        for row in db.execute("SELECT * FROM requests ORDER BY id DESC LIMIT ?", (_NEWEST_REQUESTS,)):
            _verify_row("requests", row)
        db.executescript(_triggers())
    except BaseException:
        db.close()
        raise
    return db


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
        db.executescript(_SCHEMA)
        content = bytearray(db.serialize())
    # The versions that mark write-ahead logging (SQLite's file format, 1.3.3); a database in memory has none.
    content[18:20] = b"\2\2"
    return bytes(content)


def _error_message(path: Path, error: Exception) -> str:
    reason, advice = str(error), _ERROR_ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, OSError):
        advice = _NOT_WRITABLE
    if advice is None:
        reason = f"it is damaged ({error})"
        advice = (
            f"It was not changed. Restore it from a backup of today; or move it aside (mv {path} {path}.damaged, "
            "likewise its -wal and -shm files) and start again. A new ledger counts today's requests from 0, so the "
            "API may refuse requests before the cap is reached; the pool is then closed until the API accepts requests "
            "again. The .recover command of sqlite3 can restore rows of the old ledger."
        )
    return f"The quota ledger {path} cannot be used: {reason}. No request was sent. {advice}"


_NOT_WRITABLE = "Make its folder writable, or set RESEARCH_DATA to another folder."

_ERROR_ADVICE = {
    sqlite3.SQLITE_BUSY: f"Another process has locked it for {_LOCK_TIMEOUT_SECONDS:.0f} seconds: end that process, "
    "then try again.",
    sqlite3.SQLITE_FULL: "Free space on its disk, then try again.",
    sqlite3.SQLITE_IOERR: "Its disk reports an error: check the disk, then try again.",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
}
"""Advice by primary error code of SQLite. Any other error means that the file is damaged."""


class QuotaExhausted(Exception):
    """The pool has no request available for the caller; `retry_at` is the time of the next attempt, UTC.

    `reason` is one of:

    - `cap`: all requests of the day are reserved.
    - `api_refused`: the API reports that the daily quota is used up, for example by colleagues.
    - `not_reset`: the API has refused every request since midnight; the pool is probed at growing intervals.
    - `reserved`: the remaining requests are reserved for work that is due today.
    - `budget`: the run has used its budget. Another run may start at `retry_at` if requests are free then.
    """

    def __init__(self, pool: str, cap: int, used: int, retry_at: datetime, reason: QuotaReason) -> None:
        explanation = {
            "cap": f"all {cap} requests of the day are used",
            "api_refused": f"the API reports that the daily quota is used up (the ledger counts {used} of {cap})",
            "not_reset": "the API has refused every request since midnight; the pool is probed at growing intervals",
            "reserved": f"the remaining {cap - used} requests are reserved for work that is due today",
            "budget": f"the run has used its budget ({used} of {cap} requests of the day are used)",
        }[reason]
        available = "for this run" if reason == "budget" else "available"
        super().__init__(
            f"Pool {pool} has no request {available}: {explanation}. No request was sent. "
            f"Retry after {retry_at:%Y-%m-%d %H:%M} UTC."
        )
        self.pool, self.cap, self.used, self.retry_at, self.reason = pool, cap, used, retry_at, reason


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool at one time, in requests. While it is closed, `remaining` is 0 and `available_at` (UTC) is set."""

    pool: str
    day: date
    cap: int
    used: int
    remaining: int
    n_refused_by_api: int
    available_at: datetime | None


class Ledger:
    """The quota ledger at a path, created at its first use; safe to share between threads and across a fork.

    `caps` are the requests per UTC day by pool. In the pool `research`, `quota_reserve` requests are reserved for work
    that is due.
    """

    def __init__(self, path: Path, caps: Mapping[str, int], clock: Clock, *, quota_reserve: int = 0) -> None:
        self.path, self.caps, self._clock, self._quota_reserve = path, dict(caps), clock, quota_reserve
        self._file = LedgerFile(path)
        self._looked_ahead = False

    def reserve(
        self, pool: str, *, study: str, entity: str, unit: str, endpoint: str, due: bool = True, run: str | None = None
    ) -> int:
        """Reserve one request of today in a pool durably; returns its number for `settle`.

        `run` names the run for `used_by_run`. The ledger does not check the budget of a run (see collect/sender.py).
        Raises QuotaExhausted if no request is available for the caller, LedgerError if the ledger cannot be used.
        """
        cap = self._cap(pool)
        with self._file.transaction() as db:
            now = self._now()
            today = now.date().isoformat()
            day = _day_row(db, pool, today)
            is_probe = self._check(pool, cap, day, now, due)
            self._warn_of_later_requests(db, today, now)
            (number,) = db.execute(
                "INSERT INTO requests (pool, day, study, entity, unit, endpoint, sent_at, run) "
                "VALUES (?,?,?,?,?,?,?,?) RETURNING id",
                (pool, today, study, entity, unit, endpoint, now.isoformat(), run),
            ).fetchone()
            db.execute("UPDATE days SET used = used + 1 WHERE pool = ? AND day = ?", (pool, today))
            db.execute(
                "INSERT INTO used (pool, day, study, n) VALUES (?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1",
                (pool, today, study),
            )
            if is_probe:
                # One probe at a time: other callers wait for its result, or until `available_at` if its process dies.
                db.execute(
                    "UPDATE days SET probe = ?, available_at = ? WHERE pool = ? AND day = ?",
                    (number, (now + _probe_interval(day["probes"])).isoformat(), pool, today),
                )
            return int(number)

    def _warn_of_later_requests(self, db: sqlite3.Connection, today: str, now: datetime) -> None:
        """Warn once of requests of a later time. They count on the day that they name, at most one cap of it."""
        if self._looked_ahead:
            return
        self._looked_ahead = True
        (latest,) = db.execute("SELECT max(sent_at) FROM requests WHERE day >= ?", (today,)).fetchone()
        if latest is not None and datetime.fromisoformat(latest) > now + MAX_CLOCK_SKEW:
            _LOGGER.warning(
                "The ledger %s has requests until %s, but it is %s UTC: the clock of a machine was or is wrong. They "
                "count on the days that they name. Compare the clock of each machine with `research-assets check-api`.",
                self.path,
                f"{datetime.fromisoformat(latest):%Y-%m-%d %H:%M} UTC",
                f"{now:%Y-%m-%d %H:%M}",
            )

    def _check(self, pool: str, cap: int, day: sqlite3.Row, now: datetime, due: bool) -> bool:
        """Raise QuotaExhausted if no request is available; return whether the request probes a closed pool."""
        tomorrow, used = next_midnight(now), day["used"]
        closed_until = _closed_until(day, now)
        if closed_until:
            raise QuotaExhausted(pool, cap, used, closed_until, "api_refused" if day["exhausted"] else "not_reset")
        if used >= cap:
            raise QuotaExhausted(pool, cap, used, tomorrow, "cap")
        if not due and pool == "research" and cap - used <= self._quota_reserve:
            raise QuotaExhausted(pool, cap, used, tomorrow, "reserved")
        return day["available_at"] is not None

    def settle(
        self,
        reservation: int,
        *,
        status: int | None,
        code: str | None,
        rows: int | None,
        latency: float | None,
        log_id: str | None,
        sent: bool = True,
    ) -> None:
        """Record the result of a reservation; `latency` is in seconds. A second call changes nothing.

        `sent=False` releases the reservation; use it only for a request that certainly did not leave this machine.
        """
        # If a power failure undoes this, the request stays reserved: at worst one request is lost, the cap still holds.
        with self._file.transaction(durable=False) as db:
            reserved = db.execute(
                "UPDATE requests SET settled = ?, status = ?, code = ?, rows = ?, latency = ?, log_id = ? "
                "WHERE id = ? AND settled = 0 RETURNING pool, day, study",
                (1 if sent else 2, status, code, rows, latency, log_id, reservation),
            ).fetchone()
            if reserved is None:
                return
            where = (reserved["pool"], reserved["day"])
            if not sent:
                db.execute("UPDATE requests SET run = NULL WHERE id = ?", (reservation,))
                db.execute("UPDATE days SET used = used - 1 WHERE pool = ? AND day = ?", where)
                db.execute(
                    "UPDATE used SET n = n - 1 WHERE pool = ? AND day = ? AND study = ?", (*where, reserved["study"])
                )
            elif status is not None and status < 500 and status not in _STATUSES_BEFORE_QUOTA_CHECK:
                db.execute("UPDATE days SET answered = answered + 1 WHERE pool = ? AND day = ?", where)
                db.execute(
                    "UPDATE days SET probe = NULL, available_at = NULL WHERE pool = ? AND day = ? AND probe = ?",
                    (*where, reservation),
                )
            # A probe that ended without a decisive response: the next one may follow at once.
            db.execute(
                "UPDATE days SET probe = NULL, available_at = ? WHERE pool = ? AND day = ? AND probe = ?",
                (self._now().isoformat(), *where, reservation),
            )

    def mark_exhausted(self, pool: str, reservation: int | None = None) -> datetime:
        """Close a pool after the daily 429 of the API, even if the ledger shows free requests; returns when it reopens.

        Call it before the refused request is settled. `reservation` is the refused request, so that a refusal from
        before midnight does not close the new day. If the pool had a response today, it stays closed until 00:00 UTC.
        Otherwise the API did not reset the quota at midnight, and the pool opens for one probe after 15, 30, 60 ...
        minutes, at most 4 hours.
        """
        self._cap(pool)
        with self._file.transaction() as db:
            now = self._now()
            request = db.execute("SELECT day FROM requests WHERE id = ?", (reservation,)).fetchone()
            day = _day_row(db, pool, request["day"] if request else now.date().isoformat())
            available_at = _closed_until(day, now)
            end = midnight(date.fromisoformat(day["day"]) + timedelta(days=1))
            exhausted, probes, probe = day["exhausted"], day["probes"], day["probe"]
            if day["answered"]:
                exhausted, available_at, probe = 1, end, None
            elif available_at is None or (probe is not None and reservation in (None, probe)):
                probes, probe = probes + 1, None
                available_at = min(now + _probe_interval(probes), end)
            db.execute(
                "UPDATE days SET n_refused_by_api = n_refused_by_api + 1, exhausted = ?, available_at = ?, probes = ?, "
                "probe = ? WHERE pool = ? AND day = ?",
                (exhausted, available_at.isoformat(), probes, probe, pool, day["day"]),
            )
        _LOGGER.warning("The API refused a request of pool %s: closed until %s", pool, available_at)
        return available_at

    def pool_state(self, pool: str, now: datetime | None = None) -> PoolState:
        """Return the state of a pool now, or at another time if no further request is reserved until then."""
        cap, now = self._cap(pool), (now or self._now()).astimezone(UTC)
        with self._file.reading() as db:
            day = db.execute("SELECT * FROM days WHERE pool = ? AND day = ?", (pool, now.date().isoformat())).fetchone()
            if day is not None:
                _verify_row("days", day)
        used, n_refused = (day["used"], day["n_refused_by_api"]) if day else (0, 0)
        available_at = _closed_until(day, now) if day else None
        if used >= cap:
            available_at = next_midnight(now)
        return PoolState(pool, now.date(), cap, used, 0 if available_at else cap - used, n_refused, available_at)

    def available(self, pool: str, *, due: bool = True) -> int:
        """Return the remaining requests of a pool; without the reserve for work that is not `due`."""
        reserve = 0 if due or pool != "research" else self._quota_reserve
        return max(0, self.pool_state(pool).remaining - reserve)

    def used_by_study(self, pool: str) -> dict[str, int]:
        """Return the number of reserved requests of today by study."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM used WHERE pool = ? AND day = ?", (pool, self._now().date().isoformat())
            ).fetchall()
            return {row["study"]: row["n"] for row in rows if _verify_row("used", row)}

    def used_by_run(self, run: str) -> dict[tuple[str, str], int]:
        """Return the number of requests that a run reserved, on all days, by study and entity."""
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM requests WHERE run = ?", (run,)).fetchall()
            return dict(Counter((row["study"], row["entity"]) for row in rows if _verify_row("requests", row)))

    def iter_requests(self, since: date | None = None) -> Iterator[dict[str, Any]]:
        """Yield the reservations since a UTC day, by day: the columns of `fields.REQUESTS`, `study` and `day`."""
        last = (since.isoformat() if since else "", 0)
        with self._file.reading() as db:
            _verify_request_counts(db, last[0])
        while True:
            with self._file.reading() as db:
                page = db.execute(
                    "SELECT * FROM requests WHERE (day, id) > (?, ?) ORDER BY day, id LIMIT 5000", last
                ).fetchall()
                for row in page:
                    _verify_row("requests", row)
            for row in page:
                yield {
                    **{name: row[name] for name in ("pool", "endpoint", "entity", "unit", "status", "code", "rows")},
                    "sent_at": datetime.fromisoformat(row["sent_at"]),
                    "latency_ms": None if row["latency"] is None else row["latency"] * 1000,
                    "log_id": row["log_id"],
                    "study": row["study"],
                    "day": date.fromisoformat(row["day"]),
                }
            if not page:
                return
            last = (page[-1]["day"], page[-1]["id"])

    def rename_units(self, rename: Callable[[str, str], str], *, study: str | None = None, apply: bool = True) -> int:
        """Replace the units of the requests of a study, or of all; `rename` returns a new name for entity and unit.

        Returns the number of rows that change. Their old names are in no unused page of the file afterwards.
        """
        if not self.path.exists():
            return 0
        with self._file.transaction() as db:
            units = db.execute(
                "SELECT entity, unit, count(*) AS n FROM requests WHERE study = coalesce(?, study) "
                "GROUP BY entity, unit",
                (study,),
            ).fetchall()
            changed = [
                (name, row["entity"], row["unit"], row["n"])
                for row in units
                if (name := rename(row["entity"], row["unit"])) != row["unit"]
            ]
            if apply:
                for name, entity, unit, _ in changed:
                    db.execute(
                        "UPDATE requests SET unit = ? WHERE entity = ? AND unit = ? AND study = coalesce(?, study)",
                        (name, entity, unit, study),
                    )
        return sum(n for *_, n in changed)

    def compact(self) -> None:
        """Write the file again without unused pages, and empty its log."""
        with self._file.reading() as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def verify(self) -> None:
        """Raise LedgerError unless the whole file is what was written: its structure, each row, and the counters."""
        with self._file.reading() as db:
            _verify_structure(db)
            _verify_counters(db)
            _verify_request_counts(db, "")
            for row in db.execute("SELECT * FROM requests"):
                _verify_row("requests", row)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    def _now(self) -> datetime:
        return self._clock.now().astimezone(UTC)

    def _cap(self, pool: str) -> int:
        if pool not in self.caps:
            raise ValueError(f"There is no quota pool {pool!r}, only {', '.join(self.caps)}.")
        return self.caps[pool]


def _day_row(db: sqlite3.Connection, pool: str, day: str) -> sqlite3.Row:
    db.execute("INSERT OR IGNORE INTO days (pool, day) VALUES (?, ?)", (pool, day))
    row: sqlite3.Row = db.execute("SELECT * FROM days WHERE pool = ? AND day = ?", (pool, day)).fetchone()
    return _verify_row("days", row)


def _closed_until(day: sqlite3.Row, now: datetime) -> datetime | None:
    """Return the time until which a pool is closed; None if it is open.

    A probe is never further away than its interval. A later time was written under a clock that was ahead; it would
    close the pool for all other processes until the end of the day.
    """
    if day["available_at"] is None:
        return None
    available_at = datetime.fromisoformat(day["available_at"])
    is_valid = day["exhausted"] or available_at <= now + _probe_interval(day["probes"]) + MAX_CLOCK_SKEW
    return available_at if is_valid and now < available_at else None


def _probe_interval(probes: int) -> timedelta:
    interval = MIN_PROBE_INTERVAL
    for _ in range(1, probes):
        interval = min(interval * 2, MAX_PROBE_INTERVAL)
    return interval


def read_used_by_run(settings: Settings, clock: Clock, runs: Collection[str]) -> dict[str, dict[tuple[str, str], int]]:
    """Return `Ledger.used_by_run` for some runs; does not create a ledger."""
    if not runs or not settings.ledger.exists():
        return {run: {} for run in runs}
    ledger = Ledger(settings.ledger, settings.caps, clock)
    try:
        return {run: ledger.used_by_run(run) for run in runs}
    finally:
        ledger.close()


def read_pools(settings: Settings, clock: Clock) -> tuple[dict[str, PoolState], dict[str, dict[str, int]]]:
    """Return the state of each pool, and the requests of today by pool and study; does not create a ledger."""
    if not settings.ledger.exists():
        today = clock.now().date()
        return {pool: PoolState(pool, today, cap, 0, cap, 0, None) for pool, cap in settings.caps.items()}, {}
    ledger = Ledger(settings.ledger, settings.caps, clock, quota_reserve=settings.quota_reserve)
    try:
        return {pool: ledger.pool_state(pool) for pool in settings.caps}, {
            pool: ledger.used_by_study(pool) for pool in settings.caps
        }
    finally:
        ledger.close()

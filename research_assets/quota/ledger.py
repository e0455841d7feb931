"""The quota ledger: reservations of requests by pool and UTC day, stored in one SQLite file.

Every process on a data root shares the file (WAL, flushed at each commit). A reservation is one immediate transaction,
so all processes together never reserve more than the cap of a pool on a UTC day.

Tables (times are ISO 8601 text in UTC):

- `requests`: one row per reservation, completed by `settle`. Rows are never deleted. `run` is the run whose budget the
  request was taken from; null without a budget and for a request that was not sent.
- `days`: per pool and UTC day the reserved requests (`used`), the responses that prove that the quota works
  (`answered`), the daily 429s (`n_refused_by_api`), whether the API reported the day as used up (`exhausted`), the time
  until which the pool is closed (`available_at`), the number of failed probes on a day without a response (`probes`),
  and the reservation that is the current probe (`probe`).
- `used`: per pool, UTC day and study the reserved requests.

Not here: when and what to send (see collect/), the pool of an endpoint (see tiktok/endpoints.py), the division of a day
between studies, which the agenda decides (see planning/ and fair_share.py).
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from research_assets.clock import Clock, midnight, next_midnight
from research_assets.settings import Settings
from research_assets.storage.files import folder_lock, private_folder, write_private

QuotaReason = Literal["cap", "api_refused", "not_reset", "reserved", "budget"]

_LOGGER = logging.getLogger(__name__)

MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL = timedelta(minutes=15), timedelta(hours=4)
"""The first and the longest interval between probes of a pool that was not reset at midnight."""

# The API may return these statuses before it checks the quota, so they do not prove that requests remain.
_STATUSES_BEFORE_QUOTA_CHECK = (401, 429)

_VERSION = 1
_APPLICATION = 0x52415154
_LOCK_TIMEOUT_SECONDS = 60.0
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, entity TEXT NOT NULL,
    unit TEXT NOT NULL, endpoint TEXT NOT NULL, sent_at TEXT NOT NULL, run TEXT, settled INTEGER NOT NULL DEFAULT 0,
    status INTEGER, code TEXT, rows INTEGER, latency REAL, log_id TEXT
) STRICT;
CREATE INDEX requests_by_day ON requests (day);
CREATE INDEX requests_by_run ON requests (run) WHERE run IS NOT NULL;
CREATE TABLE days (
    pool TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, answered INTEGER NOT NULL DEFAULT 0,
    n_refused_by_api INTEGER NOT NULL DEFAULT 0, exhausted INTEGER NOT NULL DEFAULT 0, available_at TEXT,
    probes INTEGER NOT NULL DEFAULT 0, probe INTEGER, PRIMARY KEY (pool, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE used (
    pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (pool, day, study)
) STRICT, WITHOUT ROWID;
"""


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
        """Open the connection for the block. Raises LedgerError if the file cannot be used."""
        if self._owner != os.getpid():
            # A forked child must not use or close the inherited connection: its locks belong to the parent.
            _inherited.append(self._connection)
            self._lock, self._connection, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self.path)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
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
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and "locked" in text:
        reason, advice = (
            text,
            f"Another process has locked it for {_LOCK_TIMEOUT_SECONDS:.0f} seconds: end that process, then try again.",
        )
    elif isinstance(error, (OSError, sqlite3.OperationalError)):
        reason, advice = text, "Make its folder writable and free disk space, or set RESEARCH_DATA to another folder."
    else:
        reason = f"it is damaged ({text})"
        advice = (
            f"It was not changed. Move it aside (mv {path} {path}.damaged, likewise its -wal and -shm files) and "
            "start again. A new ledger counts today's requests from 0, so the API may refuse requests before the cap "
            "is reached; the pool is then closed until the API accepts requests again. The .recover command of sqlite3 "
            "can restore rows of the old ledger."
        )
    return f"The quota ledger {path} cannot be used: {reason}. No request was sent. {advice}"


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
            (number,) = db.execute(
                "INSERT INTO requests (pool, day, study, entity, unit, endpoint, sent_at, run) "
                "VALUES (?,?,?,?,?,?,?,?) RETURNING id",
                (pool, today, study, entity, unit, endpoint, now.isoformat(), run),
            ).fetchone()
            db.execute("UPDATE days SET used = used + 1 WHERE pool = ? AND day = ?", (pool, today))
            db.execute("INSERT INTO used VALUES (?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1", (pool, today, study))
            if is_probe:
                # One probe at a time: other callers wait for its result, or until `available_at` if its process dies.
                db.execute(
                    "UPDATE days SET probe = ?, available_at = ? WHERE pool = ? AND day = ?",
                    (number, (now + _probe_interval(day["probes"])).isoformat(), pool, today),
                )
            return int(number)

    def _check(self, pool: str, cap: int, day: sqlite3.Row, now: datetime, due: bool) -> bool:
        """Raise QuotaExhausted if no request is available; return whether the request probes a closed pool."""
        tomorrow, used = next_midnight(now), day["used"]
        available_at = _parse_time(day["available_at"])
        if available_at and now < available_at:
            raise QuotaExhausted(pool, cap, used, available_at, "api_refused" if day["exhausted"] else "not_reset")
        if used >= cap:
            raise QuotaExhausted(pool, cap, used, tomorrow, "cap")
        if not due and pool == "research" and cap - used <= self._quota_reserve:
            raise QuotaExhausted(pool, cap, used, tomorrow, "reserved")
        return available_at is not None

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
                "UPDATE requests SET settled = 1, status = ?, code = ?, rows = ?, latency = ?, log_id = ? "
                "WHERE id = ? AND settled = 0 RETURNING pool, day, study",
                (status, code, rows, latency, log_id, reservation),
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
            available_at = _parse_time(day["available_at"])
            end = midnight(date.fromisoformat(day["day"]) + timedelta(days=1))
            exhausted, probes, probe = day["exhausted"], day["probes"], day["probe"]
            if day["answered"]:
                exhausted, available_at, probe = 1, end, None
            elif available_at is None or now >= available_at or (probe is not None and reservation in (None, probe)):
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
        used, n_refused = (day["used"], day["n_refused_by_api"]) if day else (0, 0)
        available_at = _parse_time(day["available_at"]) if day else None
        if available_at and now >= available_at:
            available_at = None
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
                "SELECT study, n FROM used WHERE pool = ? AND day = ?", (pool, self._now().date().isoformat())
            ).fetchall()
        return dict(map(tuple, rows))

    def used_by_run(self, run: str) -> dict[tuple[str, str], int]:
        """Return the number of requests that a run reserved, on all days, by study and entity."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT study, entity, count(*) FROM requests WHERE run = ? GROUP BY study, entity", (run,)
            ).fetchall()
        return {(study, entity): n for study, entity, n in rows}

    def iter_requests(self, since: date | None = None) -> Iterator[dict[str, Any]]:
        """Yield the reservations since a UTC day, by day: the columns of `fields.REQUESTS`, `study` and `day`."""
        last = (since.isoformat() if since else "", 0)
        while True:
            with self._file.reading() as db:
                page = db.execute(
                    "SELECT * FROM requests WHERE (day, id) > (?, ?) ORDER BY day, id LIMIT 5000", last
                ).fetchall()
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
    return row


def _probe_interval(probes: int) -> timedelta:
    interval = MIN_PROBE_INTERVAL
    for _ in range(1, probes):
        interval = min(interval * 2, MAX_PROBE_INTERVAL)
    return interval


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


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

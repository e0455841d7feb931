"""The file of the quota ledger: its tables, how it is made, opened and shared. `quota.py` knows what they mean.

Tables, moments as ISO 8601 text in UTC:

- `requests`: one row per reservation, completed by `settle`. Nothing is ever deleted here.
- `days`: per pool and UTC day the places taken (`used`), answers that prove the quota alive (`answered`), daily 429s
  (`refused`), whether the day is over (`spent`), until when the pool is shut (`available_at`), how often it was found still
  shut on a day without a single answer (`probes`), and the reservation that is trying it just now (`probe`).
- `used`: per pool, UTC day and study the places taken.
- `wants`: per pool and study its weight and what it still wants. It counts for an hour after the study's last sign of
  life, so that a study whose process died holds nothing back from the others.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from research_assets.clock import Clock, midnight, next_midnight
from research_assets.quota.fair_share import StudyDemand, may_reserve
from research_assets.settings import Settings
from research_assets.storage.files import fsync_folder, private_folder

# JOINED: """The quota ledger: pools, UTC days, and places in them taken before anything is sent.
#
# Every process on a data root shares one SQLite file (WAL, flushed at each commit); a reservation is one immediate
# transaction, so all of them together never take more than a pool's cap of a UTC day. When and whether to send is the
# caller's affair, which endpoint belongs to which pool that of `tiktok/`, how studies divide a day that of `shares.py`.
# """


# JOINED: """What is free in the quota's pools now, and who had how much of it today. Looking creates nothing."""


_VERSION = 1
_APPLICATION = 0x52415154
_LOCK_TIMEOUT_SECONDS = 60.0
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, entity TEXT NOT NULL,
    unit TEXT NOT NULL, endpoint TEXT NOT NULL, sent_at TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0,
    status INTEGER, code TEXT, rows INTEGER, latency REAL, log_id TEXT
) STRICT;
CREATE INDEX requests_by_day ON requests (day);
CREATE TABLE days (
    pool TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, answered INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0, spent INTEGER NOT NULL DEFAULT 0, available_at TEXT,
    probes INTEGER NOT NULL DEFAULT 0, probe INTEGER, PRIMARY KEY (pool, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE used (
    pool TEXT NOT NULL, day TEXT NOT NULL, study TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (pool, day, study)
) STRICT, WITHOUT ROWID;
CREATE TABLE wants (
    pool TEXT NOT NULL, study TEXT NOT NULL, weight REAL NOT NULL, units INTEGER NOT NULL, seen_at TEXT NOT NULL,
    PRIMARY KEY (pool, study)
) STRICT, WITHOUT ROWID;
"""


class LedgerError(Exception):
    """The ledger cannot be used. No place was taken and nothing may be sent."""


class LedgerFile:
    """The ledger at a path, created when first used. One connection per process, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner = os.getpid()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer is in; durable when the block has ended, undone if it raises.

        With `durable=False` the next durable one makes it so: until then a power loss, but no crash, may undo it.
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
        """The connection, for as long as the block runs. Raises LedgerError for whatever is wrong with the file."""
        if self._owner != os.getpid():
            # A forked child must neither use nor close what it inherited: the locks behind it are the parent's.
            _inherited.append(self._connection)
            self._guard, self._connection, self._owner = threading.Lock(), None, os.getpid()
        with self._guard:
            try:
                if self._connection is None:
                    self._connection = _open(self.path)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(_error_message(self.path, error)) from error

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._owner == os.getpid():
            with self._guard:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None


_inherited: list[sqlite3.Connection | None] = []


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        kind, held = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if kind != _APPLICATION:
            raise sqlite3.DatabaseError("it is no quota ledger")
        if held > _VERSION:
            raise LedgerError(
                f"The quota ledger {path} was written by a newer version of this project (format {held}, this one "
                f"knows {_VERSION}). Nothing was changed. Update the project, or use another data folder."
            )
    except BaseException:
        db.close()
        raise
    return db


def _create(path: Path) -> None:
    """Make a whole ledger beside the path and link it there: of several processes, one wins and nobody sees half."""
    private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    db = sqlite3.connect(draft)
    try:
        db.executescript(_SCHEMA)
        db.close()
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
        fsync_folder(path.parent)
    finally:
        db.close()
        for leftover in (draft, draft.with_name(f"{draft.name}-wal"), draft.with_name(f"{draft.name}-shm")):
            leftover.unlink(missing_ok=True)


def _error_message(path: Path, error: Exception) -> str:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and "locked" in text:
        why, advice = (
            text,
            f"Another process has held it for {_LOCK_TIMEOUT_SECONDS:.0f} seconds: end that process, then try again.",
        )
    elif isinstance(error, (OSError, sqlite3.OperationalError)):
        why, advice = text, "Make its folder writable and its disk not full, or set RESEARCH_DATA to another folder."
    else:
        why = f"it is damaged ({text})"
        advice = (
            f"It was left as it is. Move it aside (mv {path} {path}.damaged, likewise its -wal and -shm files) and "
            "start again: a new ledger counts today's requests from 0, so the API may refuse before the cap is "
            "reached, and that is obeyed. Rows of the old one can be saved with sqlite3's .recover."
        )
    return f"The quota ledger {path} cannot be used: {why}. No request was sent. {advice}"


QuotaReason = Literal["cap", "api_refused", "not_reset", "reserved", "fair_share"]

DEMAND_TTL = timedelta(hours=1)
"""How long a study's want counts after its last sign of life."""
MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL = timedelta(minutes=15), timedelta(hours=4)
"""The first and the longest pause between tries of a pool that was not restored at midnight."""

_STATUSES_BEFORE_QUOTA_CHECK = (401, 429)
"""Answers that may be given before the quota is looked at, so they do not show that there is any."""


class QuotaExhausted(Exception):
    """No place is free for this caller now.

    `reason`: `cap` (all places of the day are taken), `api_refused` (the API says that the day's quota is used up, by
    colleagues perhaps), `not_reset` (refused since midnight; it is tried now and then), `reserved` (what is left is kept
    for what is due today), `fair_share` (what is left is other studies' share). It is worth asking again at `available_at`.
    """

    def __init__(self, pool: str, cap: int, used: int, available_at: datetime, reason: QuotaReason) -> None:
        why = {
            "cap": f"all {cap} requests of the day are taken",
            "api_refused": f"the API says that the day's quota is used up ({used} of {cap} were counted here)",
            "not_reset": "the API has refused every request since midnight, so it is tried only now and then",
            "reserved": f"the {cap - used} requests that are left are kept for what is due today",
            "fair_share": f"the {cap - used} requests that are left are the share of other studies",
        }[reason]
        super().__init__(
            f"No request of the pool {pool} can be sent now: {why}. Nothing was sent. "
            f"Go on at {available_at:%Y-%m-%d %H:%M} UTC."
        )
        self.pool, self.cap, self.used, self.retry_at, self.reason = pool, cap, used, available_at, reason


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool at one moment, in requests. `left` is 0 while it is shut; `available_at` (UTC) is None while it is open."""

    pool: str
    day: date
    cap: int
    used: int
    remaining: int
    n_refused_by_api: int
    available_at: datetime | None


class Ledger:
    """The ledger at a path, created when first used. Safe to share between threads, and across a fork.

    `caps` are the requests a UTC day by pool; `due_reserve` of the pool `research` are kept from work that is not due.
    """

    def __init__(self, path: Path, caps: Mapping[str, int], clock: Clock, *, due_reserve: int = 0) -> None:
        self.path, self.caps, self._clock, self._due_reserve = path, dict(caps), clock, due_reserve
        self._file = LedgerFile(path)

    def reserve(self, pool: str, *, study: str, entity: str, unit: str, endpoint: str, due: bool = True) -> int:
        """Take one place of today in a pool, durably; returns its number for `settle`.

        Raises QuotaSpent if there is none for this caller, LedgerError if the ledger cannot be used.
        """
        cap = self._cap(pool)
        with self._file.transaction() as db:
            now = self._now()
            today = now.date().isoformat()
            day = _day_row(db, pool, today)
            trying = self._check(db, pool, cap, day, now, study, due)
            (number,) = db.execute(
                "INSERT INTO requests (pool, day, study, entity, unit, endpoint, sent_at) VALUES (?,?,?,?,?,?,?) "
                "RETURNING id",
                (pool, today, study, entity, unit, endpoint, now.isoformat()),
            ).fetchone()
            db.execute("UPDATE days SET used = used + 1 WHERE pool = ? AND day = ?", (pool, today))
            db.execute("INSERT INTO used VALUES (?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1", (pool, today, study))
            db.execute(
                "UPDATE wants SET units = max(0, units - 1), seen_at = ? WHERE pool = ? AND study = ?",
                (now.isoformat(), pool, study),
            )
            if trying:
                # One try at a time: the others wait for its answer, or for its place to lapse if its process dies.
                db.execute(
                    "UPDATE days SET probe = ?, available_at = ? WHERE pool = ? AND day = ?",
                    (number, (now + _probe_interval(day["probes"])).isoformat(), pool, today),
                )
            return int(number)

    def _check(
        self, db: sqlite3.Connection, pool: str, cap: int, day: sqlite3.Row, now: datetime, study: str, due: bool
    ) -> bool:
        """Raise QuotaSpent if there is no place; whether the place is to try a pool that was shut since midnight."""
        tomorrow, used = next_midnight(now), day["used"]
        available_at = _parse_time(day["available_at"])
        if available_at and now < available_at:
            raise QuotaExhausted(pool, cap, used, available_at, "api_refused" if day["spent"] else "not_reset")
        if used >= cap:
            raise QuotaExhausted(pool, cap, used, tomorrow, "cap")
        if not due and pool == "research" and cap - used <= self._due_reserve:
            raise QuotaExhausted(pool, cap, used, tomorrow, "reserved")
        claims, lapse = _study_demands(db, pool, now, study)
        if any(claim.requested for name, claim in claims.items() if name != study) and not may_reserve(
            study, cap, claims
        ):
            raise QuotaExhausted(pool, cap, used, min(lapse, tomorrow), "fair_share")
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
        """Put on record what became of a reservation; `latency` is in seconds. A second time changes nothing.

        With `sent=False` its place is free again: only for a request that certainly never left this machine.
        """
        # What a power loss undoes here stays a place taken: it costs a request at worst, never the cap.
        with self._file.transaction(durable=False) as db:
            held = db.execute(
                "UPDATE requests SET settled = 1, status = ?, code = ?, rows = ?, latency = ?, log_id = ? "
                "WHERE id = ? AND settled = 0 RETURNING pool, day, study",
                (status, code, rows, latency, log_id, reservation),
            ).fetchone()
            if held is None:
                return
            where = (held["pool"], held["day"])
            if not sent:
                db.execute("UPDATE days SET used = used - 1 WHERE pool = ? AND day = ?", where)
                db.execute(
                    "UPDATE used SET n = n - 1 WHERE pool = ? AND day = ? AND study = ?", (*where, held["study"])
                )
            elif status is not None and status < 500 and status not in _STATUSES_BEFORE_QUOTA_CHECK:
                db.execute("UPDATE days SET answered = answered + 1 WHERE pool = ? AND day = ?", where)
                db.execute(
                    "UPDATE days SET probe = NULL, available_at = NULL WHERE pool = ? AND day = ? AND probe = ?",
                    (*where, reservation),
                )
            # A try that ended without a verdict: the next one may follow at once.
            db.execute(
                "UPDATE days SET probe = NULL, available_at = ? WHERE pool = ? AND day = ? AND probe = ?",
                (self._now().isoformat(), *where, reservation),
            )

    def mark_exhausted(self, pool: str, reservation: int | None = None) -> datetime:
        """The API refused with its daily 429: shut the pool whatever was counted; returns when it opens.

        To be called before the refused request is settled.

        Until 00:00 UTC if the pool had an answer today; otherwise the quota was not restored at midnight, and the pool
        opens for one try after 15, 30, 60 ... minutes, 4 hours at most. `reservation` is the refused request, so that
        a refusal from before midnight does not shut the new day.
        """
        self._cap(pool)
        with self._file.transaction() as db:
            now = self._now()
            asked = db.execute("SELECT day FROM requests WHERE id = ?", (reservation,)).fetchone()
            day = _day_row(db, pool, asked["day"] if asked else now.date().isoformat())
            available_at = _parse_time(day["available_at"])
            end = midnight(date.fromisoformat(day["day"]) + timedelta(days=1))
            over, probes, probe = day["spent"], day["probes"], day["probe"]
            if day["answered"]:
                over, available_at, probe = 1, end, None
            elif available_at is None or now >= available_at or (probe is not None and reservation in (None, probe)):
                probes, probe = probes + 1, None
                available_at = min(now + _probe_interval(probes), end)
            db.execute(
                "UPDATE days SET refused = refused + 1, spent = ?, available_at = ?, probes = ?, probe = ? "
                "WHERE pool = ? AND day = ?",
                (over, available_at.isoformat(), probes, probe, pool, day["day"]),
            )
            return available_at

    def declare_demand(self, study: str, weight: float, units: int, *, pool: str = "research") -> None:
        """Say how many requests a study still wants, from now on; 0 when it is done. Its grants count it down.

        It holds the study's share of the day by `weight` (above 0) against others for an hour after its last
        reservation or call of this.
        """
        self._cap(pool)
        if not 0 < weight < float("inf") or units < 0:
            raise ValueError(f"weight must be above 0 and units not below 0, not {weight} and {units}")
        with self._file.transaction() as db:
            db.execute(
                "INSERT INTO wants VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE "
                "SET weight = excluded.weight, units = excluded.units, seen_at = excluded.seen_at",
                (pool, study, float(weight), units, self._now().isoformat()),
            )

    def pool_state(self, pool: str, now: datetime | None = None) -> PoolState:
        """A pool now, or as it would be at another moment if nothing more were asked until then."""
        cap, now = self._cap(pool), (now or self._now()).astimezone(UTC)
        with self._file.reading() as db:
            day = db.execute("SELECT * FROM days WHERE pool = ? AND day = ?", (pool, now.date().isoformat())).fetchone()
        used, refused = (day["used"], day["refused"]) if day else (0, 0)
        available_at = _parse_time(day["available_at"]) if day else None
        if available_at and now >= available_at:
            available_at = None
        if used >= cap:
            available_at = next_midnight(now)
        return PoolState(pool, now.date(), cap, used, 0 if available_at else cap - used, refused, available_at)

    def used_by_study(self, pool: str) -> dict[str, int]:
        """Requests of today by study."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT study, n FROM used WHERE pool = ? AND day = ?", (pool, self._now().date().isoformat())
            ).fetchall()
        return dict(map(tuple, rows))

    def iter_requests(self, since: date | None = None) -> Iterator[dict[str, Any]]:
        """Reservations of the UTC days from `since`, by day: the columns of `fields.REQUESTS`, `study` and `day`."""
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
        """Let go of the file; the next call opens it again."""
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


def _study_demands(
    db: sqlite3.Connection, pool: str, now: datetime, study: str
) -> tuple[dict[str, StudyDemand], datetime]:
    """What each study had today and wants, and when the last of the others' wants lapses."""
    had = dict(
        db.execute("SELECT study, n FROM used WHERE pool = ? AND day = ?", (pool, now.date().isoformat())).fetchall()
    )
    claims = {name: StudyDemand(1.0, n, 0) for name, n in had.items()}
    lapse = now + DEMAND_TTL
    claims.setdefault(study, StudyDemand(1.0, 0, 0))
    for row in db.execute("SELECT * FROM wants WHERE pool = ?", (pool,)):
        seen_at = datetime.fromisoformat(row["seen_at"])
        # A moment far ahead comes from a clock that was wrong then; it must not hold a share until it is reached.
        if abs(now - seen_at) < DEMAND_TTL:
            claims[row["study"]] = StudyDemand(row["weight"], had.get(row["study"], 0), row["units"])
            if row["study"] != study and row["units"]:
                lapse = min(lapse, seen_at + DEMAND_TTL)
    own = claims[study]
    claims[study] = StudyDemand(own.weight, own.used, max(1, own.requested))
    return claims, lapse


def _probe_interval(probes: int) -> timedelta:
    pause = MIN_PROBE_INTERVAL
    for _ in range(1, probes):
        pause = min(pause * 2, MAX_PROBE_INTERVAL)
    return pause


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def read_pools(settings: Settings, clock: Clock) -> tuple[dict[str, PoolState], dict[str, dict[str, int]]]:
    """Each pool now, and today's requests by pool and study. Where no ledger is, nothing was spent; none is created."""
    if not settings.ledger.exists():
        today = clock.now().date()
        return {pool: PoolState(pool, today, cap, 0, cap, 0, None) for pool, cap in settings.caps.items()}, {}
    ledger = Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
    try:
        return {pool: ledger.pool_state(pool) for pool in settings.caps}, {
            pool: ledger.used_by_study(pool) for pool in settings.caps
        }
    finally:
        ledger.close()

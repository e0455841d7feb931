"""Locks in the PostgreSQL database that several machines share: advisory locks of one session per process.

PostgreSQL releases the locks of a session that ends. A process that dies ends its session at once; the session of a
machine that stops answering ends after `DEAD_HOST_SECONDS`. A process that lives but lost its session, because the
server was restarted or the network failed, takes its locks again if no other process has had one of them meanwhile.
Otherwise LocksLost stops it.

The table `research_assets_locks.locks` names the holder of each lock, and shows whether another process has had it: its
row is written when a lock is taken and deleted when it is released.

Not here: what is locked, and the locks without a database (see locks.py, file_locks.py).
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from research_assets.settings import VARIABLES
from research_assets.storage.database import open_engine
from research_assets.storage.files import private_folder, write_private
from research_assets.storage.lock_errors import OWN_RUN, LockError, LocksLost, LockTaken
from research_assets.storage.sent_by import this_process

DEAD_HOST_SECONDS = 60
"""Seconds after which the server ends the session of a machine that does not answer any more."""

RECONNECT_SECONDS = 30.0
"""Seconds for which a process that lost its session tries to take its locks again."""

_POLL_SECONDS = 0.05

_TABLE = """
CREATE SCHEMA IF NOT EXISTS research_assets_locks;
CREATE TABLE IF NOT EXISTS research_assets_locks.locks
    (name text PRIMARY KEY, key bigint NOT NULL, token text NOT NULL, holder text NOT NULL,
    since timestamptz NOT NULL DEFAULT now())
"""
_SET = """
SELECT set_config(name, value, false) FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS new (name, value)
WHERE name IN (SELECT name FROM pg_settings) -- not all versions have all of them
"""
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND application_name = :application
"""
_RECORD = """
INSERT INTO research_assets_locks.locks (name, key, token, holder)
SELECT name, key, :token, :holder FROM unnest(CAST(:names AS text[]), CAST(:keys AS bigint[])) AS new (name, key)
ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder, since = now()
"""
_OWN = "SELECT name FROM research_assets_locks.locks WHERE name = ANY(CAST(:names AS text[])) AND token = :token"
_FORGET = "DELETE FROM research_assets_locks.locks WHERE name = ANY(CAST(:names AS text[])) AND token = :token"
_HOLDERS = """
SELECT name, holder, since FROM research_assets_locks.locks
WHERE starts_with(name, :prefix) AND key IN ( -- the row of a process that was killed stays
    SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
ORDER BY name
"""

Result = TypeVar("Result")


@dataclass(slots=True)
class _Held:
    """A lock of this process. A shared lock may be held several times."""

    is_shared: bool
    is_recorded: bool
    count: int = 1


class LockDatabase:
    """The locks of this process in a database. They are kept in one session; the methods are thread-safe.

    Locks have names, and PostgreSQL's locks are numbers, to which the names are hashed (64 bits). Two names with the
    same number exclude each other although they need not, but only while one of them is held by another process: a
    process may hold both. Among 100,000 locks that are held at the same time, the probability that any two have the
    same number is 3 in 10,000,000,000.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_engine(url)
        self._address = f"{self._engine.url.host}:{self._engine.url.port or 5432}"
        self._owner = os.getpid()
        self._mutex = threading.RLock()
        self._token = secrets.token_hex(16)
        self._application = f"research-assets locks {self._token[:8]}"
        self._session: Connection | None = None
        self._backend = 0
        self._held: dict[str, _Held] = {}
        self._lost = ""
        self._folder_ids: dict[Path, str] = {}

    def try_lock(self, names: Sequence[str], *, shared: Collection[str] = (), is_recorded: bool = True) -> None:
        """Lock names, those in `shared` together with other holders of shared locks: all or none.

        Raises LockTaken at once if one is taken, LocksLost if the locks that this process has were lost, and LockError
        if the database cannot be used. With `is_recorded`, others are shown who has the lock.
        """
        with self._mutex:
            for name in names:
                held = self._held.get(name)
                if held is not None and not (held.is_shared and name in shared):
                    raise LockTaken(name, OWN_RUN)
            new = [name for name in names if name not in self._held]
            self._run(lambda db: self._take(db, new, shared, is_recorded=is_recorded))
            for name in names:
                if name in self._held:
                    self._held[name].count += 1
                else:
                    self._held[name] = _Held(name in shared, is_recorded and name not in shared)

    def lock(self, name: str, *, is_recorded: bool = False) -> None:
        """Lock a name; wait until it is free. Raises LocksLost and LockError."""
        while True:
            try:
                # A waiting session would block the other threads of this process, one of which may have the lock.
                self.try_lock([name], is_recorded=is_recorded)
            except LockTaken:
                time.sleep(_POLL_SECONDS)
            else:
                return

    def unlock(self, names: Sequence[str]) -> None:
        """Release locks. A forked child that leaves the block of its parent releases nothing."""
        if self._owner != os.getpid():
            return
        with self._mutex:
            released: dict[str, _Held] = {}
            for name in names:
                self._held[name].count -= 1
                if not self._held[name].count:
                    released[name] = self._held.pop(name)
            if self._session is not None and released:
                try:
                    if recorded := [name for name, lock in released.items() if lock.is_recorded]:
                        self._session.execute(text(_FORGET), {"names": recorded, "token": self._token})
                    self._unlock_all(self._session, released)
                except DBAPIError:
                    # The session has ended, and its locks with it. The next use takes the others again.
                    self._close()
            if not self._held:
                self._lost = ""

    def is_locked(self, name: str) -> bool:
        """Return whether a process has a lock. A holder that lost it can still take it again."""
        try:
            self.try_lock([name], is_recorded=False)
        except LockTaken:
            return True
        self.unlock([name])
        return False

    def check(self) -> None:
        """Raise LocksLost unless this process still has all its locks; takes them again if that is possible."""
        with self._mutex:
            if self._held:
                self._run(lambda db: db.execute(text("SELECT 1")))

    def holders(self, prefix: str) -> dict[str, str]:
        """Return the recorded holders of the locks whose names begin with a text, by name."""
        with self._mutex:
            rows = self._run(lambda db: db.execute(text(_HOLDERS), {"prefix": prefix}).all())
        return {row.name: _describe(row.holder, row.since) for row in rows}

    def folder_id(self, path: Path) -> str:
        """Return the identity of a data folder from its file, which is created at first use.

        The machines may mount the folder at different paths. A copy of the folder has the same identity, until this
        file of it is deleted.
        """
        if path not in self._folder_ids:
            self._folder_ids[path] = _read_id(path) or self._create_id(path)
        return self._folder_ids[path]

    def _create_id(self, path: Path) -> str:
        self.lock(path.name)
        try:
            private_folder(path.parent)
            try:
                # The file server decides who creates it: this machine may not see a new file at once.
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                if stored := _read_id(path):
                    return stored
                # A process was killed right here.
            identity = secrets.token_hex(8)
            write_private(path, f"{identity}\n".encode())
            return identity
        finally:
            self.unlock([path.name])

    def _run(self, act: Callable[[Connection], Result]) -> Result:
        """Call `act` with the session; if that was lost, take the locks again and repeat the call."""
        if self._lost:
            raise LocksLost(self._lost)
        try:
            if self._session is None:
                self._connect()
            assert self._session is not None
            try:
                return act(self._session)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._close()
                self._connect()
                return act(self._session)
        except SQLAlchemyError as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
            raise LockError(
                f"The locks in the database at {self._address} cannot be used: {reason}. Nothing was changed. Check "
                f"that the server runs and that {VARIABLES['ledger_url'].name} names it, then start again."
            ) from error

    def _connect(self) -> None:
        """Open the session. If this process has locks, they are taken again; raises LocksLost if that is impossible."""
        if not self._held:
            self._session = self._open()
            return
        deadline, reason = time.monotonic() + RECONNECT_SECONDS, ""
        while True:
            try:
                if self._session is None:
                    self._session = self._open()
                if self._regain(self._session):
                    return
                reason = "the server has not ended the lost session yet"
            except DBAPIError as error:
                self._close()
                reason = str(error.orig).strip().splitlines()[0]
            except LockTaken as error:
                reason = f"{error.holder} has taken over this work"
                break
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS * 4)
        self._close()
        self._lost = (
            f"The connection to the locks in the database at {self._address} was lost, and the locks could not be "
            f"taken again: {reason}. All pages that this process received are stored. No action is needed if another "
            "process continues the work; otherwise start it again: it resumes after the last stored page."
        )
        raise LocksLost(self._lost)

    def _open(self) -> Connection:
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            names, values = zip(*_session_settings(self._application).items(), strict=True)
            session.execute(text(_SET), {"names": list(names), "values": list(values)})
            if session.execute(text("SELECT to_regclass('research_assets_locks.locks')")).scalar() is None:
                with_key = {"key": _key("research_assets_locks")}
                session.execute(text("SELECT pg_advisory_lock(:key)"), with_key)
                session.execute(text(_TABLE))
                session.execute(text("SELECT pg_advisory_unlock(:key)"), with_key)
            if self._backend:
                # After a network failure the server may not have noticed the end of the old session.
                session.execute(text(_TERMINATE), {"pid": self._backend, "application": self._application})
            self._backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        except BaseException:
            session.close()
            raise
        return session

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(SQLAlchemyError):
                session.invalidate()
                session.close()
        self._engine.dispose()

    def _take(self, db: Connection, names: Sequence[str], shared: Collection[str], *, is_recorded: bool) -> None:
        """Lock names in their order, so that of two processes with common names one gets all. Raises LockTaken."""
        locks = {name: _Held(name in shared, is_recorded and name not in shared) for name in names}
        if (taken := self._try_all(db, locks)) is not None:
            raise LockTaken(taken, self._holder_of(db, taken))
        if recorded := [name for name, lock in locks.items() if lock.is_recorded]:
            db.execute(
                text(_RECORD),
                {
                    "names": recorded,
                    "keys": [_key(name) for name in recorded],
                    "token": self._token,
                    "holder": _holder(),
                },
            )

    def _regain(self, db: Connection) -> bool:
        """Take all locks in a new session; return False if the lost session may still have one.

        Raises LockTaken if another process has, or had, one of them.
        """
        failed = self._try_all(db, dict(sorted(self._held.items())))
        recorded = {name for name, lock in self._held.items() if lock.is_recorded}
        own = set(db.execute(text(_OWN), {"names": list(recorded), "token": self._token}).scalars())
        if others := sorted(recorded - own):
            raise LockTaken(others[0], self._holder_of(db, others[0]))
        return failed is None

    def _try_all(self, db: Connection, locks: Mapping[str, _Held]) -> str | None:
        """Take all locks or none; return the name of the first that is taken, None if none is."""
        done: dict[str, _Held] = {}
        for name, lock in locks.items():
            function = "pg_try_advisory_lock_shared" if lock.is_shared else "pg_try_advisory_lock"
            if not db.execute(text(f"SELECT {function}(:key)"), {"key": _key(name)}).scalar():
                self._unlock_all(db, done)
                return name
            done[name] = lock
        return None

    def _unlock_all(self, db: Connection, locks: Mapping[str, _Held]) -> None:
        for name, lock in locks.items():
            function = "pg_advisory_unlock_shared" if lock.is_shared else "pg_advisory_unlock"
            db.execute(text(f"SELECT {function}(:key)"), {"key": _key(name)})

    def _holder_of(self, db: Connection, name: str) -> str:
        rows = db.execute(text(_HOLDERS), {"prefix": name}).all()
        return next((_describe(row.holder, row.since) for row in rows if row.name == name), "another process")


_databases: dict[tuple[int, str], LockDatabase] = {}
"""Databases by process and address; a forked child has its own session, and the reference keeps that of its parent."""

_table_lock = threading.Lock()


def lock_database(url: str) -> LockDatabase:
    """Return the locks of this process in a database."""
    with _table_lock:
        key = (os.getpid(), url)
        if key not in _databases:
            _databases[key] = LockDatabase(url)
        return _databases[key]


def _session_settings(application: str) -> dict[str, str]:
    """Return the settings of a session. The server ends it if the machine does not answer for `DEAD_HOST_SECONDS`."""
    return {
        "application_name": application,
        # The first probe is sent a third of the time after the last message.
        "tcp_keepalives_idle": str(DEAD_HOST_SECONDS // 3),
        "tcp_keepalives_interval": str(DEAD_HOST_SECONDS // 6),
        "tcp_keepalives_count": "4",
        "tcp_user_timeout": str(DEAD_HOST_SECONDS * 1000 * 5 // 6),
        # A run may be silent for a long time, for example while it waits for the API.
        "idle_session_timeout": "0",
        # A row that the server forgets in a crash would look like a lock that another process had.
        "synchronous_commit": "on",
    }


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), signed=True)


def _holder() -> str:
    """Return the user, the host and the id of this process."""
    return f"{this_process().user} on {this_process().host} (process {os.getpid()})"


def _describe(holder: str, since: datetime) -> str:
    return f"{holder} since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _read_id(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""

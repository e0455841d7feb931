"""The file of the quota ledger: its tables, how it is made, opened and shared. `quota.py` knows what they mean.

Tables, moments as ISO 8601 text in UTC:

- `requests`: one row per reservation, completed by `settle`. Nothing is ever deleted here.
- `days`: per pool and UTC day the places taken (`used`), answers that prove the quota alive (`answered`), daily 429s
  (`refused`), whether the day is over (`spent`), until when the pool is shut (`opens_at`), how often it was found still
  shut on a day without a single answer (`probes`), and the reservation that is trying it just now (`probe`).
- `used`: per pool, UTC day and study the places taken.
- `wants`: per pool and study its weight and what it still wants. It counts for an hour after the study's last sign of
  life, so that a study whose process died holds nothing back from the others.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from research_assets.files import fsync_folder, private_folder

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
    refused INTEGER NOT NULL DEFAULT 0, spent INTEGER NOT NULL DEFAULT 0, opens_at TEXT,
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

"""The quota ledger in a PostgreSQL database, which collectors on several machines share (`RESEARCH_LEDGER`).

The tables are in a schema of their own. The server keeps what was committed: its log is flushed at each commit and has
checksums, and its pages have them in a cluster that was created with `initdb --data-checksums`. Therefore rows have no
checksums of their own here, as they have in the SQLite file. The counters are compared as they are there.

The row of a pool and day is locked until the end of each transaction that reserves or releases a request of it. No
transaction locks two such rows, and none waits for a request while it has locked a day, so there is no deadlock.

Not here: the tables (see tables.py), the operations (see ledger.py), the connection (see storage/database.py).
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Row, Select, Table, func, make_url, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from research_assets.quota.ledger_database import DamagedLedger, LedgerError, LedgerUnreachable
from research_assets.quota.tables import (
    APPLICATION,
    METADATA,
    REQUESTS,
    VERSION,
    verify_counters,
    verify_request_counts,
)
from research_assets.storage.database import MissingDriver, open_engine

_MARK = "Quota ledger of research-assets, version "
"""Beginning of the comment of the schema; the version of the tables follows."""

_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET lock_timeout = '60s';
SET idle_in_transaction_session_timeout = '30s';
"""
"""Further settings of each connection. A reservation must be durable before its request is sent. The server ends the
transaction of a machine that died or was suspended, because the others wait for its lock."""

_UNREACHABLE = re.compile("08...|53...|55P03|25P0[34]|40...|57P0.")
"""Error codes after which the same operation may succeed later: connection, resources, locks, shutdown, start."""

_WRONG_ADDRESS = re.compile("authentication failed|does not exist|no pg_hba.conf entry|invalid|could not translate")
"""Errors of a connection that last until a person changes the address or the server. They have no code."""

_HOST_AND_DATABASE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?/[^/:]+")
"""The part of an address that is no secret. In an address with an error, a password may be in the place of the port."""

_ADVICE = {
    "42501": "Grant the user of RESEARCH_LEDGER the rights that docs/quota.md names.",
    "25006": "It accepts no changes: set RESEARCH_LEDGER to the primary server.",
}
"""Advice by error code of PostgreSQL."""


class PostgresLedger:
    """A ledger in a schema of a PostgreSQL database, created at its first use.

    The address is a secret, because it may contain a password. No message and no `repr` contains it.
    """

    def __init__(self, url: str, schema: str = "research_assets") -> None:
        self._url, self._schema = url, schema
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._is_checked = False
        self._owner = os.getpid()

    @property
    def place(self) -> str:
        """Return the address without user, password and options."""
        return place_of(self._url)

    def exists(self) -> bool:
        """Return whether the ledger was created."""
        with self._errors(), self._connected().connect() as db:
            return self._version(db) is not None

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:  # noqa: ARG002  All commits are durable.
        """Run the block as a transaction: committed durably at its end, rolled back if it raises."""
        with self._errors(), self._opened().begin() as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for the block. Raises LedgerError if the database cannot be used."""
        with self._errors(), self._opened().connect() as db:
            yield db

    def select(self, table: Table) -> Select[Any]:
        """Return a query of all columns of a table."""
        return select(table)

    def verified(self, table: Table, row: Row[Any]) -> Row[Any]:  # noqa: ARG002  The server has verified it.
        """Return the row."""
        return row

    def insert_if_missing(self, table: Table) -> Insert:
        """Return a statement that inserts a row unless there is one with its key."""
        return postgresql.insert(table).on_conflict_do_nothing()

    def verify(self) -> None:
        """Raise LedgerError unless the three tables count the same requests."""
        with self.reading() as db:
            verify_counters(db)
            verify_request_counts(db, "")

    def compact(self) -> None:
        """Write the requests again without the old versions of changed rows. The server's log and backups keep them."""
        table = f"{self._schema}.{REQUESTS.name}"
        with self.reading() as db:
            db = db.execution_options(isolation_level="AUTOCOMMIT")
            owner = text(
                "SELECT relowner::regrole::text, pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = :oid"
            )
            name, is_ours = db.execute(owner, {"oid": db.scalar(text(f"SELECT '{table}'::regclass::oid"))}).one()
            if not is_ours:
                # The server would skip the table with a warning alone.
                raise self._error(
                    "only the owner of its tables can overwrite the old names of units in the unused space",
                    f"Repeat the command as the user {name}.",
                )
            db.execute(text(f"VACUUM FULL {table}"))

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        with self._lock:
            self._is_checked = False
            if self._engine is not None:
                # A forked child must not close the inherited connections: they belong to the parent.
                self._engine.dispose(close=self._owner == os.getpid())

    def _connected(self) -> Engine:
        if self._owner != os.getpid():
            self._lock = threading.Lock()
            self.close()
            self._owner = os.getpid()
        with self._lock:
            if self._engine is None:
                self._engine = self._new_engine()
            return self._engine

    def _new_engine(self) -> Engine:
        try:
            engine = open_engine(self._url, _SESSION)
        except (ArgumentError, ValueError):
            # The cause is not shown, because it may quote the address.
            raise self._error("its address is invalid", "Correct RESEARCH_LEDGER.") from None
        except MissingDriver as error:
            raise LedgerError(str(error)) from None
        return engine.execution_options(schema_translate_map={None: self._schema})

    def _opened(self) -> Engine:
        """Return the engine of a ledger that exists and that this version can use."""
        engine = self._connected()
        if not self._is_checked:
            with engine.begin() as db:
                encoding = db.execute(text("SHOW server_encoding")).scalar_one()
                if encoding != "UTF8":
                    advice = "Create one with: createdb -E UTF8 --locale=C -T template0, and set RESEARCH_LEDGER to it."
                    raise self._error(f"the database stores text as {encoding} and must store it as UTF8", advice)
                if self._version(db) is None:
                    self._create(db)
                verify_counters(db)
            self._is_checked = True
        return engine

    def _version(self, db: Connection) -> int | None:
        """Return the version of the ledger; None if there is none. Raises LedgerError unless it can be used."""
        query = text("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = :name")
        comment = db.execute(query, {"name": self._schema}).scalar_one_or_none()
        if comment is None:
            return None
        version = comment.removeprefix(_MARK)
        if version == comment or not version.isdecimal():
            raise LedgerError(
                f"The schema {self._schema} of {self.place} contains no quota ledger. No request was sent and nothing "
                "was changed. Set RESEARCH_LEDGER to another database."
            )
        if int(version) > VERSION:
            raise LedgerError(
                f"The quota ledger {self.place} was written by a newer version of this project (format {version}; this "
                f"version supports {VERSION}). Nothing was changed. Update the project on this machine."
            )
        return int(version)

    def _create(self, db: Connection) -> None:
        """Create schema and tables, unless another process has just done so."""
        db.execute(select(func.pg_advisory_xact_lock(APPLICATION)))
        if self._version(db) is None:
            db.execute(CreateSchema(self._schema, if_not_exists=True))
            METADATA.create_all(db)
            db.execute(text(f"COMMENT ON SCHEMA {self._schema} IS '{_MARK}{VERSION}'"))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise LedgerError for the errors of the block, with what to do and without the password."""
        try:
            yield
        except DamagedLedger as error:
            advice = (
                "It was not changed. Restore it from a backup of today, or correct the counts: the table requests has "
                "one row for each request."
            )
            raise LedgerError(self._message(f"it is damaged ({error})", advice), is_damage=True) from error
        except DBAPIError as error:
            raise self._database_error(error) from error
        except SQLAlchemyError as error:
            raise LedgerUnreachable(self._message(str(error), "Try again.")) from error

    def _database_error(self, error: DBAPIError) -> LedgerError:
        reason = self._without_password(" ".join(str(error.orig).split()))
        code = getattr(error.orig, "pgcode", None)
        is_lost = error.connection_invalidated or (
            code is None and isinstance(error, OperationalError | InterfaceError)
        )
        if code is None and _WRONG_ADDRESS.search(reason):
            return self._error(reason, "Correct RESEARCH_LEDGER, or let the administrator of the server admit it.")
        if is_lost or _UNREACHABLE.fullmatch(code or ""):
            advice = "Check that the server runs and that this machine reaches it, then try again."
            return LedgerUnreachable(self._message(reason, advice))
        return self._error(reason, _ADVICE.get(code or "", "Check the log of the server."))

    def _error(self, reason: str, advice: str) -> LedgerError:
        return LedgerError(self._message(reason, advice))

    def _message(self, reason: str, advice: str) -> str:
        return f"The quota ledger {self.place} cannot be used: {reason.rstrip('.?')}. No request was sent. {advice}"

    def _without_password(self, message: str) -> str:
        url = make_url(self._url)
        secrets = (url.password, *(value for name, value in url.query.items() if "pass" in name))
        for secret in secrets:
            if isinstance(secret, str) and secret:
                message = message.replace(secret, "***")
        return message


def place_of(url: str) -> str:
    """Return the address of a database without user, password and options, such as `postgresql://host:5432/lab`."""
    found = _HOST_AND_DATABASE.fullmatch(url.partition("?")[0].partition("://")[2].rpartition("@")[2])
    return f"postgresql://{found[0]}" if found else "of RESEARCH_LEDGER"

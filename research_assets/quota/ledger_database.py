"""The contract between the quota ledger and the database that stores it, and the errors of both.

Not here: the databases (see sqlite_ledger.py and postgres_ledger.py), the operations (see ledger.py).
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Insert, Row, Select, Table


class LedgerError(Exception):
    """The ledger cannot be used. Nothing was reserved, so no request may be sent.

    `is_damage`: because its content is not what was written. Otherwise it cannot be reached, read or written now.
    """

    def __init__(self, message: str, *, is_damage: bool = False) -> None:
        super().__init__(message)
        self.is_damage = is_damage


class LedgerUnreachable(LedgerError):
    """The database of the ledger does not answer now. The operation may succeed later."""


class DamagedLedger(Exception):
    """The content of the ledger is not what was written."""


class LedgerDatabase(Protocol):
    """A database with the tables of the ledger, which it creates at its first use.

    All methods raise LedgerError if it cannot be used.
    """

    @property
    def place(self) -> str:
        """Return where the ledger is, for messages; without a password."""

    def exists(self) -> bool:
        """Return whether the ledger was created."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """Run the block as a write transaction: committed durably at its end, rolled back if it raises.

        With `durable=False` a power failure may undo the transaction until the next durable one.
        """

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a connection for the block, which changes nothing."""

    def select(self, table: Table) -> Select[Any]:
        """Return a query of all columns of a table, first in its rows, and of what `verified` needs."""

    def verified(self, table: Table, row: Row[Any]) -> Row[Any]:
        """Return a row of `select`. Raises DamagedLedger if it is not what was written."""

    def insert_if_missing(self, table: Table) -> Insert:
        """Return a statement that inserts a row unless there is one with its key."""

    def verify(self) -> None:
        """Raise LedgerError unless all of the ledger is what was written, as far as the database can tell."""

    def compact(self) -> None:
        """Overwrite the old versions of changed rows."""

    def close(self) -> None:
        """Close all connections; the next use opens them again."""

"""The PostgreSQL database of the quota ledger and the locks, which several machines share (`RESEARCH_LEDGER`).

Not here: the tables of the ledger (see quota/), the locks (see locks.py).
"""

from typing import Any

from sqlalchemy import Engine, create_engine, event

_CONNECT_TIMEOUT_SECONDS = 10

_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}
"""Options of libpq, so that a connection to a server that vanished fails after 30 seconds and not after hours."""

_SESSION = "SET default_transaction_isolation = 'read committed'; SET statement_timeout = 0"
"""Settings of each connection, because a server, a database or a role may have other defaults. A transaction that
waited for a row must see what the one before it wrote there, and waiting is limited by other means."""


class MissingDriver(Exception):
    """The driver of PostgreSQL is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "RESEARCH_LEDGER names a PostgreSQL database, but its driver is not installed. No request was sent. "
            "Install it with: pip install 'research-assets[postgres]'"
        )


def open_engine(url: str, settings: str = "") -> Engine:
    """Return an engine for a database; it connects at its first use. Raises MissingDriver.

    `settings` are further SQL statements that set up each connection.

    Connections that the server has closed, for example because it was restarted, are replaced when they are taken from
    the pool.
    """
    try:
        engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg2://", 1),
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
                "application_name": "research-assets",
                **_KEEPALIVE,
            },
            pool_pre_ping=True,
            # Errors would quote them.
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise MissingDriver from error

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"{_SESSION};{settings}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine

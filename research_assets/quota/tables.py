"""The tables of the quota ledger, and the comparison of their counters.

Times are ISO 8601 text in UTC, days the same of a UTC day.

- `requests`: one row per reservation, completed by `Ledger.settle`. Rows are never deleted. `settled` is 0 until then,
  1 for a request that was sent, and 2 for one that was not sent and was released. `sent_by` and `host` are the user and
  the machine; no raw table, mart, report or export contains them. `run` is the run whose budget the request was taken
  from; null without a budget and for a request that was not sent.
- `days`: per pool and UTC day the reserved requests (`used`), the responses that prove that the quota works
  (`answered`), the daily 429s (`n_refused_by_api`), whether the API reported the day as used up (`exhausted`), the time
  until which the pool is closed (`available_at`), the number of failed probes on a day without a response (`probes`),
  and the reservation that is the current probe (`probe`).
- `used`: per pool, UTC day and study the reserved requests.

The requests of a day are counted in all three tables, so that each shows what is missing in another.

Not here: where the tables are stored (see sqlite_ledger.py and postgres_ledger.py).
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Connection,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.types import TypeEngine

from research_assets.quota.ledger_database import DamagedLedger

VERSION = 1
"""Version of the tables."""

APPLICATION = 0x52415154
"""Number that marks what belongs to a quota ledger."""

METADATA = MetaData()

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_SECONDS: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


REQUESTS = Table(
    "requests",
    METADATA,
    # Unlike a sequence, an identity needs no right of its own for those who insert.
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("pool", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("study", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("sent_at", Text, nullable=False),
    Column("sent_by", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("run", Text),
    _count("settled"),
    Column("status", Integer),
    Column("code", Text),
    Column("rows", _NUMBER),
    Column("latency", _SECONDS),
    Column("log_id", Text),
    Index("requests_by_day", "day"),
    sqlite_strict=True,
)
Index(
    "requests_by_run",
    REQUESTS.c.run,
    sqlite_where=REQUESTS.c.run.is_not(None),
    postgresql_where=REQUESTS.c.run.is_not(None),
)

DAYS = Table(
    "days",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    _count("used"),
    _count("answered"),
    _count("n_refused_by_api"),
    _count("exhausted"),
    Column("available_at", Text),
    _count("probes"),
    Column("probe", _NUMBER),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

USED = Table(
    "used",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("study", Text, primary_key=True),
    Column("n", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


def _differing(rows: Select[Any]) -> Select[Any]:
    """Return a query of a day whose number in `DAYS` is not the sum of those in `rows` (pool, day, n)."""
    counted = select(DAYS.c.pool, DAYS.c.day, DAYS.c.used, literal(0).label("n"))
    listed = rows.subquery()
    both = union_all(counted, select(listed.c.pool, listed.c.day, literal(0), listed.c.n)).subquery()
    return (
        select(both.c.pool, both.c.day, func.sum(both.c.used), func.sum(both.c.n))
        .where(both.c.day >= bindparam("since"))
        .group_by(both.c.pool, both.c.day)
        .having(func.sum(both.c.used) != func.sum(both.c.n))
        .limit(1)
    )


_DIFFERING_STUDIES = _differing(select(USED.c.pool, USED.c.day, USED.c.n))
_DIFFERING_REQUESTS = _differing(
    select(REQUESTS.c.pool, REQUESTS.c.day, literal(1).label("n")).where(REQUESTS.c.settled != 2)
)


def verify_counters(db: Connection) -> None:
    """Raise DamagedLedger unless the studies and the days count the same requests."""
    _compare(db, _DIFFERING_STUDIES, "")


def verify_request_counts(db: Connection, since: str) -> None:
    """Raise DamagedLedger unless each day since a UTC day counts as many requests as it has."""
    _compare(db, _DIFFERING_REQUESTS, since)


def _compare(db: Connection, query: Select[Any], since: str) -> None:
    differing = db.execute(query, {"since": since}).one_or_none()
    if differing is not None:
        raise DamagedLedger("pool {} of {} has {} requests in one table and {} in another".format(*differing))

"""The quota ledger: reservations of requests by pool and UTC day, which all processes that use it share.

A reservation is one transaction that no other one of its pool and day overlaps, so all processes together never reserve
more than the cap of a pool on a UTC day.

Not here: the tables (see tables.py) and where they are stored (see sqlite_ledger.py); when and what to send (see
collect/), the pool of an endpoint (see tiktok/endpoints.py), the division of a day between studies, which the agenda
decides (see planning/ and fair_share.py).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from sqlalchemy import Connection, Row, and_, bindparam, func, select, tuple_

from research_assets.clock import MAX_CLOCK_SKEW, Clock, midnight, next_midnight
from research_assets.quota.ledger_database import LedgerDatabase, LedgerUnreachable
from research_assets.quota.postgres_ledger import PostgresLedger
from research_assets.quota.sqlite_ledger import SqliteLedger
from research_assets.quota.tables import DAYS, REQUESTS, USED, verify_request_counts
from research_assets.settings import Settings
from research_assets.storage.sent_by import SentBy, this_process

QuotaReason = Literal["cap", "api_refused", "not_reset", "reserved", "budget", "ended", "unreachable"]

_LOGGER = logging.getLogger(__name__)

MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL = timedelta(minutes=15), timedelta(hours=4)
"""The first and the longest interval between probes of a pool that was not reset at midnight."""

# The API may return these statuses before it checks the quota, so they do not prove that requests remain.
_STATUSES_BEFORE_QUOTA_CHECK = (401, 429)

RESTART_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between the attempts to reach a database that answered before. A restart of the server takes a few seconds."""

_PAGE_ROWS = 5000
"""Number of requests that are read together."""

# Statements of every request are made once: SQLAlchemy then finds their SQL in its cache.
_THIS_DAY = and_(DAYS.c.pool == bindparam("of_pool"), DAYS.c.day == bindparam("of_day"))
_THIS_PROBE = and_(_THIS_DAY, DAYS.c.probe == bindparam("of_probe"))
_THIS_STUDY = and_(
    USED.c.pool == bindparam("of_pool"), USED.c.day == bindparam("of_day"), USED.c.study == bindparam("of_study")
)
_ADD_REQUEST = REQUESTS.insert().returning(REQUESTS.c.id)
_SETTLE = (
    REQUESTS.update()
    .where(REQUESTS.c.id == bindparam("reservation"), REQUESTS.c.settled == 0)
    .returning(REQUESTS.c.pool, REQUESTS.c.day, REQUESTS.c.study)
)
_COUNT = DAYS.update().where(_THIS_DAY).values(used=DAYS.c.used + bindparam("requests"))
_COUNT_ANSWER = DAYS.update().where(_THIS_DAY).values(answered=DAYS.c.answered + 1)
_COUNT_REFUSAL = DAYS.update().where(_THIS_DAY).values(n_refused_by_api=DAYS.c.n_refused_by_api + 1)
_BEGIN_PROBE = DAYS.update().where(_THIS_DAY)
_END_PROBE = DAYS.update().where(_THIS_PROBE).values(probe=None, available_at=bindparam("available_at"))
_COUNT_OF_STUDY = USED.update().where(_THIS_STUDY).values(n=USED.c.n + bindparam("requests"))
_LATEST_REQUEST = select(func.max(REQUESTS.c.sent_at)).where(REQUESTS.c.day >= bindparam("of_day"))


class QuotaExhausted(Exception):
    """The pool has no request available for the caller; `retry_at` is the time of the next attempt, UTC.

    `reason` is one of:

    - `cap`: all requests of the day are reserved.
    - `api_refused`: the API reports that the daily quota is used up, for example by colleagues.
    - `not_reset`: the API has refused every request since midnight; the pool is probed at growing intervals.
    - `reserved`: the remaining requests are reserved for work that is due today.
    - `budget`: the run has used its budget. Another run may start at `retry_at` if requests are free then.
    - `ended`: another request of the run failed with an error that ends the run.
    - `unreachable`: the database of the ledger does not answer, so nothing can be reserved; `used` is 0.
    """

    def __init__(self, pool: str, cap: int, used: int, retry_at: datetime, reason: QuotaReason) -> None:
        explanation = {
            "cap": f"all {cap} requests of the day are used",
            "api_refused": f"the API reports that the daily quota is used up (the ledger counts {used} of {cap})",
            "not_reset": "the API has refused every request since midnight; the pool is probed at growing intervals",
            "reserved": f"the remaining {cap - used} requests are reserved for work that is due today",
            "budget": f"the run has used its budget ({used} of {cap} requests of the day are used)",
            "ended": "another request of the run failed",
            "unreachable": "the database of the quota ledger does not answer, see the log of the run",
        }[reason]
        available = "for this run" if reason in ("budget", "ended") else "available"
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


P = ParamSpec("P")
R = TypeVar("R")


def _repeated(operation: "Callable[Concatenate[Ledger, P], R]") -> "Callable[Concatenate[Ledger, P], R]":
    """Return an operation of the ledger that waits for a database which is restarted, and is then repeated.

    It waits only if the database answered before. Nothing is waiting for a command that has just begun, and after a
    wait without success all operations fail at once until the database answers.
    """

    @wraps(operation)
    def repeat(ledger: "Ledger", /, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in (*RESTART_PAUSES_SECONDS, None):
            try:
                result = operation(ledger, *args, **kwargs)
            except LedgerUnreachable as error:
                if pause is None or not ledger.answered:
                    ledger.answered = False
                    raise
                _LOGGER.warning("%s Trying again after %s seconds.", error, pause)
                ledger.sleep(pause)
            else:
                ledger.answered = True
                return result
        raise AssertionError("The last attempt returns or raises.")

    return repeat


class Ledger:
    """The quota ledger, created at its first use; safe to share between threads and across a fork.

    `database` is where it is stored; a path means a SQLite file. `caps` are the requests per UTC day by pool. In the
    pool `research`, `quota_reserve` requests are reserved for work that is due. `sent_by` is who sends the
    requests, by default the user and the host of this process.
    """

    def __init__(
        self,
        database: LedgerDatabase | Path,
        caps: Mapping[str, int],
        clock: Clock,
        *,
        quota_reserve: int = 0,
        sent_by: SentBy | None = None,
    ) -> None:
        self._sent_by = sent_by or this_process()
        self.answered = False
        self.sleep: Callable[[float], None] = time.sleep
        self._database = database = SqliteLedger(database) if isinstance(database, Path) else database
        self.caps, self._clock, self._quota_reserve = dict(caps), clock, quota_reserve
        self._looked_ahead = False
        self._read_day = database.select(DAYS).where(_THIS_DAY)
        self._lock_day = self._read_day.with_for_update()
        self._add_day = database.insert_if_missing(DAYS)
        place = (REQUESTS.c.day, REQUESTS.c.id)
        self._read_page = (
            database.select(REQUESTS)
            .where(tuple_(*place) > tuple_(bindparam("last_day"), bindparam("last_id")), REQUESTS.c.settled != 2)
            .order_by(*place)
            .limit(_PAGE_ROWS)
        )

    @property
    def place(self) -> str:
        """Return where the ledger is, for messages."""
        return self._database.place

    @_repeated
    def exists(self) -> bool:
        """Return whether the ledger was created."""
        return self._database.exists()

    @_repeated
    def reserve(
        self, pool: str, *, study: str, entity: str, unit: str, endpoint: str, due: bool = True, run: str | None = None
    ) -> int:
        """Reserve one request of today in a pool durably; returns its number for `settle`.

        `run` names the run for `used_by_run`. The ledger does not check the budget of a run (see collect/sender.py).
        Raises QuotaExhausted if no request is available for the caller, LedgerError if the ledger cannot be used.
        """
        cap = self._cap(pool)
        with self._database.transaction() as db:
            now = self._now()
            today = now.date().isoformat()
            key = {"of_pool": pool, "of_day": today}
            day = self._locked_day(db, pool, today)
            is_probe = self._check(pool, cap, day, now, due)
            self._warn_of_later_requests(db, today, now)
            number: int = db.execute(
                _ADD_REQUEST,
                {
                    "pool": pool,
                    "day": today,
                    "study": study,
                    "entity": entity,
                    "unit": _storable(unit),
                    "endpoint": endpoint,
                    "sent_at": now.isoformat(),
                    "sent_by": self._sent_by.user,
                    "host": self._sent_by.host,
                    "run": run,
                },
            ).scalar_one()
            db.execute(_COUNT, {**key, "requests": 1})
            # The lock on the day keeps another process from adding the same row.
            if db.execute(_COUNT_OF_STUDY, {**key, "of_study": study, "requests": 1}).rowcount == 0:
                db.execute(USED.insert(), {"pool": pool, "day": today, "study": study, "n": 1})
            if is_probe:
                # One probe at a time: other callers wait for its result, or until `available_at` if its process dies.
                available_at = now + _probe_interval(day.probes)
                db.execute(_BEGIN_PROBE, {**key, "probe": number, "available_at": available_at.isoformat()})
            return number

    def _locked_day(self, db: Connection, pool: str, day: str) -> Row[Any]:
        """Return the row of a pool and day, which no other transaction changes until the end of this one."""
        key = {"of_pool": pool, "of_day": day}
        row = db.execute(self._lock_day, key).one_or_none()
        if row is None:
            db.execute(self._add_day, {"pool": pool, "day": day})
            row = db.execute(self._lock_day, key).one()
        return self._database.verified(DAYS, row)

    def _warn_of_later_requests(self, db: Connection, today: str, now: datetime) -> None:
        """Warn once of requests of a later time. They count on the day that they name, at most one cap of it."""
        if self._looked_ahead:
            return
        self._looked_ahead = True
        latest = db.execute(_LATEST_REQUEST, {"of_day": today}).scalar_one()
        if latest is not None and datetime.fromisoformat(latest) > now + MAX_CLOCK_SKEW:
            _LOGGER.warning(
                "The ledger %s has requests until %s, but it is %s UTC: the clock of a machine was or is wrong. They "
                "count on the days that they name. Compare the clock of each machine with `research-assets check-api`.",
                self.place,
                f"{datetime.fromisoformat(latest):%Y-%m-%d %H:%M} UTC",
                f"{now:%Y-%m-%d %H:%M}",
            )

    def _check(self, pool: str, cap: int, day: Row[Any], now: datetime, due: bool) -> bool:
        """Raise QuotaExhausted if no request is available; return whether the request probes a closed pool."""
        tomorrow, used = next_midnight(now), day.used
        closed_until = _closed_until(day, now)
        if closed_until:
            raise QuotaExhausted(pool, cap, used, closed_until, "api_refused" if day.exhausted else "not_reset")
        if used >= cap:
            raise QuotaExhausted(pool, cap, used, tomorrow, "cap")
        if not due and pool == "research" and cap - used <= self._quota_reserve:
            raise QuotaExhausted(pool, cap, used, tomorrow, "reserved")
        return day.available_at is not None

    @_repeated
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
        with self._database.transaction(durable=False) as db:
            answer = {"status": status, "code": _storable(code), "log_id": _storable(log_id)}
            values = {**answer, "rows": rows, "latency": latency}
            if not sent:
                values["run"] = None
            reserved = db.execute(
                _SETTLE, {"reservation": reservation, "settled": 1 if sent else 2, **values}
            ).one_or_none()
            if reserved is None:
                return
            key = {"of_pool": reserved.pool, "of_day": reserved.day}
            if not sent:
                db.execute(_COUNT, {**key, "requests": -1})
                db.execute(_COUNT_OF_STUDY, {**key, "of_study": reserved.study, "requests": -1})
            shows_quota = status is not None and status < 500 and status not in _STATUSES_BEFORE_QUOTA_CHECK
            if sent and shows_quota:
                db.execute(_COUNT_ANSWER, key)
            # A probe that ended without a decisive response: the next one may follow at once.
            available_at = None if sent and shows_quota else self._now().isoformat()
            db.execute(_END_PROBE, {**key, "of_probe": reservation, "available_at": available_at})

    @_repeated
    def mark_exhausted(self, pool: str, reservation: int | None = None) -> datetime:
        """Close a pool after the daily 429 of the API, even if the ledger shows free requests; returns when it reopens.

        Call it before the refused request is settled. `reservation` is the refused request, so that a refusal from
        before midnight does not close the new day. If the pool had a response today, it stays closed until 00:00 UTC.
        Otherwise the API did not reset the quota at midnight, and the pool opens for one probe after 15, 30, 60 ...
        minutes, at most 4 hours.
        """
        self._cap(pool)
        with self._database.transaction() as db:
            now = self._now()
            request = db.execute(select(REQUESTS.c.day).where(REQUESTS.c.id == reservation)).one_or_none()
            day = self._locked_day(db, pool, request.day if request else now.date().isoformat())
            available_at = _closed_until(day, now)
            end = midnight(date.fromisoformat(day.day) + timedelta(days=1))
            exhausted, probes, probe = day.exhausted, day.probes, day.probe
            if day.answered:
                exhausted, available_at, probe = 1, end, None
            elif available_at is None or (probe is not None and reservation in (None, probe)):
                probes, probe = probes + 1, None
                available_at = min(now + _probe_interval(probes), end)
            values = {"exhausted": exhausted, "probes": probes, "probe": probe}
            db.execute(
                _COUNT_REFUSAL,
                {"of_pool": pool, "of_day": day.day, "available_at": available_at.isoformat(), **values},
            )
        _LOGGER.warning("The API refused a request of pool %s: closed until %s", pool, available_at)
        return available_at

    @_repeated
    def pool_state(self, pool: str, now: datetime | None = None) -> PoolState:
        """Return the state of a pool now, or at another time if no further request is reserved until then."""
        cap, now = self._cap(pool), (now or self._now()).astimezone(UTC)
        with self._database.reading() as db:
            day = db.execute(self._read_day, {"of_pool": pool, "of_day": now.date().isoformat()}).one_or_none()
            if day is not None:
                self._database.verified(DAYS, day)
        used, n_refused = (day.used, day.n_refused_by_api) if day else (0, 0)
        available_at = _closed_until(day, now) if day else None
        if used >= cap:
            available_at = next_midnight(now)
        return PoolState(pool, now.date(), cap, used, 0 if available_at else cap - used, n_refused, available_at)

    def available(self, pool: str, *, due: bool = True) -> int:
        """Return the remaining requests of a pool; without the reserve for work that is not `due`."""
        reserve = 0 if due or pool != "research" else self._quota_reserve
        return max(0, self.pool_state(pool).remaining - reserve)

    @_repeated
    def used_by_study(self, pool: str) -> dict[str, int]:
        """Return the number of reserved requests of today by study."""
        today = self._now().date().isoformat()
        with self._database.reading() as db:
            rows = db.execute(self._database.select(USED).where(USED.c.pool == pool, USED.c.day == today)).all()
            return {row.study: row.n for row in rows if self._database.verified(USED, row)}

    @_repeated
    def used_by_sender(self) -> dict[SentBy, dict[str, int]]:
        """Return the number of reserved requests of today by sender and pool; senders in the order of their names."""
        today = self._now().date().isoformat()
        sender = (REQUESTS.c.sent_by, REQUESTS.c.host, REQUESTS.c.pool)
        of_today = (REQUESTS.c.day == today, REQUESTS.c.settled != 2)
        used: dict[SentBy, dict[str, int]] = {}
        with self._database.reading() as db:
            for row in db.execute(select(*sender, func.count().label("n")).where(*of_today).group_by(*sender)):
                used.setdefault(SentBy(row.sent_by, row.host), {})[row.pool] = row.n
        return dict(sorted(used.items()))

    @_repeated
    def used_by_run(self, run: str) -> dict[tuple[str, str], int]:
        """Return the number of requests that a run reserved, on all days, by study and entity."""
        with self._database.reading() as db:
            rows = db.execute(self._database.select(REQUESTS).where(REQUESTS.c.run == run)).all()
            return dict(Counter((row.study, row.entity) for row in rows if self._database.verified(REQUESTS, row)))

    def iter_requests(self, since: date | None = None) -> Iterator[dict[str, Any]]:
        """Yield the requests since a UTC day, by day: the columns of `fields.REQUESTS`, `study` and `day`.

        A reservation that was released is no request.
        """
        last = (since.isoformat() if since else "", 0)
        with self._database.reading() as db:
            verify_request_counts(db, last[0])
        while True:
            with self._database.reading() as db:
                page = db.execute(self._read_page, {"last_day": last[0], "last_id": last[1]}).all()
                for row in page:
                    self._database.verified(REQUESTS, row)
            for row in page:
                yield {
                    **{name: getattr(row, name) for name in ("pool", "endpoint", "entity", "unit", "status", "code")},
                    "rows": row.rows,
                    "sent_at": datetime.fromisoformat(row.sent_at),
                    "latency_ms": None if row.latency is None else row.latency * 1000,
                    "log_id": row.log_id,
                    "study": row.study,
                    "day": date.fromisoformat(row.day),
                }
            if not page:
                return
            last = (page[-1].day, page[-1].id)

    @_repeated
    def rename_units(self, rename: Callable[[str, str], str], *, study: str | None = None, apply: bool = True) -> int:
        """Replace the units of the requests of a study, or of all; `rename` returns a new name for entity and unit.

        Returns the number of rows that change. `compact` removes their old names from unused pages.
        """
        if not self.exists():
            return 0
        of_study = [] if study is None else [REQUESTS.c.study == study]
        n_changed = 0
        with self._database.transaction() as db:
            units = db.execute(
                select(REQUESTS.c.entity, REQUESTS.c.unit, func.count().label("n"))
                .where(*of_study)
                .group_by(REQUESTS.c.entity, REQUESTS.c.unit)
            ).all()
            for row in units:
                name = rename(row.entity, row.unit)
                if name == row.unit:
                    continue
                n_changed += row.n
                if apply:
                    is_named = (REQUESTS.c.entity == row.entity, REQUESTS.c.unit == row.unit)
                    db.execute(REQUESTS.update().where(*is_named, *of_study).values(unit=name))
        return n_changed

    def compact(self) -> None:
        """Overwrite the old versions of changed rows."""
        self._database.compact()

    def verify(self) -> None:
        """Raise LedgerError unless all of the ledger is what was written, as far as its database can tell."""
        self._database.verify()

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._database.close()

    def _now(self) -> datetime:
        return self._clock.now().astimezone(UTC)

    def _cap(self, pool: str) -> int:
        if pool not in self.caps:
            raise ValueError(f"There is no quota pool {pool!r}, only {', '.join(self.caps)}.")
        return self.caps[pool]


def _storable(value: str | None) -> str | None:
    """Return a text without the one character that PostgreSQL stores in no text; the API may send it."""
    return value and value.replace("\0", "\ufffd")


def _closed_until(day: Row[Any], now: datetime) -> datetime | None:
    """Return the time until which a pool is closed; None if it is open.

    A probe is never further away than its interval. A later time was written under a clock that was ahead; it would
    close the pool for all other processes until the end of the day.
    """
    if day.available_at is None:
        return None
    available_at = datetime.fromisoformat(day.available_at)
    is_valid = day.exhausted or available_at <= now + _probe_interval(day.probes) + MAX_CLOCK_SKEW
    return available_at if is_valid and now < available_at else None


def _probe_interval(probes: int) -> timedelta:
    interval = MIN_PROBE_INTERVAL
    for _ in range(1, probes):
        interval = min(interval * 2, MAX_PROBE_INTERVAL)
    return interval


def open_ledger(settings: Settings, clock: Clock, *, path: Path | None = None) -> Ledger:
    """Return the ledger of the settings: the PostgreSQL database if one is named, otherwise the SQLite file.

    It is created at its first use. `path` replaces the path of the file.
    """
    database: LedgerDatabase = SqliteLedger(path or settings.ledger)
    if settings.ledger_url:
        database = PostgresLedger(settings.ledger_url, settings.ledger_schema)
    return Ledger(database, settings.caps, clock, quota_reserve=settings.quota_reserve)


def stored_ledgers(settings: Settings, clock: Clock) -> Iterator[Ledger]:
    """Yield each ledger that exists: the SQLite file in the data folder, and that in the database; closes them.

    A data folder may have both: the file is from the time before the database.
    """
    ledgers = [Ledger(settings.ledger, settings.caps, clock)]
    if settings.ledger_url:
        ledgers.append(open_ledger(settings, clock))
    for ledger in ledgers:
        try:
            if ledger.exists():
                yield ledger
        finally:
            ledger.close()


def read_used_by_run(settings: Settings, clock: Clock, runs: Collection[str]) -> dict[str, dict[tuple[str, str], int]]:
    """Return `Ledger.used_by_run` for some runs; does not create a ledger."""
    if not runs:
        return {}
    with closing(open_ledger(settings, clock)) as ledger:
        exists = ledger.exists()
        return {run: ledger.used_by_run(run) if exists else {} for run in runs}


def read_pools(settings: Settings, clock: Clock) -> tuple[dict[str, PoolState], dict[str, dict[str, int]]]:
    """Return the state of each pool, and the requests of today by pool and study; does not create a ledger."""
    with closing(open_ledger(settings, clock)) as ledger:
        if not ledger.exists():
            today = clock.now().date()
            return {pool: PoolState(pool, today, cap, 0, cap, 0, None) for pool, cap in settings.caps.items()}, {}
        return {pool: ledger.pool_state(pool) for pool in settings.caps}, {
            pool: ledger.used_by_study(pool) for pool in settings.caps
        }


def read_senders(settings: Settings, clock: Clock) -> dict[SentBy, dict[str, int]]:
    """Return `Ledger.used_by_sender`; does not create a ledger."""
    with closing(open_ledger(settings, clock)) as ledger:
        return ledger.used_by_sender() if ledger.exists() else {}

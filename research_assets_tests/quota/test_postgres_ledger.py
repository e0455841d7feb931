"""The quota ledger in PostgreSQL: a server that stops or restarts, wrong addresses and rights, and secrets."""

import logging
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread

import httpx
import pytest
from sqlalchemy import create_engine, text

from research_assets.collect.sender import UNREACHABLE_PAUSE
from research_assets.quota import postgres_ledger, tables
from research_assets.quota.ledger import (
    RESTART_PAUSES_SECONDS,
    Ledger,
    QuotaExhausted,
    open_ledger,
    read_pools,
    stored_ledgers,
)
from research_assets.quota.ledger_database import LedgerError, LedgerUnreachable
from research_assets.quota.postgres_ledger import PostgresLedger, place_of
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage import lock_database
from research_assets.warehouse.verify_files import verify_files
from research_assets_tests.collect.harness import CollectorHarness, TamperingTransport, days
from research_assets_tests.conftest import FakeClock
from research_assets_tests.postgres import PostgresServer
from research_assets_tests.quota.operations import MORNING, Place, ledger_at, reserve, settle

PASSWORD = "pa55word-of-the-lab"


@pytest.fixture
def restarted(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, which the test may stop; it runs again afterwards."""
    yield postgres
    if not postgres.is_running():
        postgres.start()


def sql(server: PostgresServer, statement: str) -> None:
    engine = create_engine(server.url.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(statement))
    engine.dispose()


@pytest.fixture
def other_defaults(postgres: PostgresServer) -> Iterator[None]:
    """Settings of the database that an administrator may have chosen for other programs."""
    for name, value in {"default_transaction_isolation": "serializable", "statement_timeout": "10s"}.items():
        sql(postgres, f"ALTER DATABASE lab SET {name} = '{value}'")
    yield
    sql(postgres, "ALTER DATABASE lab RESET ALL")


def schema_of(place: Place) -> str:
    assert isinstance(place, partial)
    return str(place.args[1])


def test_reservation_survives_a_crash_of_the_server(restarted: PostgresServer, database_place: Place) -> None:
    ledger = ledger_at(database_place, FakeClock(MORNING))
    for _ in range(3):
        settle(ledger, reserve(ledger))
    restarted.stop("immediate")
    restarted.start()
    assert ledger.pool_state("research").used == 3
    ledger.verify()
    assert [row["status"] for row in ledger.iter_requests()] == [200, 200, 200]


@pytest.mark.usefixtures("other_defaults")
def test_connection_makes_commits_durable_and_releases_locks_of_dead_machines(
    database_place: Place,
) -> None:
    expected = {
        "synchronous_commit": "on",
        "lock_timeout": "1min",
        "idle_in_transaction_session_timeout": "30s",
        "application_name": "research-assets",
        "transaction_isolation": "read committed",
        "statement_timeout": "0",
    }
    with database_place().reading() as db:
        shown = {name: db.execute(text(f"SHOW {name}")).scalar_one() for name in expected}
    assert shown == expected, "although the server has synchronous_commit = off, and the database other defaults"


def test_transaction_of_a_suspended_machine_ends_and_the_others_continue(
    database_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = postgres_ledger._SESSION.replace("'30s'", "'100ms'")
    monkeypatch.setattr(postgres_ledger, "_SESSION", short)
    ledger, suspended = ledger_at(database_place, FakeClock(MORNING)), database_place()
    reserve(ledger)
    with pytest.raises(LedgerUnreachable), suspended.transaction() as db:  # noqa: PT012
        db.execute(tables.DAYS.update().values(used=tables.DAYS.c.used + 1))
        # Waits for the lock of the other transaction, until the server ends that one.
        assert reserve(ledger)
        db.execute(tables.DAYS.update().values(used=tables.DAYS.c.used + 1))
    assert ledger.pool_state("research").used == 2
    ledger.verify()


@pytest.mark.parametrize("operation", ["reserve", "settle", "mark_exhausted", "pool_state", "used_by_study"])
def test_operation_waits_for_a_server_that_restarts(
    restarted: PostgresServer, database_place: Place, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ledger_at(database_place, FakeClock(MORNING))
    number = reserve(ledger)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            restarted.start()

    ledger.sleep = sleep
    restarted.stop("immediate")
    operations: dict[str, Callable[[], object]] = {
        "reserve": partial(reserve, ledger),
        "settle": partial(settle, ledger, number),
        "mark_exhausted": partial(ledger.mark_exhausted, "research", number),
        "pool_state": partial(ledger.pool_state, "research"),
        "used_by_study": partial(ledger.used_by_study, "research"),
    }
    operations[operation]()
    assert waited == [*RESTART_PAUSES_SECONDS[:2]]
    assert "cannot be used: connection to server" in caplog.text
    assert "Trying again after 0.5 seconds." in caplog.text
    assert ledger.pool_state("research").used == (2 if operation == "reserve" else 1)
    ledger.verify()


def test_server_that_stays_away_is_waited_for_once(restarted: PostgresServer, database_place: Place) -> None:
    ledger, other = (ledger_at(database_place, FakeClock(MORNING)) for _ in range(2))
    reserve(ledger)
    waited: list[float] = []
    ledger.sleep = other.sleep = waited.append
    restarted.stop("immediate")
    for _ in range(3):
        with pytest.raises(LedgerUnreachable, match=r"No request was sent\. Check that the server runs"):
            reserve(ledger)
    assert waited == [*RESTART_PAUSES_SECONDS]
    with pytest.raises(LedgerUnreachable):
        reserve(other)
    assert waited == [*RESTART_PAUSES_SECONDS], "a process that has not reached it yet reports the error at once"
    restarted.start()
    assert reserve(ledger)
    assert ledger.pool_state("research").used == 2


def test_server_that_dies_within_a_reservation_costs_no_request_above_the_cap(
    restarted: PostgresServer, database_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_at(database_place, FakeClock(MORNING), cap=5)
    reserve(ledger)
    check, n_restarts = Ledger._warn_of_later_requests, 0

    def restart(self: Ledger, *arguments: object) -> None:
        nonlocal n_restarts
        check(self, *arguments)  # type: ignore[arg-type]
        if n_restarts < 1:
            n_restarts += 1
            restarted.stop("immediate")
            restarted.start()

    monkeypatch.setattr(Ledger, "_warn_of_later_requests", restart)
    ledger.sleep = lambda _: None
    assert len({reserve(ledger) for _ in range(4)}) == 4
    assert (n_restarts, ledger.pool_state("research").remaining) == (1, 0)
    ledger.verify()
    assert len([*ledger.iter_requests()]) == 5


async def test_database_restarted_in_the_middle_of_a_run_costs_no_request_and_no_row(
    restarted: PostgresServer, settings: Settings, tmp_path: Path
) -> None:
    harness = in_database(settings, restarted, f"run_{os.getpid()}", cap=40)
    harness.ledger.sleep = lambda _: None
    alone = CollectorHarness(replace(settings, root=tmp_path / "alone"), harness.config)
    n_restarts = 0

    def restart(_request: httpx.Request, response: httpx.Response) -> httpx.Response:
        nonlocal n_restarts
        if n_restarts < 4 and harness.requests_sent >= (3, 8, 13, 18)[n_restarts]:
            n_restarts += 1
            restarted.stop("immediate")
            restarted.start()
        return response

    transport = TamperingTransport(harness, restart)
    finished, pause = await harness.collect("videos", days(8), transport=transport, page_size=20)
    expected, _ = await alone.collect("videos", days(8), page_size=20)
    assert pause is None
    assert n_restarts == 4
    assert {day: result.state for day, result in finished.items()} == dict.fromkeys(expected, "complete")
    assert sorted(harness.ids()) == sorted(alone.ids())
    harness.ledger.verify()
    rows = list(harness.ledger.iter_requests())
    assert len(rows) == harness.requests_sent == alone.requests_sent <= 40
    assert Counter(row["code"] for row in rows) == {"ok": len(rows)}


async def test_database_that_stays_away_pauses_the_run_which_continues_later(
    restarted: PostgresServer, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_database, "RECONNECT_SECONDS", 0.0)
    harness = in_database(settings, restarted, f"pause_{os.getpid()}", cap=60)
    harness.ledger.sleep = lambda _: None

    def stop(_request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if harness.requests_sent == 4 and restarted.is_running():
            restarted.stop("immediate")
        return response

    transport = TamperingTransport(harness, stop)
    began = harness.clock.now()
    _, pause = await harness.collect("videos", days(8), transport=transport, page_size=20)
    assert pause is not None
    assert "the database of the quota ledger does not answer" in pause.reason
    assert pause.retry_at - began >= UNREACHABLE_PAUSE
    assert "stays reserved without its response" in caplog.text
    sent = harness.requests_sent
    restarted.start()
    finished, pause = await harness.collect("videos", days(8), page_size=20)
    assert pause is None
    assert {result.state for result in finished.values()} == {"complete"}
    ids = harness.ids()
    assert len(ids) == len(set(ids)) == 8 * 60
    assert harness.requests_sent - sent < 8 * 3, "pages that arrived before the pause are not requested again"
    rows = list(harness.ledger.iter_requests())
    assert len(rows) == harness.requests_sent
    harness.ledger.verify()


def in_database(settings: Settings, server: PostgresServer, name: str, *, cap: int) -> CollectorHarness:
    """Return a harness whose ledger is in a schema of the server."""
    config = SandboxConfig(fixed_volume=60, research_cap=cap)
    harness = CollectorHarness(replace(settings, ledger_url=server.url, research_cap=cap), config)
    harness.ledger = Ledger(PostgresLedger(server.url, name), harness.settings.caps, harness.server_clock)
    return harness


def test_settings_choose_the_database_and_keep_simulated_requests_apart(
    postgres: PostgresServer, settings: Settings, clock: FakeClock
) -> None:
    simulated = replace(settings, ledger_url=postgres.url)
    real = replace(simulated, api_url="https://open.tiktokapis.com")
    for schema in (simulated.ledger_schema, real.ledger_schema):
        sql(postgres, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    assert read_pools(real, clock)[0]["research"].used == 0
    assert not open_ledger(real, clock).exists(), "reading creates no ledger"
    for one, n_requests in ((simulated, 2), (real, 1)):
        ledger = open_ledger(one, clock)
        for _ in range(n_requests):
            reserve(ledger)
    assert [read_pools(one, clock)[0]["research"].used for one in (simulated, real, settings)] == [2, 1, 0]
    assert read_pools(real, clock)[1]["research"] == {"s": 1}
    assert not settings.ledger.exists()


def test_damaged_counter_is_named(postgres: PostgresServer, database_place: Place) -> None:
    ledger = ledger_at(database_place, FakeClock(MORNING))
    for _ in range(3):
        settle(ledger, reserve(ledger))
    sql(postgres, f"UPDATE {schema_of(database_place)}.days SET used = 1")
    message = "is damaged .*1 requests in one table and 3 in another.*Restore it from a backup"
    for use in (ledger.verify, lambda: reserve(ledger_at(database_place, FakeClock(MORNING)))):
        with pytest.raises(LedgerError, match=message):
            use()


def test_file_and_database_are_both_verified_and_cleaned(
    postgres: PostgresServer, settings: Settings, clock: FakeClock
) -> None:
    reserve(open_ledger(settings, clock))
    sql(postgres, "DROP SCHEMA IF EXISTS research_assets CASCADE")
    configured = replace(settings, ledger_url=postgres.url, api_url="https://data.invalid")
    assert verify_files(configured).findings == ()
    reserve(open_ledger(configured, clock))
    assert verify_files(configured).findings == ()
    assert [ledger.rename_units(lambda *_: "gone") for ledger in stored_ledgers(configured, clock)] == [1, 1]
    sql(postgres, "UPDATE research_assets.used SET n = 7")
    [finding] = verify_files(configured).findings
    assert finding.kind == "damaged"
    assert "7 in another" in finding.message


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("Quota ledger of research-assets, version 99", "newer version of this project .*Update the project"),
        ("Sales", "contains no quota ledger.*Set RESEARCH_LEDGER to another database"),
    ],
)
def test_schema_of_something_else_is_not_changed(
    postgres: PostgresServer, database_place: Place, comment: str, message: str
) -> None:
    schema = schema_of(database_place)
    sql(postgres, f"CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{comment}'")
    for use in (lambda ledger: ledger.exists(), reserve):
        with pytest.raises(LedgerError, match=message):
            use(ledger_at(database_place, FakeClock(MORNING)))


def test_user_does_what_its_rights_allow(postgres: PostgresServer, database_place: Place) -> None:
    ledger, schema = ledger_at(database_place, FakeClock(MORNING)), schema_of(database_place)
    settle(ledger, reserve(ledger))
    sql(
        postgres,
        f"CREATE ROLE student LOGIN; GRANT USAGE ON SCHEMA {schema} TO student; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO student",
    )
    reader = Ledger(PostgresLedger(postgres.url.replace("lab@", "student@"), schema), ledger.caps, FakeClock(MORNING))
    assert reader.pool_state("research").used == 1
    with pytest.raises(LedgerError, match=r"permission denied .*No request was sent\. Grant the user"):
        reserve(reader)
    assert ledger.pool_state("research").used == 1
    sql(postgres, f"GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO student")
    settle(reader, reserve(reader))
    assert ledger.pool_state("research").used == 2
    with pytest.raises(LedgerError, match="Repeat the command as the user lab"):
        reader.compact()


def test_database_that_cannot_store_all_texts_is_refused(postgres: PostgresServer) -> None:
    sql(postgres, "CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    ledger = Ledger(PostgresLedger(postgres.url.removesuffix("lab") + "western"), {"research": 5}, FakeClock(MORNING))
    with pytest.raises(LedgerError, match=r"stores text as LATIN1 and must store it as UTF8\. No request was sent\."):
        reserve(ledger)


def test_texts_of_the_api_that_a_database_cannot_store_are_replaced(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    ledger.settle(reserve(ledger), status=500, code="a\0b", rows=0, latency=1.0, log_id="\0")
    assert [(row["code"], row["log_id"]) for row in ledger.iter_requests()] == [("a\ufffdb", "\ufffd")]


@pytest.fixture
def guarded(postgres: PostgresServer) -> str:
    """The address of a user whose password the server checks."""
    rules = postgres.folder / "data/pg_hba.conf"
    if "guarded" not in rules.read_text():
        sql(postgres, f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        sql(postgres, "SELECT pg_reload_conf()")
    return f"postgresql://guarded:{{}}@127.0.0.1:{postgres.port}/lab"


@pytest.mark.parametrize(
    "address",
    [
        "{guarded}",
        f"postgresql://lab:{PASSWORD}@127.0.0.1:9/lab",
        f"postgresql://lab:{PASSWORD}@localhost.invalid/lab",
        f"postgresql://lab@127.0.0.1:9/lab?password={PASSWORD}",
        f"postgresql://lab:{PASSWORD}@127.0.0.1:9/lab?no_such_option=1",
        f"postgresql://lab@127.0.0.1:{PASSWORD}/lab",
        f"postgresql://{PASSWORD}@127.0.0.1:9/lab?sslmode=wrong",
    ],
)
def test_password_is_in_no_message_log_or_traceback(
    guarded: str, address: str, settings: Settings, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    url = address.replace("{guarded}", guarded.format(PASSWORD + "-wrong"))
    caplog.set_level(logging.DEBUG)
    configured = replace(settings, ledger_url=url)
    ledger = open_ledger(configured, clock)
    ledger.answered, ledger.sleep = True, lambda _: None
    for use in (lambda: reserve(ledger), lambda: read_pools(configured, clock), ledger.verify, ledger.compact):
        with pytest.raises(LedgerError, match="No request was sent") as error:
            use()
        shown = "".join(traceback.format_exception(error.value))
        assert PASSWORD not in shown
        assert f"The quota ledger {place_of(url)} cannot be used" in shown
    assert PASSWORD not in caplog.text + repr(ledger) + repr(configured)


def test_right_password_is_accepted(guarded: str, database_place: Place) -> None:
    reserve(ledger_at(database_place, FakeClock(MORNING)))
    url = guarded.format(PASSWORD)
    assert PostgresLedger(url, schema_of(database_place)).exists()


@pytest.mark.usefixtures("other_defaults")
def test_operations_of_many_threads_never_wait_for_each_other_forever(database_place: Place) -> None:
    errors: list[Exception] = []

    def work(seed: int) -> None:
        random, ledger = Random(seed), ledger_at(database_place, FakeClock(MORNING), cap=500)
        numbers: list[int] = []
        try:
            for _ in range(25):
                try:
                    numbers.append(reserve(ledger, random.choice("ab"), random.choice(["research", "follow"])))
                except QuotaExhausted:
                    numbers.append(random.randrange(1, 50))
                # Also the reservations of other threads, and some twice.
                number = random.choice(numbers)
                settle(
                    ledger, number + random.randrange(2), random.choice([200, 500, None]), sent=random.random() < 0.7
                )
                if random.random() < 0.1:
                    ledger.mark_exhausted("research", number)
                if random.random() < 0.1:
                    ledger.rename_units(lambda _, unit: f"{unit[:10]} {seed}", study="ab"[seed % 2])
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    ledger_at(database_place, FakeClock(MORNING)).verify()


def test_ledgers_of_two_days_do_not_wait_for_each_other(database_place: Place) -> None:
    today, tomorrow = (ledger_at(database_place, FakeClock(datetime(2026, 3, day, 12, tzinfo=UTC))) for day in (2, 3))
    reserve(today)
    with database_place().transaction() as db:
        db.execute(tables.DAYS.update().where(tables.DAYS.c.day == "2026-03-02").values(probes=0))
        assert reserve(tomorrow)
    assert reserve(today)

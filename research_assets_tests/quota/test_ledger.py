"""The quota ledger never exceeds the cap, obeys refusals of the API, and records every request, on both databases."""

import multiprocessing
import os
import pwd
import socket
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from research_assets.clock import SystemClock
from research_assets.fields import REQUESTS
from research_assets.quota import tables
from research_assets.quota.ledger import Ledger
from research_assets.quota.ledger_database import LedgerError
from research_assets.storage.sent_by import SentBy, this_process
from research_assets_tests.conftest import FakeClock
from research_assets_tests.quota.operations import MORNING, Place, ledger_at, refused, reserve, settle
from research_assets_tests.workers import reserve_until_exhausted


def test_ledger_grants_the_cap_per_utc_day(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    numbers = [reserve(ledger) for _ in range(10)]
    assert len(set(numbers)) == 10
    error = refused(ledger)
    assert (error.reason, error.cap, error.used) == ("cap", 10, 10)
    assert error.retry_at == datetime(2026, 3, 3, tzinfo=UTC)
    assert "2026-03-03 00:00 UTC" in str(error)
    assert reserve(ledger, pool="follow")
    assert ledger.pool_state("research").remaining == 0
    assert ledger.pool_state("research", error.retry_at).remaining == 10
    clock.moment = error.retry_at
    assert reserve(ledger)
    assert ledger.pool_state("research").used == 1


def test_ledger_records_every_request_with_the_columns_of_the_registry(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    settle(ledger, reserve(ledger))
    reserve(ledger, pool="follow")
    clock.advance(days=1)
    settle(ledger, reserve(ledger), 504)
    rows = list(ledger.iter_requests())
    assert all(row.keys() == {column.name for column in REQUESTS} | {"study", "day"} for row in rows)
    assert [(row["status"], row["rows"], row["latency_ms"], row["day"]) for row in rows] == [
        (200, 7, 250.0, date(2026, 3, 2)),
        (None, None, None, date(2026, 3, 2)),
        (504, 7, 250.0, date(2026, 3, 3)),
    ]
    assert rows[0]["sent_at"] == MORNING
    assert list(ledger.iter_requests(date(2026, 3, 3))) == rows[2:]
    clock.advance(days=-1)
    reserve(ledger)
    assert [row["day"].day for row in ledger.iter_requests()] == [2, 2, 2, 3], (
        "ordered by day, even if the clock was set back"
    )


def test_process_that_dies_within_a_reservation_reserves_nothing_and_holds_nobody_up(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    reserve(ledger)
    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        child = os.fork()
        if child == 0:
            event.listen(Engine, moment, _die_at_insert_or_commit)
            reserve(ledger)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
        assert ledger.pool_state("research").used == 1
    assert reserve(ledger)
    ledger.verify()


def _die_at_insert_or_commit(
    _connection: object, _cursor: object = None, statement: str = "INSERT", *_: object
) -> None:
    if statement.startswith("INSERT"):
        os.kill(os.getpid(), 9)


def test_units_are_renamed_by_study_and_their_old_names_are_overwritten(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    assert ledger.rename_units(lambda *_: "gone") == 0, "no ledger is created"
    assert not ledger.exists()
    for study in "aab":
        settle(ledger, reserve(ledger, study))
    assert ledger.rename_units(lambda _, unit: f"{unit} gone", study="a", apply=False) == 2
    assert ledger.rename_units(lambda _, unit: f"{unit} gone", study="a") == 2
    assert ledger.rename_units(lambda _, unit: unit) == 0
    ledger.compact()
    ledger.verify()
    assert [row["unit"] for row in ledger.iter_requests()] == ["2026-03-01 gone", "2026-03-01 gone", "2026-03-01"]


def test_ledger_counts_the_requests_of_today_by_sender(place: Place) -> None:
    clock, caps = FakeClock(MORNING), {"research": 10, "follow": 10}
    ada, bo = SentBy("ada", "lab1"), SentBy("bo", "lab2")
    reserve(Ledger(place(), caps, clock, sent_by=bo))
    clock.advance(days=1)
    for sender, pools in ((bo, ["research"]), (ada, ["research", "follow", "research"])):
        ledger = Ledger(place(), caps, clock, sent_by=sender)
        for pool in pools:
            settle(ledger, reserve(ledger, pool=pool))
    settle(ledger, reserve(ledger), None, sent=False)
    assert list(ledger.used_by_sender().items()) == [(ada, {"research": 2, "follow": 1}), (bo, {"research": 1})]


def test_requests_name_the_user_and_the_host_of_the_process(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    reserve(ledger)
    assert ledger.used_by_sender() == {this_process(): {"research": 1}}
    assert this_process() == SentBy(pwd.getpwuid(os.getuid()).pw_name, socket.gethostname())


def test_settling_twice_changes_nothing_and_an_unsent_request_is_released(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    number = reserve(ledger)
    settle(ledger, number, None, sent=False)
    settle(ledger, number, 200)
    settle(ledger, number, None, sent=False)
    assert ledger.pool_state("research").used == 0
    # The table of requests and the mart quota_usage have no request that never left this machine.
    assert list(ledger.iter_requests()) == []


def test_daily_429_closes_the_pool_until_midnight_for_any_count(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    settle(ledger, reserve(ledger))
    in_flight = [reserve(ledger) for _ in range(3)]
    for number in in_flight:
        assert ledger.mark_exhausted("research", number) == datetime(2026, 3, 3, tzinfo=UTC)
        settle(ledger, number, 429)
    error = refused(ledger)
    assert (error.reason, error.used) == ("api_refused", 4)
    state = ledger.pool_state("research")
    assert (state.remaining, state.n_refused_by_api, state.available_at) == (0, 3, error.retry_at)
    assert ledger.pool_state("follow").remaining == 20
    clock.moment = error.retry_at
    assert reserve(ledger)


def test_ledger_probes_a_quota_that_was_not_reset_at_growing_intervals(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock, cap=100)
    n_probes, intervals = 0, []
    while clock.now().date() == MORNING.date():
        number = reserve(ledger)
        n_probes += 1
        if n_probes > 1:
            assert refused(ledger).reason == "not_reset", "one probe at a time"
        before = clock.now()
        available_at = ledger.mark_exhausted("research", number)
        settle(ledger, number, 429)
        intervals.append((available_at - before) / timedelta(minutes=1))
        assert refused(ledger).retry_at == available_at
        clock.moment = available_at
    assert intervals[:6] == [15, 30, 60, 120, 240, 240]
    assert n_probes == ledger.pool_state("research", MORNING).n_refused_by_api < 12


def test_successful_probe_opens_the_pool_and_an_undecided_one_allows_the_next(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    ledger.mark_exhausted("research", reserve(ledger))
    clock.advance(minutes=15)
    settle(ledger, reserve(ledger), 504)
    settle(ledger, reserve(ledger), None, sent=False)
    number = reserve(ledger)
    refused(ledger)
    settle(ledger, number, 200)
    assert [reserve(ledger) for _ in range(3)]
    ledger.mark_exhausted("research")
    assert refused(ledger).reason == "api_refused"


def test_probe_of_a_dead_process_does_not_close_the_pool_permanently(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    ledger.mark_exhausted("research", reserve(ledger))
    clock.advance(minutes=15)
    reserve(ledger)
    clock.moment = refused(ledger).retry_at
    assert reserve(ledger)


def test_process_whose_clock_is_ahead_does_not_close_the_pool_for_the_others(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    right, ahead = ledger_at(place, FakeClock(MORNING)), ledger_at(place, FakeClock(MORNING + timedelta(hours=9)))
    ahead.mark_exhausted("research", reserve(ahead))
    assert refused(ahead).retry_at == MORNING + timedelta(hours=9, minutes=15)
    state = right.pool_state("research")
    assert (state.used, state.remaining, state.available_at) == (1, 9, None)
    caplog.clear()
    probe = reserve(right)
    assert refused(right).retry_at == MORNING + timedelta(minutes=15)
    settle(right, probe)
    assert [reserve(right) for _ in range(8)]
    assert refused(right).reason == "cap"
    (record,) = caplog.records
    assert "has requests until 2026-03-02 09:05 UTC, but it is 2026-03-02 00:05 UTC" in record.getMessage()


def test_processes_whose_clocks_differ_a_little_send_one_probe(place: Place) -> None:
    right, ahead = (
        ledger_at(place, FakeClock(MORNING)),
        ledger_at(place, FakeClock(MORNING + timedelta(seconds=5))),
    )
    ahead.mark_exhausted("research", reserve(ahead))
    assert refused(right).reason == "not_reset"


@pytest.mark.parametrize("days", [1, 3, 300_000])
def test_requests_of_a_later_day_cost_only_that_day(place: Place, days: int) -> None:
    later = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=days)
    right, ahead = ledger_at(place, FakeClock(MORNING)), ledger_at(place, FakeClock(later))
    for _ in range(4):
        settle(ahead, reserve(ahead))
    ahead.mark_exhausted("research", reserve(ahead))
    assert [reserve(right) for _ in range(10)]
    assert refused(right).retry_at == datetime(2026, 3, 3, tzinfo=UTC)


def test_refusal_from_before_midnight_does_not_close_the_new_day(place: Place) -> None:
    clock = FakeClock(MORNING - timedelta(minutes=6))
    ledger = ledger_at(place, clock)
    settle(ledger, reserve(ledger))
    late = reserve(ledger)
    clock.advance(minutes=6)
    ledger.mark_exhausted("research", late)
    assert reserve(ledger)


def test_concurrent_refusals_lengthen_the_probe_interval_once(place: Place) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(place, clock)
    reopenings = {ledger.mark_exhausted("research", number) for number in [reserve(ledger) for _ in range(5)]}
    assert reopenings == {MORNING + timedelta(minutes=15)}
    assert ledger.pool_state("research").n_refused_by_api == 5


def test_ledger_keeps_the_reserve_for_due_work(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING), quota_reserve=4)
    for _ in range(6):
        reserve(ledger, due=False)
    assert refused(ledger, due=False).reason == "reserved"
    for _ in range(4):
        reserve(ledger)
    assert refused(ledger).reason == "cap"


def test_lower_cap_applies_at_once(place: Place) -> None:
    clock = FakeClock(MORNING)
    for _ in range(5):
        reserve(ledger_at(place, clock))
    lower = ledger_at(place, clock, cap=3)
    assert refused(lower).used == 5
    assert lower.pool_state("research").remaining == 0


def test_ledger_names_an_unknown_pool(place: Place) -> None:
    with pytest.raises(ValueError, match="no quota pool 'shop', only research, follow"):
        reserve(ledger_at(place, FakeClock()), pool="shop")


def test_eight_processes_reserve_exactly_1000_requests_of_a_new_ledger(place: Place, tmp_path: Path) -> None:
    # The modules are imported once, not in each process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([reserve_until_exhausted.__module__])
    start = context.Barrier(8)
    workers = [context.Process(target=reserve_until_exhausted, args=(place, tmp_path, start)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert sum(int(file.read_text()) for file in tmp_path.glob("granted.*")) == 1000
    ledger = Ledger(place(), {"research": 1000}, SystemClock())
    ledger.verify()
    assert len(list(ledger.iter_requests())) == 1000
    assert not list(tmp_path.rglob(".quota*")), "no temporary file remains"


def test_threads_and_a_forked_child_share_one_ledger(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING), cap=40)
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.extend(reserve(ledger) for _ in range(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if child == 0:
        for _ in range(5):
            reserve(ledger)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    numbers += [reserve(ledger) for _ in range(5)]
    assert len(set(numbers)) == 25
    assert ledger.pool_state("research").used == 30


def test_reservation_survives_the_death_of_its_process(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    ledger.pool_state("research")
    child = os.fork()
    if child == 0:
        reserve(ledger)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert ledger.pool_state("research").used == 1


def test_requests_that_were_not_sent_do_not_count_as_lost(place: Place) -> None:
    ledger = ledger_at(place, FakeClock(MORNING))
    settle(ledger, reserve(ledger), None, sent=False)
    settle(ledger, reserve(ledger), None)
    ledger.verify()
    assert len([*ledger.iter_requests()]) == 1
    with place().transaction() as db:
        db.execute(tables.REQUESTS.delete().where(tables.REQUESTS.c.id == 2))
    with pytest.raises(LedgerError, match="1 requests in one table and 0 in another"):
        [*ledger.iter_requests()]

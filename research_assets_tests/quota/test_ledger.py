"""The quota ledger never exceeds the cap, obeys refusals of the API, and records every request."""

import multiprocessing
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from research_assets.clock import SystemClock
from research_assets.fields import REQUESTS
from research_assets.quota.ledger import Ledger, LedgerError, QuotaExhausted
from research_assets.storage.file_locks import LOCK_FILE
from research_assets_tests.conftest import FakeClock
from research_assets_tests.workers import kill_at_disk_operation, reserve_until_exhausted

MORNING = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)


def ledger_at(tmp_path: Path, clock: FakeClock, cap: int = 10, quota_reserve: int = 0) -> Ledger:
    return Ledger(
        tmp_path / "state/quota.sqlite", {"research": cap, "follow": 2 * cap}, clock, quota_reserve=quota_reserve
    )


def reserve(ledger: Ledger, study: str = "s", pool: str = "research", *, due: bool = True) -> int:
    return ledger.reserve(pool, study=study, entity="videos", unit="2026-03-01", endpoint="video_query", due=due)


def settle(ledger: Ledger, reservation: int, status: int | None = 200, *, sent: bool = True) -> None:
    ledger.settle(
        reservation, status=status, code="ok" if status == 200 else "x", rows=7, latency=0.25, log_id="L", sent=sent
    )


def refused(ledger: Ledger, study: str = "s", *, due: bool = True) -> QuotaExhausted:
    with pytest.raises(QuotaExhausted) as error:
        reserve(ledger, study, due=due)
    return error.value


def test_ledger_grants_the_cap_per_utc_day(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
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


def test_ledger_records_every_request_with_the_columns_of_the_registry(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
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


def test_settling_twice_changes_nothing_and_an_unsent_request_is_released(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    number = reserve(ledger)
    settle(ledger, number, None, sent=False)
    settle(ledger, number, 200)
    settle(ledger, number, None, sent=False)
    assert ledger.pool_state("research").used == 0
    (row,) = ledger.iter_requests()
    assert row["status"] is None


def test_daily_429_closes_the_pool_until_midnight_for_any_count(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
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


def test_ledger_probes_a_quota_that_was_not_reset_at_growing_intervals(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock, cap=100)
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


def test_successful_probe_opens_the_pool_and_an_undecided_one_allows_the_next(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
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


def test_probe_of_a_dead_process_does_not_close_the_pool_permanently(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
    ledger.mark_exhausted("research", reserve(ledger))
    clock.advance(minutes=15)
    reserve(ledger)
    clock.moment = refused(ledger).retry_at
    assert reserve(ledger)


def test_process_whose_clock_is_ahead_does_not_close_the_pool_for_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right, ahead = ledger_at(tmp_path, FakeClock(MORNING)), ledger_at(tmp_path, FakeClock(MORNING + timedelta(hours=9)))
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


def test_processes_whose_clocks_differ_a_little_send_one_probe(tmp_path: Path) -> None:
    right, ahead = (
        ledger_at(tmp_path, FakeClock(MORNING)),
        ledger_at(tmp_path, FakeClock(MORNING + timedelta(seconds=5))),
    )
    ahead.mark_exhausted("research", reserve(ahead))
    assert refused(right).reason == "not_reset"


@pytest.mark.parametrize("days", [1, 3, 300_000])
def test_requests_of_a_later_day_cost_only_that_day(tmp_path: Path, days: int) -> None:
    later = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=days)
    right, ahead = ledger_at(tmp_path, FakeClock(MORNING)), ledger_at(tmp_path, FakeClock(later))
    for _ in range(4):
        settle(ahead, reserve(ahead))
    ahead.mark_exhausted("research", reserve(ahead))
    assert [reserve(right) for _ in range(10)]
    assert refused(right).retry_at == datetime(2026, 3, 3, tzinfo=UTC)


def test_refusal_from_before_midnight_does_not_close_the_new_day(tmp_path: Path) -> None:
    clock = FakeClock(MORNING - timedelta(minutes=6))
    ledger = ledger_at(tmp_path, clock)
    settle(ledger, reserve(ledger))
    late = reserve(ledger)
    clock.advance(minutes=6)
    ledger.mark_exhausted("research", late)
    assert reserve(ledger)


def test_concurrent_refusals_lengthen_the_probe_interval_once(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    ledger = ledger_at(tmp_path, clock)
    reopenings = {ledger.mark_exhausted("research", number) for number in [reserve(ledger) for _ in range(5)]}
    assert reopenings == {MORNING + timedelta(minutes=15)}
    assert ledger.pool_state("research").n_refused_by_api == 5


def test_ledger_keeps_the_reserve_for_due_work(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING), quota_reserve=4)
    for _ in range(6):
        reserve(ledger, due=False)
    assert refused(ledger, due=False).reason == "reserved"
    for _ in range(4):
        reserve(ledger)
    assert refused(ledger).reason == "cap"


def test_lower_cap_applies_at_once(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    for _ in range(5):
        reserve(ledger_at(tmp_path, clock))
    lower = ledger_at(tmp_path, clock, cap=3)
    assert refused(lower).used == 5
    assert lower.pool_state("research").remaining == 0


def test_ledger_names_an_unknown_pool(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no quota pool 'shop', only research, follow"):
        reserve(ledger_at(tmp_path, FakeClock()), pool="shop")


def test_eight_processes_reserve_exactly_1000_requests_of_a_new_ledger(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(8)
    path = tmp_path / "quota.sqlite"
    workers = [context.Process(target=reserve_until_exhausted, args=(path, start)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert sum(int(file.read_text()) for file in tmp_path.glob("granted.*")) == 1000
    assert len(list(Ledger(path, {"research": 1000}, SystemClock()).iter_requests())) == 1000
    assert not list(tmp_path.glob(".quota*")), "no temporary file remains"


def test_threads_and_a_forked_child_share_one_ledger(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING), cap=40)
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


def test_creation_killed_at_any_step_leaves_no_draft_once_the_ledger_is_used(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        ledger = ledger_at(tmp_path / str(step), FakeClock(MORNING))
        child = os.fork()
        if child == 0:
            kill_at_disk_operation(step)
            reserve(ledger)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        assert reserve(ledger) == (1 if killed else 2)
        ledger.close()
        names = {path.name for path in ledger.path.parent.iterdir()}
        assert names <= {LOCK_FILE, "quota.sqlite", "quota.sqlite-wal", "quota.sqlite-shm"}, f"step {step}"
        step += 1
    assert step > 8


def test_new_ledger_uses_write_ahead_logging(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    reserve(ledger)
    with closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert ledger.path.with_name("quota.sqlite-wal").exists()


def test_reservation_survives_the_death_of_its_process(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    ledger.pool_state("research")
    child = os.fork()
    if child == 0:
        reserve(ledger)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert ledger.pool_state("research").used == 1


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")


def _not_a_ledger(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")


def _overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"no database" * 500), "is damaged .*move it aside .* counts .* from 0"),
        (lambda path: path.write_bytes(b""), "not a quota ledger.*move it aside"),
        (_overwritten, "is damaged .*move it aside"),
        (_not_a_ledger, "not a quota ledger.*move it aside"),
        (_newer, "written by a newer version.*Update the project"),
    ],
)
def test_unusable_ledger_is_not_changed_and_its_error_states_what_to_do(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    reserve(ledger)
    ledger.close()
    damage(ledger.path)
    before = ledger.path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=f"(?s){message}"):
            reserve(ledger)
    assert ledger.path.read_bytes() == before


def test_error_names_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(LedgerError, match=r"No request was sent\. Make its folder writable"):
        reserve(ledger_at(tmp_path, FakeClock()))


def test_closed_ledger_can_be_moved_away(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    reserve(ledger)
    ledger.close()
    shutil.move(ledger.path, tmp_path / "old")
    assert ledger.pool_state("research").used == 0
    assert (ledger.path.stat().st_mode & 0o777, ledger.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE days SET used = 2", "row research, 2026-03-02 of the table days"),
        ("UPDATE used SET n = 1", "row research, 2026-03-02, s of the table used"),
        ("UPDATE requests SET rows = 8 WHERE id = 2", "row 2 of the table requests"),
        ("UPDATE requests SET id = 9 WHERE id = 2", "row 9 of the table requests"),
        ("DELETE FROM used", "3 requests in one table and 0 in another"),
        ("DELETE FROM days", "0 requests in one table and 3 in another"),
        ("DROP INDEX requests_by_day", "tables are not those of this version"),
    ],
)
def test_opening_names_a_row_that_the_ledger_did_not_write(tmp_path: Path, change: str, message: str) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    for _ in range(3):
        settle(ledger, reserve(ledger))
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute(change)
    for use in (lambda: ledger.pool_state("research"), lambda: reserve(ledger), ledger.verify):
        with pytest.raises(LedgerError, match=f"(?s)is damaged .*{message}.*Restore it from a backup"):
            use()


def test_requests_that_were_not_sent_do_not_count_as_lost(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    settle(ledger, reserve(ledger), None, sent=False)
    settle(ledger, reserve(ledger), None)
    ledger.verify()
    assert len([*ledger.iter_requests()]) == 2
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute("DELETE FROM requests WHERE id = 2")
    with pytest.raises(LedgerError, match="1 requests in one table and 0 in another"):
        [*ledger.iter_requests()]


def test_damage_of_old_requests_is_found_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_assets.quota.ledger._NEWEST_REQUESTS", 1)
    ledger = ledger_at(tmp_path, FakeClock(MORNING))
    for _ in range(3):
        ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="e", run="r")
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE requests SET entity = 'comments' WHERE id = 1")
    assert ledger.pool_state("research").used == 3
    for read in (lambda: ledger.used_by_run("r"), lambda: [*ledger.iter_requests()], ledger.verify):
        with pytest.raises(LedgerError, match="row 1 of the table requests"):
            read()


@pytest.mark.parametrize("at", [8, 20, 33, 40, 3000, -3000], ids=str)
def test_damaged_log_is_reported_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int) -> None:
    ledger = ledger_at(tmp_path / "written", FakeClock(MORNING), cap=100)
    for _ in range(20):
        settle(ledger, reserve(ledger))
    # A copy of the files is what a kill leaves.
    shutil.copytree(tmp_path / "written", tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    log = tmp_path / "killed/state/quota.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[at] ^= 4
    log.write_bytes(content)
    killed = ledger_at(tmp_path / "killed", FakeClock(MORNING), cap=100)
    used = killed.pool_state("research").used
    assert used < 20 or at == -3000
    assert f"The log {log} of the quota ledger is damaged" in caplog.text
    assert log.with_name("quota.sqlite-wal.damaged").read_bytes() == content
    assert log.with_name("quota.sqlite-wal.damaged").stat().st_mode & 0o777 == 0o600
    killed.verify()


def test_log_of_a_killed_process_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = ledger_at(tmp_path / "written", FakeClock(MORNING), cap=2000)
    for number in range(300):  # so that SQLite begins its log a second time over the old frames
        settle(ledger, reserve(ledger))
        if number % 25 == 0:
            root = tmp_path / str(number)
            shutil.copytree(tmp_path / "written", root, ignore=shutil.ignore_patterns("*-shm"))
            log = root / "state/quota.sqlite-wal"
            log.write_bytes(log.read_bytes()[: -number * 7 or None])
            ledger_at(root, FakeClock(MORNING), cap=2000).verify()
    assert caplog.text == ""

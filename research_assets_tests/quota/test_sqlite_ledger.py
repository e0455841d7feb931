"""The SQLite file of the quota ledger: its creation, damage that opening or reading finds, and its log."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from research_assets.quota.ledger_database import LedgerError
from research_assets.quota.sqlite_ledger import SqliteLedger
from research_assets.storage.file_locks import LOCK_FILE
from research_assets_tests.conftest import FakeClock
from research_assets_tests.quota.operations import MORNING, file_in, ledger_at, reserve, settle
from research_assets_tests.workers import kill_at_disk_operation


def test_creation_killed_at_any_step_leaves_no_draft_once_the_ledger_is_used(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        ledger = ledger_at(file_in(tmp_path / str(step)), FakeClock(MORNING))
        child = os.fork()
        if child == 0:
            kill_at_disk_operation(step)
            reserve(ledger)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        assert reserve(ledger) == (1 if killed else 2)
        ledger.close()
        names = {path.name for path in Path(ledger.place).parent.iterdir()}
        assert names <= {LOCK_FILE, "quota.sqlite", "quota.sqlite-wal", "quota.sqlite-shm"}, f"step {step}"
        step += 1
    assert step > 8


def test_new_ledger_uses_write_ahead_logging(tmp_path: Path) -> None:
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    reserve(ledger)
    with closing(sqlite3.connect(Path(ledger.place))) as db:
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert Path(ledger.place).with_name("quota.sqlite-wal").exists()


def test_durable_transaction_is_flushed_when_it_ends(tmp_path: Path) -> None:
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    reserve(ledger)
    database = SqliteLedger(Path(ledger.place))
    for durable, setting in ((True, 2), (False, 1), (True, 2)):
        with database.transaction(durable=durable) as db:
            # FULL (2) flushes SQLite's log at each commit, NORMAL (1) only before the log is copied into the file.
            assert db.exec_driver_sql("PRAGMA synchronous").scalar_one() == setting
    database.close()


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def _not_a_ledger(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
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
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    reserve(ledger)
    ledger.close()
    damage(Path(ledger.place))
    before = Path(ledger.place).read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=f"(?s){message}"):
            reserve(ledger)
    assert Path(ledger.place).read_bytes() == before


def test_ledger_in_a_folder_without_write_access_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without write access SQLite cannot create its log. Root has access always, so the answer is replaced.
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    reserve(ledger)
    ledger.close()
    path = Path(ledger.place)
    monkeypatch.setattr(os, "access", lambda *_: False)
    database = SqliteLedger(path)
    try:
        database.verify()
        with database.reading() as db:
            assert db.exec_driver_sql("SELECT count(*) FROM requests").scalar_one() == 1
            assert {file.name for file in path.parent.iterdir()} <= {LOCK_FILE, path.name}
    finally:
        database.close()
    with pytest.raises(LedgerError, match="Make its folder writable"):
        reserve(ledger)
    ledger.close()


def test_error_names_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(LedgerError, match=r"No request was sent\. Make its folder writable"):
        reserve(ledger_at(file_in(tmp_path), FakeClock()))


def test_error_of_a_disk_names_missing_space_as_a_cause(tmp_path: Path) -> None:
    # SQLite reports this code if a full disk has no room for the index of its log.
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    database = SqliteLedger(tmp_path / "state/quota.sqlite")
    with pytest.raises(LedgerError, match="Free space on its disk if it is full"), database.reading():
        raise error
    database.close()


def test_closed_ledger_can_be_moved_away(tmp_path: Path) -> None:
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    reserve(ledger)
    ledger.close()
    shutil.move(Path(ledger.place), tmp_path / "old")
    assert ledger.pool_state("research").used == 0
    assert (Path(ledger.place).stat().st_mode & 0o777, Path(ledger.place).parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )


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
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    for _ in range(3):
        settle(ledger, reserve(ledger))
    ledger.close()
    with sqlite3.connect(Path(ledger.place)) as db:
        db.execute(change)
    for use in (lambda: ledger.pool_state("research"), lambda: reserve(ledger), ledger.verify):
        with pytest.raises(LedgerError, match=f"(?s)is damaged .*{message}.*Restore it from a backup"):
            use()


def test_damage_of_old_requests_is_found_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_assets.quota.sqlite_ledger._NEWEST_REQUESTS", 1)
    ledger = ledger_at(file_in(tmp_path), FakeClock(MORNING))
    for _ in range(3):
        ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="e", run="r")
    ledger.close()
    with sqlite3.connect(Path(ledger.place)) as db:
        db.execute("UPDATE requests SET entity = 'comments' WHERE id = 1")
    assert ledger.pool_state("research").used == 3
    for read in (lambda: ledger.used_by_run("r"), lambda: [*ledger.iter_requests()], ledger.verify):
        with pytest.raises(LedgerError, match="row 1 of the table requests"):
            read()


@pytest.mark.parametrize("at", [8, 20, 33, 40, 3000, -3000], ids=str)
def test_damaged_log_is_reported_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int) -> None:
    ledger = ledger_at(file_in(tmp_path / "written"), FakeClock(MORNING), cap=100)
    for _ in range(20):
        settle(ledger, reserve(ledger))
    # A copy of the files is what a kill leaves.
    shutil.copytree(tmp_path / "written", tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    log = tmp_path / "killed/state/quota.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[at] ^= 4
    log.write_bytes(content)
    killed = ledger_at(file_in(tmp_path / "killed"), FakeClock(MORNING), cap=100)
    used = killed.pool_state("research").used
    assert used < 20 or at == -3000
    assert f"The log {log} of the quota ledger is damaged" in caplog.text
    assert log.with_name("quota.sqlite-wal.damaged").read_bytes() == content
    assert log.with_name("quota.sqlite-wal.damaged").stat().st_mode & 0o777 == 0o600
    killed.verify()


def test_log_of_a_killed_process_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = ledger_at(file_in(tmp_path / "written"), FakeClock(MORNING), cap=2000)
    for number in range(300):  # so that SQLite begins its log a second time over the old frames
        settle(ledger, reserve(ledger))
        if number % 25 == 0:
            root = tmp_path / str(number)
            shutil.copytree(tmp_path / "written", root, ignore=shutil.ignore_patterns("*-shm"))
            log = root / "state/quota.sqlite-wal"
            log.write_bytes(log.read_bytes()[: -number * 7 or None])
            ledger_at(file_in(root), FakeClock(MORNING), cap=2000).verify()
    assert caplog.text == ""

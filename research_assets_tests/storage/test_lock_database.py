"""Locks in a real PostgreSQL. Another machine is another table of sessions in this process, or a child process."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from research_assets.settings import FOLDER_ID, Settings, SettingsError, prepare_root, shared_folder
from research_assets.storage import lock_database as module
from research_assets.storage.captures import Journal, JournalBusy, list_open_journals, read_events
from research_assets.storage.checked_lines import append_durably
from research_assets.storage.database import open_engine
from research_assets.storage.file_locks import exclusive, folder_lock
from research_assets.storage.lock_database import LockDatabase
from research_assets.storage.lock_errors import LockError, LocksLost, LockTaken
from research_assets.storage.locks import (
    PartitionBusy,
    RunInProgress,
    lock_all_partitions,
    lock_check,
    lock_partitions,
)
from research_assets.storage.parquet_io import temporary_folder
from research_assets.warehouse.build import BuildInProgress, build_lock
from research_assets_tests.postgres import PostgresServer
from research_assets_tests.storage.capture_factory import DAY, NOON
from research_assets_tests.workers import child_process, hold_lock

DAYS = [date(2026, 2, day) for day in range(1, 5)]


@pytest.fixture
def folder(postgres: PostgresServer, settings: Settings) -> Settings:
    """Settings of a data folder whose locks are in the database."""
    return replace(settings, ledger_url=postgres.url)


@contextmanager
def another_machine() -> Iterator[None]:
    """Use other sessions for the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_databases", {})
        yield


def query(postgres: PostgresServer, statement: str) -> list[Any]:
    """Run a statement in a session of its own, and return the values of its first column."""
    engine = open_engine(postgres.url)
    with engine.connect() as connection:
        values = list(connection.execute(sa.text(statement)).scalars())
    engine.dispose()
    return values


BACKENDS = "FROM pg_stat_activity WHERE application_name LIKE 'research-assets locks %'"


def backends(postgres: PostgresServer) -> list[int]:
    """Return the server processes of the sessions with locks."""
    return query(postgres, f"SELECT pid {BACKENDS}")


def end_sessions(postgres: PostgresServer) -> None:
    """End all sessions with locks, as a restart of the server or a network failure does."""
    sessions = backends(postgres)
    # False is also the answer for a session of an earlier test that ended by itself meanwhile.
    query(postgres, f"SELECT pg_terminate_backend(pid, 10000) {BACKENDS}")
    assert not {*sessions} & {*backends(postgres)}


def open_journal(folder: Settings) -> Journal:
    return Journal.create(
        folder.captures, entity="videos", study="s", first=DAY, last=DAY, now=NOON, origin="sandbox", header={}
    )


def check(folder: Settings) -> None:
    locks_are_held = lock_check(folder.state)
    assert locks_are_held is not None
    locks_are_held()


def test_partition_is_locked_on_all_machines_and_the_message_names_its_holder(folder: Settings) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS[:2]):
        with (
            another_machine(),
            pytest.raises(
                PartitionBusy, match=rf"s/videos 2026-02-02 is locked by .+ on .+ \(process {os.getpid()}\) since 20"
            ),
            lock_partitions(folder.state, "s", "videos", DAYS[1:3]),
        ):
            pass
        with (
            another_machine(),
            lock_partitions(folder.state, "s", "videos", DAYS[2:]),
            lock_partitions(folder.state, "t", "videos", DAYS),
            lock_partitions(folder.state, "s", "users", DAYS),
        ):
            pass
        with (
            pytest.raises(PartitionBusy, match="another run in this process"),
            lock_partitions(folder.state, "s", "videos", DAYS),
        ):
            pass
    with another_machine(), lock_partitions(folder.state, "s", "videos", DAYS):
        pass


def test_same_folder_at_another_path_has_the_same_locks(folder: Settings, tmp_path: Path) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS), another_machine():
        elsewhere = tmp_path / "mounted"
        elsewhere.symlink_to(folder.root)
        mounted = replace(folder, root=elsewhere)
        with pytest.raises(PartitionBusy), lock_partitions(mounted.state, "s", "videos", DAYS):
            pass
        other = replace(folder, root=tmp_path / "another folder")
        with lock_partitions(other.state, "s", "videos", DAYS):
            pass
    assert (folder.state / FOLDER_ID).read_text() != (other.state / FOLDER_ID).read_text()


def test_simulated_data_inside_a_shared_folder_has_locks_of_its_own(settings: Settings) -> None:
    shared = replace(settings, ledger_url="postgresql://lab@127.0.0.1:9/lab")
    local = replace(shared.for_sandbox(), ledger_url="")
    with lock_partitions(local.state, "s", "videos", DAYS):
        pass
    assert lock_check(local.state) is None
    assert not (shared.state / FOLDER_ID).exists()


def test_killed_process_releases_its_locks(folder: Settings) -> None:
    ready, report = os.pipe()
    with child_process(lambda: hold_lock(folder.state, DAYS, report)):
        assert os.read(ready, 1) == b"y"
        with pytest.raises(PartitionBusy, match=r"\(process"), lock_partitions(folder.state, "s", "videos", DAYS):
            pass
        with (
            pytest.raises(RunInProgress, match=r"a run of s.videos/2026-02-01 \(.+ on "),
            lock_all_partitions(folder.state),
        ):
            pass
    database = module.lock_database(folder.ledger_url)
    database.lock(next(iter(database_names(folder))))
    database.unlock([next(iter(database_names(folder)))])
    with lock_partitions(folder.state, "s", "videos", DAYS):
        pass
    os.close(ready)
    os.close(report)


def database_names(folder: Settings) -> list[str]:
    identity = (folder.state / FOLDER_ID).read_text().strip()
    return [f"{identity}/state/locks/s.videos/{day}" for day in DAYS]


def test_child_leaves_the_locks_of_its_parent(folder: Settings) -> None:
    ready, report = os.pipe()

    def leave_block() -> None:
        module.lock_database(folder.ledger_url).check()
        parent.unlock(database_names(folder))
        os.write(report, b"x")

    with lock_partitions(folder.state, "s", "videos", DAYS):
        parent = module.lock_database(folder.ledger_url)
        with child_process(leave_block):
            assert os.read(ready, 1) == b"x"
        check(folder)
        with another_machine(), pytest.raises(PartitionBusy), lock_partitions(folder.state, "s", "videos", DAYS):
            pass
    os.close(ready)
    os.close(report)


def test_removal_excludes_runs_and_runs_exclude_it(folder: Settings) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS[:1]), lock_partitions(folder.state, "s", "videos", DAYS[1:]):
        with pytest.raises(RunInProgress, match="a run of this process"), lock_all_partitions(folder.state):
            pass
        with (
            another_machine(),
            pytest.raises(RunInProgress, match=r"a run of s\.videos"),
            lock_all_partitions(folder.state),
        ):
            pass
    with lock_all_partitions(folder.state), another_machine():
        with pytest.raises(RunInProgress, match="another removal"), lock_all_partitions(folder.state):
            pass
        with (
            pytest.raises(PartitionBusy, match="a removal of withdrawn data"),
            lock_partitions(folder.state, "s", "videos", DAYS),
        ):
            pass


def test_waiting_for_a_lock_ends_with_its_release(folder: Settings) -> None:
    log, order = folder.state / "log.jsonl", []
    folder.state.mkdir(parents=True)
    begun = threading.Event()

    def append() -> None:
        begun.set()
        append_durably(log, b"second\n")
        order.append("second")

    with folder_lock(folder.state), another_machine(), folder_lock(folder.root):
        pass
    lock = module.lock_database(folder.ledger_url)
    name = f"{lock.folder_id(folder.state / FOLDER_ID)}/state/log.jsonl"
    lock.lock(name)
    thread = threading.Thread(target=append)
    thread.start()
    begun.wait()
    order.append("first")
    lock.unlock([name])
    thread.join()
    assert order == ["first", "second"]


def test_lost_session_is_replaced_if_no_other_process_had_the_locks(folder: Settings, postgres: PostgresServer) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS), exclusive(folder.state / "other.lock"):
        old = backends(postgres)
        end_sessions(postgres)
        check(folder)
        assert len(backends(postgres)) == 1
        assert backends(postgres) != old
        with another_machine(), pytest.raises(PartitionBusy), lock_partitions(folder.state, "s", "videos", DAYS):
            pass
        postgres.stop("immediate")
        postgres.start()
        check(folder)
        with another_machine(), pytest.raises(LockTaken), exclusive(folder.state / "other.lock"):
            pass
    with another_machine(), lock_partitions(folder.state, "s", "videos", DAYS):
        pass


@pytest.mark.parametrize("is_released", [False, True])
def test_lost_session_is_not_replaced_after_another_process_had_a_lock(
    folder: Settings, postgres: PostgresServer, is_released: bool
) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS):
        end_sessions(postgres)
        with another_machine():
            other = lock_partitions(folder.state, "s", "videos", DAYS[3:])
            other.__enter__()
            if is_released:
                other.__exit__(None, None, None)
        with pytest.raises(LocksLost, match="another process" if is_released else "on .* has taken over this work"):
            check(folder)
        # Nothing else is locked by a process that should stop.
        with pytest.raises(LocksLost), lock_partitions(folder.state, "t", "videos", DAYS):
            pass
        with another_machine(), lock_partitions(folder.state, "s", "videos", DAYS[:3]):
            pass
        if not is_released:
            with another_machine():
                other.__exit__(None, None, None)
    check(folder)
    with lock_partitions(folder.state, "s", "videos", DAYS):
        check(folder)


def test_process_stops_if_the_server_stays_away(
    folder: Settings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.0)
    with lock_partitions(folder.state, "s", "videos", DAYS):
        postgres.stop("immediate")
        try:
            with pytest.raises(LocksLost, match="refused"):
                check(folder)
        finally:
            postgres.start()
        with pytest.raises(LocksLost):
            check(folder)
    with lock_partitions(folder.state, "s", "videos", DAYS):
        check(folder)


def test_message_names_the_server_without_the_password(settings: Settings) -> None:
    folder = replace(settings, ledger_url="postgresql://lab:secret@127.0.0.1:9/lab")
    with (
        pytest.raises(LockError, match=r"127\.0\.0\.1:9 cannot be used") as caught,
        lock_partitions(folder.state, "s", "videos", DAYS),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_folder_with_locks_in_a_database_is_not_used_without_it(
    folder: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_partitions(folder.state, "s", "videos", DAYS):
        pass
    monkeypatch.setattr("research_assets.settings._DATABASES", {})
    assert shared_folder(settings.state) is None
    with pytest.raises(SettingsError, match="RESEARCH_LEDGER, which is not set"):
        prepare_root(settings)
    with (
        pytest.raises(LockError, match="RESEARCH_LEDGER, which is not set"),
        lock_partitions(settings.state, "s", "videos", DAYS),
    ):
        pass
    with pytest.raises(LockError, match="RESEARCH_LEDGER, which is not set"), lock_all_partitions(settings.state):
        pass
    with pytest.raises(LockError, match="RESEARCH_LEDGER, which is not set"), build_lock(settings):
        pass


def test_message_about_a_build_names_who_builds(folder: Settings) -> None:
    with (
        build_lock(folder),
        another_machine(),
        pytest.raises(BuildInProgress, match=r"is being built by .+ on .+ since"),
        build_lock(folder),
    ):
        pass


def test_names_with_the_same_number_exclude_each_other_only_while_another_process_has_one(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_key", lambda _: -7)
    one, two = LockDatabase(postgres.url), LockDatabase(postgres.url)
    one.try_lock(["a", "b"])
    one.try_lock(["c"])
    with pytest.raises(LockTaken, match="another process"):
        two.try_lock(["d"])
    one.unlock(["a", "b"])
    with pytest.raises(LockTaken):
        two.try_lock(["d"])
    one.unlock(["c"])
    two.try_lock(["d", "a"])
    two.unlock(["d", "a"])


def test_sessions_that_lock_in_parallel_admit_one(postgres: PostgresServer) -> None:
    databases, admitted = [LockDatabase(postgres.url) for _ in range(4)], []
    names = [f"parallel/{number}" for number in range(20)]
    start = threading.Barrier(4)

    def take(database: LockDatabase) -> None:
        start.wait()
        try:
            database.try_lock(names)
        except LockTaken:
            return
        admitted.append(database)

    threads = [threading.Thread(target=take, args=[database]) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1
    admitted[0].unlock(names)


def test_two_machines_never_write_one_journal(folder: Settings, postgres: PostgresServer) -> None:
    journal = open_journal(folder)
    journal.append("page", {"rows": 1}, b'{"n":1}')
    with another_machine():
        assert list_open_journals(folder.captures, "videos", "s") == [journal.path]
        with pytest.raises(JournalBusy, match=r"is locked by .* on "):
            Journal.resume(journal.path)
    # Its machine stands still for so long that the server ends its session.
    end_sessions(postgres)
    with another_machine():
        other = Journal.resume(journal.path)
        other.append("page", {"rows": 2}, b'{"n":2}')
    with pytest.raises(LocksLost, match="taken over"):
        journal.append("page", {"rows": 3}, b'{"n":3}')
    with pytest.raises(LocksLost):
        journal.seal()
    journal.close()
    assert [event["rows"] for event in read_events(other.seal()) if event["event"] == "page"] == [1, 2]
    assert not list(journal.path.parent.glob(".*"))


def test_page_is_stored_while_the_database_cannot_be_reached(
    folder: Settings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.0)
    journal = open_journal(folder)
    postgres.stop("immediate")
    try:
        journal.append("page", {"rows": 1}, b'{"n":1}')
        with pytest.raises(LocksLost):
            journal.seal()
        journal.close()
    finally:
        postgres.start()
    resumed = Journal.resume(journal.path)
    assert resumed.pages == 1
    resumed.seal()


def test_draft_and_temporary_folder_of_another_machine_are_kept(folder: Settings) -> None:
    with temporary_folder(folder.raw, "one") as mine, another_machine(), temporary_folder(folder.raw, "two"):
        assert mine.is_dir()
    journal = open_journal(folder)
    draft = journal.path.with_name(f".{journal.path.name}.tmp")
    journal.path.rename(draft)
    with another_machine():
        assert list_open_journals(folder.captures, "videos", "s") == []
    assert draft.exists()
    journal.close()
    assert list_open_journals(folder.captures, "videos", "s") == []
    assert not draft.exists()

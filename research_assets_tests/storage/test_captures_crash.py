"""Kills, power loss, full disks: every durable page is kept, and the next run resumes after it."""

import errno
import os
import resource
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.storage import captures
from research_assets.storage.captures import (
    DamagedCapture,
    Journal,
    JournalWriteError,
    list_open_journals,
    list_sealed,
    read_events,
)
from research_assets.storage.file_locks import lock_file
from research_assets.storage.locks import PartitionBusy, lock_partitions
from research_assets_tests.storage.test_captures import PAGE, create_journal
from research_assets_tests.workers import append_until_killed, child_process, hold_lock, kill_at_disk_operation

DAYS = [date(2026, 2, day) for day in (1, 2, 3)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(st.tuples(st.sampled_from(["page", "fail", "unit", "note"]), TEXT), max_size=6)


@given(EVENTS, st.data())
def test_journal_cut_at_any_byte_keeps_every_complete_line_and_can_be_resumed(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str]], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("cut")
    with create_journal(root) as journal:
        for kind, text in events:
            journal.append(kind, {"unit": text, "rows": 1}, PAGE if kind == "page" else None)
        before = list(journal.events())
    content = journal.path.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    garbage = data.draw(st.sampled_from([b"", b"\0" * 7, b"\0\n", b'{"event":"page"', bytes(600) + b"}\n"]))
    journal.path.write_bytes(content[:at] + (garbage if content[:at].endswith(b"\n") else b""))
    n_complete = content[:at].count(b"\n")
    if not n_complete:
        if not journal.path.read_bytes().endswith(b"\n"):
            with pytest.raises(DamagedCapture):
                Journal.resume(journal.path)
            assert list_open_journals(root, "videos", "s") == []
        return
    (path,) = list_open_journals(root, "videos", "s")
    assert list(read_events(path)) == before[:n_complete]
    resumed = Journal.resume(path)
    assert list(resumed.events()) == before[:n_complete]
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:n_complete])
    resumed.append("page", {"unit": "after", "rows": 1}, PAGE)
    events_after = list(read_events(resumed.seal()))
    assert events_after[:-1] == before[:n_complete]
    assert events_after[-1]["unit"] == "after"
    assert [event["seq"] for event in events_after if event["event"] == "page"] == list(range(resumed.pages))
    (manifest,) = list_sealed(root)
    assert (manifest.pages, manifest.rows) == (resumed.pages, resumed.pages)


@pytest.mark.parametrize("pages", [1, 2, 9, 40])
def test_sigkill_loses_no_durable_page(tmp_path: Path, pages: int) -> None:
    reported, report = os.pipe()
    with child_process(lambda: append_until_killed(tmp_path, report)):
        durable = 0
        while durable < pages:
            durable = int.from_bytes(os.read(reported, 4), "big")
    os.close(report)
    while last := os.read(reported, 4):
        durable = int.from_bytes(last, "big")
    os.close(reported)
    (path,) = list_open_journals(tmp_path, "videos", "s")
    journal = Journal.resume(path)
    assert durable <= journal.pages <= durable + 1
    assert [event["seq"] for event in read_events(journal.seal()) if event["event"] == "page"] == list(
        range(journal.pages)
    )


def is_killed_at(step: int, work: Callable[[], object]) -> bool:
    """Return whether the function was killed at that step; false if it ended before."""
    child = os.fork()
    if child == 0:
        kill_at_disk_operation(step)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def test_sealing_killed_at_any_step_leaves_one_form_and_can_be_completed(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        root = tmp_path / str(step)
        with create_journal(root) as journal:
            for _ in range(3):
                journal.append("page", {"rows": 1}, PAGE)
            before = list(journal.events())
        killed = is_killed_at(step, lambda: Journal.resume(journal.path).seal())
        open_journals, published = list_open_journals(root, "videos", "s"), list(list_sealed(root))
        assert len(open_journals) + len(published) == 1, f"step {step}"
        for path in open_journals:
            resumed = Journal.resume(path)
            resumed.append("page", {"rows": 1}, PAGE)
            resumed.seal()
        (manifest,) = list_sealed(root)
        manifest.verify()
        events = list(read_events(manifest.path))
        assert events[: len(before)] == before
        assert len(events) == len(before) + len(open_journals)
        files = {p.name for p in manifest.path.parent.iterdir()}
        assert files == {manifest.path.name, f"{manifest.capture}.json"}, f"step {step}"
        step += 1
    assert step > 10


def test_creating_killed_at_any_step_leaves_nothing_or_a_journal_that_can_be_resumed(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        root = tmp_path / str(step)
        killed = is_killed_at(step, partial(create_journal, root))
        for path in list_open_journals(root, "videos", "s"):
            with Journal.resume(path) as journal:
                assert [event["event"] for event in journal.events()] == ["start"]
        assert [path.name for path in root.rglob(".*")] == [], "the draft of the killed process"
        step += 1
    assert len(list_open_journals(root, "videos", "s")) == 1


def test_draft_of_a_journal_that_is_being_created_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fdatasync = os.fdatasync
    listed: list[list[Path]] = []

    def list_and(real: Callable[..., Any], times: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if len(listed) < times:
                listed.append([])
                listed[-1] = list_open_journals(tmp_path, "videos", "s")
            return real(*arguments, **options)

        return call

    # Another process looks for journals before the draft is locked, and then after it.
    monkeypatch.setattr(captures, "lock_file", list_and(lock_file, 1))
    monkeypatch.setattr(os, "fdatasync", list_and(fdatasync, 2))
    journal = create_journal(tmp_path)
    assert listed == [[], []]
    assert list_open_journals(tmp_path, "videos", "s") == [journal.path]


@pytest.mark.parametrize("space", [0, 1, 40, 119])
def test_full_disk_leaves_no_incomplete_line_and_journal_continues_once_there_is_room(
    tmp_path: Path, space: int
) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {"rows": 1}, PAGE)
    size = journal.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + space, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(JournalWriteError, match=r"File too large.*ulimit"):
                journal.append("page", {"rows": 1, "unit": "x" * 100}, PAGE)
            assert journal.path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append("page", {"rows": 1}, PAGE)
    assert [event["seq"] for event in read_events(journal.seal()) if event["event"] == "page"] == [0, 1]


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "Free space"), (errno.EIO, "Check the disk"), (errno.EROFS, "Make the file system writable")],
)
def test_advice_fits_the_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    journal = create_journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalWriteError, match=f"All earlier events are kept. {advice}"):
            journal.append("page", {}, PAGE)


def test_full_disk_while_sealing_or_creating_changes_nothing(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    for _ in range(50):
        journal.append("page", {"noise": os.urandom(2000).hex()}, PAGE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(JournalWriteError, match="Could not seal"):
            journal.seal()
        with pytest.raises(JournalWriteError, match="ulimit"):
            create_journal(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list_open_journals(tmp_path, "videos", "s") == [journal.path]
    journal.append("page", {}, PAGE)
    assert sum(1 for event in read_events(journal.seal()) if event["event"] == "page") == 51


@pytest.mark.parametrize("also_truncate", [False, True])
def test_journal_does_not_contain_an_event_whose_flush_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, also_truncate: bool
) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {"unit": "first"}, PAGE)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        if also_truncate:
            patch.setattr(os, "ftruncate", fails)
        with pytest.raises(JournalWriteError, match="Input/output error"):
            journal.append("page", {"unit": "second"}, PAGE)
    journal.close()
    resumed = Journal.resume(journal.path)
    resumed.append("page", {"unit": "third"}, PAGE)
    units = [event["unit"] for event in resumed.events() if event["event"] == "page"]
    # If the truncation also failed, the next run may find the complete line, but never after an incomplete one.
    assert units in (["first", "third"], ["first", "second", "third"])


def test_one_process_locks_a_partition_until_it_ends(tmp_path: Path) -> None:
    ready, report = os.pipe()
    with child_process(lambda: hold_lock(tmp_path, DAYS[:2], report)):
        assert os.read(ready, 1) == b"y"
        with (
            pytest.raises(PartitionBusy, match="2026-02-02 is locked by another process"),
            lock_partitions(tmp_path, "s", "videos", [DAYS[2], DAYS[1]]),
        ):
            pass
        with (
            lock_partitions(tmp_path, "s", "videos", DAYS[2:]),
            lock_partitions(tmp_path, "t", "videos", DAYS),
            lock_partitions(tmp_path, "s", "users", DAYS),
        ):
            pass
    with lock_partitions(tmp_path, "s", "videos", DAYS), child_process(lambda: hold_lock(tmp_path, DAYS[:1], report)):
        assert os.read(ready, 1) == b"n"
    with child_process(lambda: hold_lock(tmp_path, DAYS, report)):
        assert os.read(ready, 1) == b"y", "the lock ends with the block"
    os.close(ready)
    os.close(report)


def test_process_locks_all_partitions_or_none(tmp_path: Path) -> None:
    ready, report = os.pipe()
    with lock_partitions(tmp_path, "s", "videos", DAYS[1:2]):
        with (
            pytest.raises(PartitionBusy, match="another run in this process"),
            lock_partitions(tmp_path, "s", "videos", DAYS),
        ):
            pass
        with lock_partitions(tmp_path, "s", "videos", DAYS[:1]):
            pass
        with child_process(lambda: hold_lock(tmp_path, DAYS[1:2], report)):
            assert os.read(ready, 1) == b"n", "the end of another lock does not release this lock"
    with pytest.raises(RuntimeError, match="boom"), lock_partitions(tmp_path, "s", "videos", DAYS):
        raise RuntimeError("boom")
    with lock_partitions(tmp_path, "s", "videos", DAYS):
        pass
    os.close(ready)
    os.close(report)

"""Kills, power loss, full disks: every page that was durable is held, and the next run goes on behind it."""

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.storage.captures import (
    DamagedCapture,
    Journal,
    JournalWriteError,
    list_open_journals,
    list_sealed,
    read_events,
)
from research_assets.storage.locks import PartitionBusy, lock_partitions
from research_assets_tests.storage.test_captures import PAGE, create_journal
from research_assets_tests.workers import append_until_killed, hold_lock, kill_at_disk_operation

DAYS = [date(2026, 2, day) for day in (1, 2, 3)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(st.tuples(st.sampled_from(["page", "fail", "unit", "note"]), TEXT), max_size=6)


@given(EVENTS, st.data())
def test_cut_at_any_byte_every_whole_line_counts_and_the_rest_follows_cleanly(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str]], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("cut")
    with create_journal(root) as journal:
        for kind, text in events:
            journal.append(kind, {"unit": text, "rows": 1}, PAGE if kind == "page" else None)
        before = list(journal.events())
    content = journal.path.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    rubbish = data.draw(st.sampled_from([b"", b"\0" * 7, b"\0\n", b'{"event":"page"', b"{}\n"]))
    journal.path.write_bytes(content[:at] + (rubbish if content[:at].endswith(b"\n") else b""))
    whole = content[:at].count(b"\n")
    if not whole:
        if not journal.path.read_bytes().endswith(b"\n"):
            with pytest.raises(DamagedCapture):
                Journal.resume(journal.path)
            assert list_open_journals(root, "videos", "s") == []
        return
    (path,) = list_open_journals(root, "videos", "s")
    assert list(read_events(path)) == before[:whole]
    resumed = Journal.resume(path)
    assert list(resumed.events()) == before[:whole]
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole])
    resumed.append("page", {"unit": "after", "rows": 1}, PAGE)
    found = list(read_events(resumed.seal()))
    assert found[:-1] == before[:whole]
    assert found[-1]["unit"] == "after"
    assert [event["seq"] for event in found if event["event"] == "page"] == list(range(resumed.pages))
    (manifest,) = list_sealed(root)
    assert (manifest.pages, manifest.rows) == (resumed.pages, resumed.pages)


@contextmanager
def child_process(work: Callable[[], object]) -> Iterator[int]:
    """Run something in a child process, which is dead at the end of the block."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("pages", [1, 2, 9, 40])
def test_kill_9_loses_no_page_that_was_durable(tmp_path: Path, pages: int) -> None:
    reported, tell = os.pipe()
    with child_process(lambda: append_until_killed(tmp_path, tell)):
        durable = 0
        while durable < pages:
            durable = int.from_bytes(os.read(reported, 4), "big")
    os.close(tell)
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
    """Whether the work was killed at that step, rather than being done before."""
    child = os.fork()
    if child == 0:
        kill_at_disk_operation(step)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def test_sealingkilled_at_any_step_leaves_one_form_that_counts_and_can_be_finished(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        root = tmp_path / str(step)
        with create_journal(root) as journal:
            for _ in range(3):
                journal.append("page", {"rows": 1}, PAGE)
            before = list(journal.events())
        killed = is_killed_at(step, lambda: Journal.resume(journal.path).seal())
        open_ones, published = list_open_journals(root, "videos", "s"), list(list_sealed(root))
        assert len(open_ones) + len(published) == 1, f"step {step}"
        for path in open_ones:
            resumed = Journal.resume(path)
            resumed.append("page", {"rows": 1}, PAGE)
            resumed.seal()
        (manifest,) = list_sealed(root)
        manifest.verify()
        found = list(read_events(manifest.path))
        assert found[: len(before)] == before
        assert len(found) == len(before) + len(open_ones)
        left = {p.name for p in manifest.path.parent.iterdir()}
        assert left == {manifest.path.name, f"{manifest.capture}.json"}, f"step {step}"
        step += 1
    assert step > 10


def test_beginningkilled_at_any_step_leaves_nothing_or_a_journal_that_can_be_resumed(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        root = tmp_path / str(step)
        killed = is_killed_at(step, partial(create_journal, root))
        for path in list_open_journals(root, "videos", "s"):
            with Journal.resume(path) as journal:
                assert [event["event"] for event in journal.events()] == ["start"]
        step += 1
    assert len(list_open_journals(root, "videos", "s")) == 1


@pytest.mark.parametrize("room", [0, 1, 40, 119])
def test_a_full_disk_leaves_no_half_line_and_the_journal_goes_on_when_there_is_room(tmp_path: Path, room: int) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {"rows": 1}, PAGE)
    size = journal.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(JournalWriteError, match=r"File too large.*Make room"):
                journal.append("page", {"rows": 1, "unit": "x" * 100}, PAGE)
            assert journal.path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append("page", {"rows": 1}, PAGE)
    assert [event["seq"] for event in read_events(journal.seal()) if event["event"] == "page"] == [0, 1]


def test_a_full_disk_while_sealing_or_beginning_leaves_what_was_there(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    for _ in range(50):
        journal.append("page", {"noise": os.urandom(2000).hex()}, PAGE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(JournalWriteError, match="Could not seal"):
            journal.seal()
        with pytest.raises(JournalWriteError, match="Make room"):
            create_journal(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list_open_journals(tmp_path, "videos", "s") == [journal.path]
    journal.append("page", {}, PAGE)
    assert sum(1 for event in read_events(journal.seal()) if event["event"] == "page") == 51


@pytest.mark.parametrize("also_truncate", [False, True])
def test_an_event_whose_flush_failed_is_not_in_the_journal(
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
    # Where not even the cut was possible, the whole line may be found by the next run, but never behind a half one.
    assert units in (["first", "third"], ["first", "second", "third"])


def test_a_partition_is_claimed_by_one_and_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    ready, say = os.pipe()
    with child_process(lambda: hold_lock(tmp_path, DAYS[:2], say)):
        assert os.read(ready, 1) == b"y"
        with (
            pytest.raises(PartitionBusy, match="2026-02-02 is being collected by another process"),
            lock_partitions(tmp_path, "s", "videos", [DAYS[2], DAYS[1]]),
        ):
            pass
        with (
            lock_partitions(tmp_path, "s", "videos", DAYS[2:]),
            lock_partitions(tmp_path, "t", "videos", DAYS),
            lock_partitions(tmp_path, "s", "users", DAYS),
        ):
            pass
    with lock_partitions(tmp_path, "s", "videos", DAYS), child_process(lambda: hold_lock(tmp_path, DAYS[:1], say)):
        assert os.read(ready, 1) == b"n"
    with child_process(lambda: hold_lock(tmp_path, DAYS, say)):
        assert os.read(ready, 1) == b"y", "the block has ended, so others may"
    os.close(ready)
    os.close(say)


def test_a_claim_is_all_or_nothing_within_one_process_too(tmp_path: Path) -> None:
    ready, say = os.pipe()
    with lock_partitions(tmp_path, "s", "videos", DAYS[1:2]):
        with (
            pytest.raises(PartitionBusy, match="another run in this process"),
            lock_partitions(tmp_path, "s", "videos", DAYS),
        ):
            pass
        with lock_partitions(tmp_path, "s", "videos", DAYS[:1]):
            pass
        with child_process(lambda: hold_lock(tmp_path, DAYS[1:2], say)):
            assert os.read(ready, 1) == b"n", "a sibling's end did not let go of this lock"
    with pytest.raises(RuntimeError, match="boom"), lock_partitions(tmp_path, "s", "videos", DAYS):
        raise RuntimeError("boom")
    with lock_partitions(tmp_path, "s", "videos", DAYS):
        pass
    os.close(ready)
    os.close(say)

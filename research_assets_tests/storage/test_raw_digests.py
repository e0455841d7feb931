"""Digests of raw files: a file that changed is built again from its capture, or set aside; readers see neither."""

import os
from datetime import date
from functools import partial
from pathlib import Path

import pytest

from research_assets.storage.raw_digests import DamagedRawFile, find_damaged, forget_verified, recorded_files
from research_assets.storage.raw_reader import query_raw
from research_assets.storage.raw_writer import ensure_tables, write_capture, write_rows
from research_assets.storage.replay import replay
from research_assets_tests.storage.capture_factory import DAY, SECOND, make_answer, make_capture, make_video

UNIT = {"entity": "videos", "partition": "2026-02-01", "unit_kind": "day", "unit": "2026-02-01", "state": "complete"}


def flip(path: Path) -> bytes:
    """Change a byte in the middle of a file as a disk would, without another time; returns the content before."""
    content, status = path.read_bytes(), path.stat()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 16
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return content


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw tables of one capture of two days."""
    rows = [make_video(1), make_video(2, create_time=SECOND + 86400)]
    page = make_answer("videos", rows)
    sealed = make_capture(tmp_path, "videos", [page], last=date(2026, 2, 2), units=[UNIT])
    write_capture(tmp_path / "raw", sealed)
    return tmp_path / "raw"


def read(raw: Path, table: str = "videos") -> list[tuple[int]]:
    return query_raw(raw, table, "study=s/day=*", "SELECT count(*) FROM {table}")


def test_damaged_file_is_built_again_when_it_is_read(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in sorted(raw.glob("*/study=s/day=*/*.parquet")):
        content = flip(path)
        assert find_damaged([path]) == [path]
        table = path.parts[-4]
        assert read(raw, table) == [(2 if table == "videos" else 1,)]
        assert path.read_bytes() == content
        assert f"{path} does not have the content that was published; it was built again" in caplog.text


def test_file_without_its_line_in_the_log_is_built_again(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = raw / "videos/study=s/digests.jsonl"
    content, paths = log.read_bytes(), sorted(raw.glob("videos/study=s/*/*.parquet"))
    for damaged, n_damaged in ((content.replace(b"size", b"sise", 1), 1), (content[40:], 1), (b"", 2)):
        log.unlink()
        log.write_bytes(damaged)
        forget_verified()
        assert len(find_damaged(paths)) == n_damaged
        caplog.clear()
        assert read(raw) == [(2,)]
        assert "it was built again" in caplog.text
        forget_verified()
        assert find_damaged(paths) == []
    # A process that has read a damaged log uses the one from a backup.
    forget_verified()
    log.write_bytes(b"")
    assert len(find_damaged(paths)) == 2
    log.write_bytes(content)
    assert find_damaged(paths) == []


def test_torn_line_of_the_log_does_not_spoil_the_next_one(raw: Path) -> None:
    with (raw / "videos/study=s/digests.jsonl").open("ab") as file:
        file.write(b'{"file":"day=')
    path = write_rows(raw, "videos", study="s", day=DAY, name="x", rows=[{"id": 1}])
    assert find_damaged([path]) == []
    assert path in recorded_files(raw / "videos/study=s")


def test_each_published_version_of_a_rewritten_file_is_intact(raw: Path) -> None:
    write = partial(write_rows, raw, "requests", study="s", day=DAY, name="requests")
    path = write(rows=[{"unit": "a"}])
    first = path.read_bytes()
    write(rows=[{"unit": "b"}])
    assert find_damaged([path]) == []
    path.write_bytes(first)
    assert find_damaged([path]) == []


def test_damaged_file_with_a_damaged_capture_is_never_read(raw: Path) -> None:
    (path,) = raw.glob("coverage/study=s/*/*.parquet")
    flip(path)
    (sealed,) = raw.parent.glob("captures/*/*/*/*.zst")
    flip(sealed)
    for _ in range(2):
        with pytest.raises(DamagedRawFile, match="could not be built again") as error:
            read(raw, "coverage")
        assert "Restore the file from a backup" in str(error.value)
        assert str(path) in str(error.value)
        assert str(sealed) in str(error.value)


def test_damaged_file_whose_capture_is_lost_is_never_read(raw: Path) -> None:
    (path,) = raw.glob("coverage/study=s/*/*.parquet")
    content = flip(path)
    (sealed,) = raw.parent.glob("captures/*/*/*/*.zst")
    sealed.unlink()
    with pytest.raises(DamagedRawFile, match=r"capture is not in .* Restore") as error:
        read(raw, "coverage")
    assert str(path) in str(error.value)
    path.write_bytes(content)
    assert read(raw, "coverage") == [(1,)]


def test_damaged_open_coverage_is_set_aside(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_rows(raw, "coverage", study="s", day=DAY, name="20260201T000000Z-0-open", rows=[UNIT])
    assert read(raw, "coverage") == [(2,)]
    flip(path)
    assert read(raw, "coverage") == [(1,)]
    assert "It was set aside" in caplog.text
    assert [kept.name for kept in path.parent.glob("*.damaged")] == [f"{path.name}.damaged"]


def test_damaged_empty_file_is_written_again(raw: Path) -> None:
    ensure_tables(raw)
    (path,) = raw.glob("users/study=__none__/*/*.parquet")
    content = flip(path)
    assert query_raw(raw, "users", "study=__none__/*", "SELECT count(*) FROM {table}") == [(0,)]
    assert path.read_bytes() == content


def test_replay_keeps_the_coverage_of_open_journals_with_its_digest_if_it_is_intact(raw: Path) -> None:
    write = partial(write_rows, raw, "coverage", study="s", day=DAY, rows=[UNIT])
    kept, damaged = write(name="20260201T000000Z-0-open"), write(name="20260201T000000Z-1-open")
    flip(damaged)
    replay(raw.parent / "captures", raw)
    assert kept.exists()
    assert not damaged.exists()
    assert find_damaged(raw.glob("*/study=s/*/*.parquet")) == []

"""Captures become raw tables without lost or duplicate rows and with exact types."""

import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from research_assets.fields import ENTITIES, raw_tables
from research_assets.storage.captures import DamagedCapture, Manifest, list_sealed
from research_assets.storage.file_locks import LOCK_FILE
from research_assets.storage.raw_writer import ensure_tables, is_written, write_capture, write_rows
from research_assets.storage.replay import replay
from research_assets_tests.storage.capture_factory import (
    DAY,
    ID,
    SECOND,
    make_answer,
    make_capture,
    make_video,
    read_rows,
)


def test_rows_have_exact_ids_and_null_for_missing_values(tmp_path: Path) -> None:
    rows = [make_video(id=ID, music_id=2**63 - 1, hashtag_names=["a", "b"], is_stem_verified=False)]
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    (row,) = read_rows(tmp_path, "videos")
    assert (row["id"], row["music_id"], row["hashtag_names"]) == (ID, 2**63 - 1, ["a", "b"])
    assert row["is_stem_verified"] is False
    assert row["voice_to_text"] is None
    assert row["unknown_fields"] is None
    assert (row["study"], row["day"], row["observed_at"][:19]) == ("s", "2026-02-01", "2026-02-03 12:00:00")


def test_columns_have_the_types_of_the_registry(tmp_path: Path) -> None:
    rows = [make_video(video_label={"content": "", "warn": False}, video_tag=[{"number": 1}])]
    written = write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    (path,) = written.paths["videos"]
    described = duckdb.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}', hive_partitioning = false)").fetchall()
    expected = duckdb.execute(
        "DESCRIBE SELECT " + ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in raw_tables()["videos"])
    ).fetchall()
    assert [column[:2] for column in described] == [column[:2] for column in expected]
    (row,) = read_rows(tmp_path, "videos")
    assert json.loads(row["video_label"]) == {"content": "", "warn": False}


def test_writer_splits_a_window_by_day_and_replaces_an_earlier_write(tmp_path: Path) -> None:
    rows = [make_video(1), make_video(2, create_time=SECOND + 86400), make_video(3, create_time=SECOND + 86400)]
    sealed = make_capture(tmp_path, "videos", [make_answer("videos", rows)], last=date(2026, 2, 2))
    first = write_capture(tmp_path / "raw", sealed)
    assert first.rows == {date(2026, 2, 1): 1, date(2026, 2, 2): 2}
    stale = tmp_path / "raw/videos/study=s/day=2026-02-09" / first.paths["videos"][0].name
    stale.parent.mkdir()
    stale.write_bytes(first.paths["videos"][0].read_bytes())
    assert write_capture(tmp_path / "raw", sealed) == first
    assert len(read_rows(tmp_path, "videos")) == 3
    others = {p.name for p in (tmp_path / "raw").rglob("*") if p.is_file() and p.suffix != ".parquet"}
    assert others == {"digests.jsonl", LOCK_FILE}


def test_row_without_create_time_is_dated_by_its_id_or_its_observation(tmp_path: Path) -> None:
    rows = [
        {"id": (SECOND << 32) + 5},
        {"username": "x"},
        {"id": 5},
        make_video(9, create_time=0),
        make_video(8, create_time=2**62),
    ]
    written = write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    assert written.rows == {date(2026, 2, 1): 3, date(2026, 2, 3): 2}


def test_writer_keeps_the_newest_row_of_a_key_and_all_rows_without_a_key(tmp_path: Path) -> None:
    pages = [make_answer("videos", [make_video(1, view_count=1), {"username": "no key"}]) for _ in range(2)]
    pages.append(make_answer("videos", [make_video(1, view_count=7), make_video(2), make_video(2)]))
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", pages))
    rows = read_rows(tmp_path, "videos")
    assert sorted(
        (row["username"], row["view_count"]) for row in rows if row["username"] == "no key" or row["view_count"]
    ) == [
        ("beet", 7),
        ("no key", None),
        ("no key", None),
    ]
    assert len(rows) == 4


RECORDS: dict[str, dict[str, Any]] = {
    "videos": make_video(),
    "comments": {
        "id": ID,
        "video_id": ID - 1,
        "parent_comment_id": ID - 1,
        "text": "",
        "like_count": 0,
        "create_time": 5,
    },
    "users": {"display_name": "Beet", "follower_count": 2**40, "is_verified": True, "bio_description": ""},
    "liked_videos": make_video(),
    "reposted_videos": make_video(),
    "pinned_videos": make_video(),
    "followers": {"username": "moos", "display_name": "Moos & mehr"},
    "following": {"username": "moos", "display_name": "Moos & mehr"},
    "playlists": {"playlist_id": ID, "playlist_name": "Best of", "playlist_video_ids": [ID, 2**62], "cursor": 2},
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("entity", ENTITIES)
def test_writer_writes_every_entity_to_its_table(tmp_path: Path, entity: str, lenient: bool) -> None:
    context = {"asked_username": "beet", "asked_video_id": ID, "asked_comment_id": None, "position": 100}
    context["asked_playlist_id"] = ID
    record = RECORDS[entity] | ({"display_name": "x\0"} if lenient else {})
    rows: Any = [record] if entity in ("users", "playlists") else [record, record | {"username": "other", "id": 1}]
    header = {"context": context, "partition": "2026-02-02", "rows": len(rows)}
    written = write_capture(
        tmp_path / "raw", make_capture(tmp_path, entity, [(make_answer(entity, rows), header)], last=date(2026, 2, 3))
    )
    found = sorted(read_rows(tmp_path, entity), key=lambda row: row.get("position") or 0)
    assert len(found) == len(rows)
    day = {"videos": date(2026, 2, 1), "comments": date(2026, 2, 2)}.get(entity, date(2026, 2, 3))
    assert written.rows == {day: len(rows)}
    for name, value in record.items():
        if name in ENTITIES[entity].known:
            assert found[0][name] == (value.replace("\0", "") if isinstance(value, str) else value)
    for field in ENTITIES[entity].context:
        assert found[0][field.name] == context[field.name]
        if field.name == "position" and len(found) > 1:
            assert found[1]["position"] == 101


def test_writer_reads_both_keys_of_reposts(tmp_path: Path) -> None:
    pages = [
        (make_answer("reposted_videos", [make_video(n)], key), {"context": {"asked_username": "a"}})
        for n, key in enumerate(("reposted_videos", "user_reposted_videos"))
    ]
    write_capture(tmp_path / "raw", make_capture(tmp_path, "reposted_videos", pages))
    assert len(read_rows(tmp_path, "reposted_videos")) == 2


EMPTY: tuple[dict[str, Any], ...] = ({"data": {}}, {}, {"data": {"videos": []}}, {"data": {"videos": None}})


@pytest.mark.parametrize("entity", ["videos", "users", "comments", "followers"])
def test_capture_without_rows_still_writes_its_coverage(tmp_path: Path, entity: str) -> None:
    pages = [(orjson.dumps(body), {"rows": 0}) for body in EMPTY]
    unit = {"entity": entity, "partition": "2026-02-01", "unit": 5, "state": "complete", "requests": 0.5}
    sealed = make_capture(tmp_path, entity, pages, units=[unit])
    assert not is_written(tmp_path / "raw", Manifest.load(sealed))
    written = write_capture(tmp_path / "raw", sealed)
    assert written.rows == {}
    assert is_written(tmp_path / "raw", Manifest.load(sealed))
    (row,) = read_rows(tmp_path, "coverage")
    assert (row["unit"], row["requests"], row["capture"], row["day"]) == ("5", 0.5, written.capture, "2026-02-03")


def test_capture_without_pages_is_dated_by_its_attempts_or_its_name(tmp_path: Path) -> None:
    with_attempt = make_capture(
        tmp_path, "videos", [], units=[{"state": "quarantined", "last_at": "2026-02-05T00:30:00+00:00"}]
    )
    empty = make_capture(tmp_path, "videos", [])
    days = [
        write_capture(tmp_path / "raw", sealed).paths["coverage"][0].parent.name for sealed in (with_attempt, empty)
    ]
    assert days == ["day=2026-02-05", "day=2026-02-03"]


def test_replay_restores_the_same_rows_and_removes_files_without_a_capture(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(3):
        rows = [make_video(number), make_video(10, view_count=number), make_video(10, view_count=0)]
        write_capture(
            raw,
            make_capture(
                tmp_path, "videos", [make_answer("videos", rows)], study=f"s{number % 2}", units=[{"unit": "u"}]
            ),
        )
    write_rows(raw, "expected_units", study="s0", day=DAY, name="now", rows=[{"unit": "2026-02-01"}])
    before = {table: read_rows(tmp_path, table) for table in ("videos", "coverage", "expected_units")}
    write_open_coverage = partial(write_rows, raw, "coverage", study="s0", day=DAY, rows=[{"unit": "open"}])
    write_open_coverage(name="20260203T120000Z-00000000-open")
    before["coverage"] = read_rows(tmp_path, "coverage")
    write_open_coverage(name=f"{next(list_sealed(tmp_path / 'captures', study='s0')).capture}-open")
    (orphan,) = [raw / "users/study=s0/day=2026-02-01/x.parquet"]
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(next((raw / "videos").rglob("*.parquet")).read_bytes())
    replay(tmp_path / "captures", raw)
    after = {table: read_rows(tmp_path, table) for table in before}
    for table, rows in before.items():
        kept = [row for row in after[table] if row["study"] != "__none__"]
        assert sorted(map(repr, kept)) == sorted(map(repr, rows))
    assert not orphan.exists()


def test_damaged_capture_raises_and_changes_nothing(tmp_path: Path) -> None:
    sealed = make_capture(tmp_path, "videos", [make_answer("videos", [make_video(n) for n in range(100)])] * 20)
    write_capture(tmp_path / "raw", sealed)
    before = sorted(p for p in (tmp_path / "raw").rglob("*.parquet"))
    content = sealed.read_bytes()
    for damaged in (content[: len(content) // 2], content[:40] + b"\0\1\2" + content[43:], b""):
        sealed.write_bytes(damaged)
        with pytest.raises(DamagedCapture, match="Restore"):
            write_capture(tmp_path / "raw", sealed)
        assert sorted(p for p in (tmp_path / "raw").rglob("*.parquet")) == before


def test_raw_tables_bind_without_data_and_follow_the_registry(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    ensure_tables(raw)
    stamps = {path: path.stat().st_mtime_ns for path in raw.rglob("*.parquet")}
    assert len(stamps) == len(raw_tables())
    stale = raw / "videos/study=__none__/day=1970-01-01/empty.parquet"
    duckdb.execute(f"COPY (SELECT 1 AS id WHERE false) TO '{stale}' (FORMAT parquet)")
    ensure_tables(raw)
    assert {path for path in stamps if path.stat().st_mtime_ns != stamps[path]} == {stale}
    for table, columns in raw_tables().items():
        described = duckdb.execute(
            f"DESCRIBE SELECT * FROM read_parquet('{raw}/{table}/**/*.parquet', hive_partitioning = true)"
        )
        assert [row[0] for row in described.fetchall()] == [*(column.name for column in columns), "day", "study"]


def test_writer_writes_rows_from_python(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"entity": "videos", "partition": DAY, "unit_kind": "day", "unit": "x"},
        {"entity": "users"},
    ]
    path = write_rows(tmp_path / "raw", "expected_units", study="s", day=DAY, name="now", rows=rows)
    assert path == tmp_path / "raw/expected_units/study=s/day=2026-02-01/now.parquet"
    assert [row["partition"] for row in read_rows(tmp_path, "expected_units")] == ["2026-02-01", None]
    write_rows(tmp_path / "raw", "expected_units", study="s", day=DAY, name="now", rows=[])
    assert read_rows(tmp_path, "expected_units") == []
    with pytest.raises(ValueError, match="no column state"):
        write_rows(tmp_path / "raw", "expected_units", study="s", day=DAY, name="now", rows=[{"state": 1}])

"""Killed writes of Parquet: readers never see a partial file, and writing again completes the tables."""

from datetime import date
from pathlib import Path

import pytest

from research_assets.storage.captures import Manifest
from research_assets.storage.file_locks import LOCK_FILE
from research_assets.storage.raw_digests import find_damaged
from research_assets.storage.raw_writer import is_written, write_capture
from research_assets.storage.replay import replay
from research_assets_tests.storage.capture_factory import make_answer, make_capture, read_rows
from research_assets_tests.storage.test_captures_crash import is_killed_at

NOON = 1769947200


def _sealed(root: Path) -> Path:
    rows = [{"id": (NOON + day * 86400) << 32, "create_time": NOON + day * 86400} for day in (0, 0, 1)]
    rows[1]["id"] += 1
    return make_capture(
        root, "videos", [make_answer("videos", rows)], last=date(2026, 2, 2), units=[{"unit": "2026-02-01"}]
    )


def test_writing_killed_at_any_step_is_incomplete_and_can_be_repeated(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    step, killed = 0, True
    # The long lane kills at every step.
    stride = 1 if request.config.option.long else 7
    while killed:
        root = tmp_path / str(step)
        sealed, raw = _sealed(root), root / "raw"
        killed = is_killed_at(step, lambda: write_capture(raw, sealed))  # noqa: B023 (called at once)
        files = [path for path in raw.rglob("*.parquet") if ".tmp" not in path.parts]
        if files:
            assert len(read_rows(root)) <= 4, "every visible file can be read"
            assert find_damaged(files) == [], "every visible file has its digest"
        if is_written(raw, Manifest.load(sealed)):
            assert len(read_rows(root, "videos")) == 3, f"step {step}: the attempts are written last"
        write_capture(raw, sealed)
        assert len(read_rows(root, "videos")) == 3
        assert len(read_rows(root, "coverage")) == 1
        files = [path for path in raw.rglob("*") if path.is_file()]
        assert {path.name for path in files if path.suffix != ".parquet"} == {"digests.jsonl", LOCK_FILE}, (
            f"step {step}"
        )
        assert find_damaged([path for path in files if path.suffix == ".parquet"]) == []
        step += stride
    assert step > 10


def test_replay_killed_at_any_step_is_completed_by_the_next_one(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        root = tmp_path / str(step)
        raw = root / "raw"
        write_capture(raw, _sealed(root))
        killed = is_killed_at(step, lambda: replay(root / "captures", raw))  # noqa: B023 (called at once)
        replay(root / "captures", raw)
        assert len([row for row in read_rows(root, "videos") if row["study"] == "s"]) == 3
        assert [path.name for path in (raw / ".tmp").iterdir()] == [LOCK_FILE]
        step += 40

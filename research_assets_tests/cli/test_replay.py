"""The command `replay`: it prints the rebuilt tables, or the reason why nothing was changed."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.settings import Settings
from research_assets_tests.storage.capture_factory import make_answer, make_capture


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("TIKTOK_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    for study, ids in (("gardening", (1, 2)), ("cooking", (3,))):
        videos = [{"id": number << 32, "create_time": 1769900400} for number in ids]
        make_capture(tmp_path, "videos", [make_answer("videos", videos)], study=study)
    return Settings.from_env()


def replay(*studies: str) -> Result:
    return CliRunner().invoke(main, ["replay", *studies])


def test_replay_rebuilds_all_studies(data_folder: Settings) -> None:
    result = replay()
    assert result.exit_code == 0, result.output
    assert ["videos", "2", "captures", "3", "rows"] in [line.split() for line in result.stdout.splitlines()]
    shutil.rmtree(data_folder.raw)
    assert replay().stdout == result.stdout


def test_replay_rebuilds_one_study(data_folder: Settings) -> None:
    assert ["videos", "1", "captures", "2", "rows"] in [
        line.split() for line in replay("gardening").stdout.splitlines()
    ]
    assert not list(data_folder.raw.glob("videos/study=cooking/**/*.parquet"))


def test_unknown_study_is_one_message(data_folder: Settings) -> None:
    result = replay("nothing")
    assert result.exit_code == 1
    assert str(data_folder.captures) in result.stderr
    assert not data_folder.raw.exists()


def test_damaged_capture_is_named(data_folder: Settings) -> None:
    damaged = next(data_folder.captures.rglob("*.jsonl.zst"))
    damaged.write_bytes(damaged.read_bytes()[:-5])
    result = replay()
    assert result.exit_code == 1
    assert damaged.name in result.stderr
    assert "Traceback" not in result.output
    # The captures of the other study are loaded.
    (line,) = [line.split() for line in result.stdout.splitlines() if line.startswith("  videos")]
    assert line[1] == "1"


def test_damaged_capture_keeps_its_rows_in_the_raw_tables(data_folder: Settings) -> None:
    assert replay().exit_code == 0
    before = sorted(path.relative_to(data_folder.raw) for path in data_folder.raw.rglob("*.parquet"))
    for damaged in data_folder.captures.rglob("*.jsonl.zst"):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    result = replay()
    assert result.exit_code == 1
    assert result.stderr.partition("\nError: ")[2].count("its content has changed since it was published") == 2
    assert sorted(path.relative_to(data_folder.raw) for path in data_folder.raw.rglob("*.parquet")) == before


def test_replay_of_an_unknown_study_changes_nothing_of_the_others(data_folder: Settings) -> None:
    result = replay("gardening", "gardning")
    assert result.exit_code == 1
    assert "No sealed capture of gardning found" in result.output
    assert not data_folder.raw.exists()

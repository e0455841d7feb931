"""Input of a build: the data that arrived since the last build, or all data if an increment is not possible."""

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse import changes
from research_assets.warehouse.changes import BuildInput
from research_assets_tests.warehouse.raw_data import new_settings, write, write_raw_data


def incremental_input(settings: Settings) -> BuildInput:
    """Return the input of an increment."""
    record = changes.read_record(settings, "project")
    assert record is not None
    return changes.incremental_input(settings, record)


@pytest.fixture
def built_settings(tmp_path: Path) -> Settings:
    """Return settings of a data root whose raw files are all recorded for a placeholder warehouse."""
    settings = new_settings(tmp_path / "data")
    write_raw_data(settings.raw)
    raw_writer.ensure_tables(settings.raw)
    settings.dbt_target.mkdir(parents=True)
    settings.warehouse_build.write_bytes(b"marts")
    changes.write_record(settings, changes.full_input(settings, "first build"), "project")
    settings.warehouse_build.rename(settings.warehouse)
    return settings


def test_no_day_changes_without_new_data(built_settings: Settings) -> None:
    build_input = incremental_input(built_settings)
    assert build_input.full_refresh_reason is None
    assert not build_input.changed_days


def test_new_rewritten_and_removed_files_change_their_day(built_settings: Settings) -> None:
    write(built_settings.raw, "videos", "garden", date(2026, 2, 1), "v9", [])
    write(built_settings.raw, "users", "garden", date(2026, 2, 9), "u9", [])
    write(built_settings.raw, "expected_units", "garden", date(2026, 2, 2), "w1", [])
    shutil.rmtree(built_settings.raw / "requests" / "study=garden")
    assert set(incremental_input(built_settings).changed_days) == {
        ("videos", "garden", "2026-02-01"),
        ("users", "garden", "2026-02-09"),
        ("expected_units", "garden", "2026-02-02"),
        ("requests", "garden", "2026-02-03"),
    }


def test_coverage_of_an_open_journal_may_change(built_settings: Settings) -> None:
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 20), "k9-open", [])
    built_settings.warehouse_build.write_bytes(b"marts")
    changes.write_record(built_settings, changes.full_input(built_settings, "second build"), "project")
    built_settings.warehouse_build.rename(built_settings.warehouse)
    next((built_settings.raw / "coverage").glob("study=garden/*/k9-open.parquet")).unlink()
    assert incremental_input(built_settings).changed_days == [("coverage", "garden", "2026-02-20")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: next((s.raw / "videos").glob("study=garden/*/v1.parquet")).unlink(), "v1.parquet was removed"),
        (
            lambda s: os.utime(next((s.raw / "users").glob("study=garden/*/u1.parquet")), (1, 1)),
            "u1.parquet was changed",
        ),
        (lambda s: next((s.raw / "coverage").glob("study=garden/*/k1.parquet")).unlink(), "k1.parquet was removed"),
        (lambda s: shutil.rmtree(s.raw / "followers"), "was removed"),
    ],
)
def test_removed_or_changed_file_prevents_an_increment(
    built_settings: Settings, change: Callable[[Settings], None], reason: str
) -> None:
    change(built_settings)
    with pytest.raises(changes.IncrementNotPossible, match=reason):
        incremental_input(built_settings)
    assert changes.full_input(built_settings, reason).file_stamps["videos"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.warehouse.write_bytes(b"others"),
        lambda s: s.warehouse.unlink(),
        lambda s: (s.dbt_target / "build_record.json").write_text("{"),
        lambda s: (s.dbt_target / "build_record.json").write_text("[]"),
    ],
)
def test_uncertain_record_is_not_used(built_settings: Settings, change: Callable[[Settings], object]) -> None:
    assert changes.read_record(built_settings, "project")
    assert changes.read_record(built_settings, "another") is None
    change(built_settings)
    assert changes.read_record(built_settings, "project") is None

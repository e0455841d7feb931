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
from research_assets_tests.warehouse.raw_data import at, make_attempt, new_settings, write, write_raw_data


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
    changes.scratch_path(settings).write_bytes(b"views")
    changes.write_record(settings, changes.full_input(settings, "first build"), "project")
    settings.warehouse_build.rename(settings.warehouse)
    return settings


def test_increment_without_new_data_reads_no_file(built_settings: Settings) -> None:
    build_input = incremental_input(built_settings)
    assert build_input.full_refresh_reason is None
    assert not any(build_input.files.values())
    assert not any(build_input.changed_days.values())
    assert not build_input.changed_tables


def test_increment_compacts_a_warehouse_that_grew_by_a_quarter(built_settings: Settings) -> None:
    for content, compact_bytes in ((b"marts+", 5), (b"marts++", None), (b"marts+++", 8)):
        build_input = incremental_input(built_settings)
        built_settings.warehouse_build.write_bytes(content)
        changes.write_record(built_settings, build_input, "project")
        built_settings.warehouse_build.rename(built_settings.warehouse)
        assert incremental_input(built_settings).compact_bytes == compact_bytes


def test_increment_reads_coverage_and_expected_units_of_changed_partitions_only(built_settings: Settings) -> None:
    first, second = date(2026, 2, 1), date(2026, 2, 2)
    attempts = [make_attempt("videos", first, "day", str(first), "complete", at(20))]
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 20), "k9", attempts)
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 21), "k8", [])
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["coverage"] == [("garden", str(first))]
    assert {Path(path).stem for path in build_input.files["coverage"]} == {"k1", "k9"}
    assert build_input.files["expected_units"] == []
    assert build_input.changed_tables == {"coverage", "videos"}
    write(built_settings.raw, "expected_units", "garden", second, "w2", [])
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["coverage"] == [("garden", str(first)), ("garden", str(second))]
    assert {Path(path).stem for path in build_input.files["expected_units"]} == {"w1", "w2"}


def test_new_file_adds_its_day_of_videos_but_only_itself_of_profiles(built_settings: Settings) -> None:
    write(built_settings.raw, "videos", "garden", date(2026, 2, 1), "v9", [])
    write(built_settings.raw, "users", "garden", date(2026, 2, 9), "u9", [])
    coverage = [make_attempt("comments", date(2026, 2, 2), "video", "7", "complete", at(9))]
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 9), "k9", coverage)
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["videos"] == [("garden", "2026-02-01")]
    assert [Path(path).stem for path in build_input.files["videos"]] == ["v1", "v3", "v9"]
    assert [Path(path).stem for path in build_input.files["users"]] == ["u9"]
    # The inclusion probabilities of that day's comments may have changed.
    assert build_input.changed_days["comments"] == [("garden", "2026-02-02")]


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
    assert changes.full_input(built_settings, reason).files["videos"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.warehouse.write_bytes(b"others"),
        lambda s: s.warehouse.unlink(),
        lambda s: changes.scratch_path(s).unlink(),
        lambda s: (s.dbt_target / "build_record.json").write_text("{"),
        lambda s: (s.dbt_target / "build_record.json").write_text("[]"),
    ],
)
def test_uncertain_record_is_not_used(built_settings: Settings, change: Callable[[Settings], object]) -> None:
    assert changes.read_record(built_settings, "project")
    assert changes.read_record(built_settings, "another") is None
    change(built_settings)
    assert changes.read_record(built_settings, "project") is None

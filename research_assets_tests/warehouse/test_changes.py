"""What a build takes in: what came since the last one, and everything where that would not do."""

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
    """What an increment would take in."""
    record = changes.read_record(settings, "project")
    assert record is not None
    return changes.incremental_input(settings, record)


@pytest.fixture
def built_settings(tmp_path: Path) -> Settings:
    """A data root whose raw files are all taken in by what stands for a warehouse."""
    settings = new_settings(tmp_path / "data")
    write_raw_data(settings.raw)
    raw_writer.ensure_tables(settings.raw)
    settings.dbt_target.mkdir(parents=True)
    settings.warehouse_build.write_bytes(b"marts")
    changes.scratch_path(settings).write_bytes(b"views")
    changes.write_record(settings, changes.full_input(settings, "it is the first"), "project")
    settings.warehouse_build.rename(settings.warehouse)
    return settings


def test_with_nothing_new_nothing_is_read(built_settings: Settings) -> None:
    build_input = incremental_input(built_settings)
    assert build_input.full_refresh_reason is None
    assert not any(build_input.files.values())
    assert not any(build_input.changed_days.values())
    assert not build_input.changed_tables


def test_a_warehouse_is_made_compact_once_it_has_grown_by_a_quarter(built_settings: Settings) -> None:
    for held, compact in ((b"marts+", 5), (b"marts++", None), (b"marts+++", 8)):
        build_input = incremental_input(built_settings)
        built_settings.warehouse_build.write_bytes(held)
        changes.write_record(built_settings, build_input, "project")
        built_settings.warehouse_build.rename(built_settings.warehouse)
        assert incremental_input(built_settings).compact_bytes == compact


def test_of_coverage_and_wants_only_what_speaks_of_the_same_partitions_is_read(built_settings: Settings) -> None:
    first, second = date(2026, 2, 1), date(2026, 2, 2)
    again = [make_attempt("videos", first, "day", str(first), "complete", at(20))]
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 20), "k9", again)
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 21), "k8", [])
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["coverage"] == [("garden", str(first))]
    assert {Path(path).stem for path in build_input.files["coverage"]} == {"k1", "k9"}
    assert build_input.files["wanted"] == []
    assert build_input.changed_tables == {"coverage", "videos"}
    write(built_settings.raw, "wanted", "garden", second, "w2", [])
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["coverage"] == [("garden", str(first)), ("garden", str(second))]
    assert {Path(path).stem for path in build_input.files["wanted"]} == {"w1", "w2"}


def test_a_new_file_brings_its_whole_day_of_videos_and_itself_of_profiles(built_settings: Settings) -> None:
    write(built_settings.raw, "videos", "garden", date(2026, 2, 1), "v9", [])
    write(built_settings.raw, "users", "garden", date(2026, 2, 9), "u9", [])
    coverage = [make_attempt("comments", date(2026, 2, 2), "video", "7", "complete", at(9))]
    write(built_settings.raw, "coverage", "garden", date(2026, 2, 9), "k9", coverage)
    build_input = incremental_input(built_settings)
    assert build_input.changed_days["videos"] == [("garden", "2026-02-01")]
    assert [Path(path).stem for path in build_input.files["videos"]] == ["v1", "v3", "v9"]
    assert [Path(path).stem for path in build_input.files["users"]] == ["u9"]
    # The chances of the comments of that day may be others.
    assert build_input.changed_days["comments"] == [("garden", "2026-02-02")]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lambda s: next((s.raw / "videos").glob("study=garden/*/v1.parquet")).unlink(), "v1.parquet is gone"),
        (
            lambda s: os.utime(next((s.raw / "users").glob("study=garden/*/u1.parquet")), (1, 1)),
            "u1.parquet is changed",
        ),
        (lambda s: next((s.raw / "coverage").glob("study=garden/*/k1.parquet")).unlink(), "k1.parquet is gone"),
        (lambda s: shutil.rmtree(s.raw / "followers"), "is gone"),
    ],
)
def test_nothing_is_added_to_what_lost_a_file(
    built_settings: Settings, what: Callable[[Settings], None], why: str
) -> None:
    what(built_settings)
    with pytest.raises(changes.IncrementNotPossible, match=why):
        incremental_input(built_settings)
    assert changes.full_input(built_settings, why).files["videos"]


@pytest.mark.parametrize(
    "what",
    [
        lambda s: s.warehouse.write_bytes(b"others"),
        lambda s: s.warehouse.unlink(),
        lambda s: changes.scratch_path(s).unlink(),
        lambda s: (s.dbt_target / "build_record.json").write_text("{"),
        lambda s: (s.dbt_target / "build_record.json").write_text("[]"),
    ],
)
def test_a_warehouse_of_which_it_is_not_certain_what_it_was_made_of_is_none(
    built_settings: Settings, what: Callable[[Settings], object]
) -> None:
    assert changes.read_record(built_settings, "project")
    assert changes.read_record(built_settings, "another") is None
    what(built_settings)
    assert changes.read_record(built_settings, "project") is None

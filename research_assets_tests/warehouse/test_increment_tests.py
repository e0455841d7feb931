"""Tests of an increment, and the full refresh that follows a failed increment."""

import errno
import resource
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from research_assets.assets.warehouse_metadata import failing_rows
from research_assets.settings import Settings
from research_assets.storage import files, raw_writer
from research_assets.warehouse import build
from research_assets.warehouse.changes import BuildInput
from research_assets.warehouse.dbt_runner import NodeResult
from research_assets_tests.warehouse.raw_data import (
    at,
    copy_published,
    make_attempt,
    new_id,
    new_settings,
    record_published,
    video,
    write,
    write_raw_data,
)
from research_assets_tests.warehouse.test_increment import differences

STUDY, DAY = "story", date(2026, 2, 7)


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with a published warehouse, which each test restores: building it takes longer than a test."""
    settings = new_settings(tmp_path_factory.mktemp("first") / "published")
    write_raw_data(settings.raw)
    assert not [result for result in build_and_publish(settings)[1] if result.failed]
    shutil.copytree(settings.root, settings.root.with_name("copy"))
    return settings


@pytest.fixture
def published_warehouse(first_build: Settings) -> Settings:
    """Return settings with the published warehouse as it was first built, always at the path where it was built.

    At another path dbt would parse the whole project again, because its profile names the paths.
    """
    shutil.rmtree(first_build.root)
    return copy_published(new_settings(first_build.root.with_name("copy")), first_build.root)


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[NodeResult]]:
    """Return settings with a full refresh of the data of `first_build` and of `add_day`, and its results."""
    settings = new_settings(tmp_path_factory.mktemp("refreshed") / "data")
    write_raw_data(settings.raw)
    add_day(settings)
    return settings, build_and_publish(settings)[1]


def build_and_publish(settings: Settings, log: list[str] | None = None) -> tuple[BuildInput, list[NodeResult]]:
    """Build, and publish if nothing failed; log lines are added to `log`."""
    with build.build_lock(settings):
        raw_writer.ensure_tables(settings.raw)
        build_input, results = build.build_warehouse(
            settings,
            now=datetime(2026, 6, 1, tzinfo=UTC),
            progress=lambda _, line: log.append(line) if log is not None else None,
        )
        if not any(result.failed for result in results):
            build.publish_warehouse(settings, build_input)
    return build_input, results


def add_day(settings: Settings, capture: str = "one") -> None:
    """Add a day with one video."""
    row = video(new_id(at(7), 1), "anna", at(10))
    write(settings.raw, "videos", STUDY, DAY, capture, [row])
    complete = make_attempt("videos", DAY, "day", str(DAY), "complete", at(10), kept=1) | {"capture": capture}
    write(settings.raw, "coverage", STUDY, date(2026, 2, 10), capture, [complete])


def result_by_test(results: list[NodeResult]) -> dict[str, str]:
    """Return the status of each dbt test, by name."""
    return {result.name: result.status for result in results if result.unique_id.startswith("test.")}


def test_increment_runs_the_tests_of_a_full_refresh(
    published_warehouse: Settings, refreshed: tuple[Settings, list[NodeResult]]
) -> None:
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert build_input.full_refresh_reason is None
    statuses = result_by_test(results)
    assert set(statuses.values()) == {"pass"}
    assert statuses.keys() == result_by_test(refreshed[1]).keys()
    assert {"videos_grain", "comments_refer_to_videos", "coverage_state_is_known"} <= statuses.keys()


def test_increment_with_a_warning_is_published(published_warehouse: Settings) -> None:
    orphan = {"id": new_id(at(6), 3), "video_id": 404, "asked_video_id": 404, "observed_at": at(10), "text": "x"}
    write(published_warehouse.raw, "comments", STUDY, DAY, "two", [orphan])
    log: list[str] = []
    build_input, results = build_and_publish(published_warehouse, log)
    assert build_input.full_refresh_reason is None
    [warning] = [result for result in results if result.name == "comments_refer_to_videos"]
    assert (warning.status, warning.failures) == ("warn", 1)
    assert [line for line in log if "comments_refer_to_videos" in line and "1" in line]


def test_failing_rows_are_shown(published_warehouse: Settings) -> None:
    orphan = {"id": new_id(at(6), 3), "video_id": 404, "asked_video_id": 404, "observed_at": at(10), "text": "x"}
    write(published_warehouse.raw, "comments", STUDY, DAY, "two", [orphan])
    with build.build_lock(published_warehouse):
        _, results = build.build_warehouse(
            published_warehouse, now=datetime(2026, 6, 1, tzinfo=UTC), progress=lambda *_: None
        )
        samples = failing_rows(published_warehouse, results)
    assert [table.value for table in samples.values()] == ["| study | video_id |\n| --- | --- |\n| story | 404 |"]


def test_increment_with_a_failing_test_is_not_published(published_warehouse: Settings) -> None:
    published = published_warehouse.warehouse.read_bytes()
    invalid = make_attempt("videos", DAY, "day", str(DAY), "mislaid", at(10)) | {"capture": "odd"}
    write(published_warehouse.raw, "coverage", STUDY, date(2026, 2, 10), "odd", [invalid])
    build_input, results = build_and_publish(published_warehouse)
    # A failed increment is followed by a full refresh, which fails as well.
    assert "coverage_state_is_known: Got 1 result" in str(build_input.full_refresh_reason)
    assert result_by_test(results)["coverage_state_is_known"] == "fail"
    assert published_warehouse.warehouse.read_bytes() == published


def test_increment_that_cannot_run_becomes_a_full_refresh(
    published_warehouse: Settings, refreshed: tuple[Settings, list[NodeResult]]
) -> None:
    add_day(published_warehouse)
    # The recorded file is not what dbt expects, as if somebody had dropped a column.
    with duckdb.connect(str(published_warehouse.warehouse)) as db:
        db.execute("ALTER TABLE marts.videos DROP COLUMN capture")
    record_published(published_warehouse)
    log: list[str] = []
    build_input, results = build_and_publish(published_warehouse, log)
    assert "the increment failed (" in str(build_input.full_refresh_reason)
    assert not [result for result in results if result.failed]
    assert any("Full refresh of" in line for line in log)
    assert differences(published_warehouse, refreshed[0]) == {}


def test_unreadable_published_warehouse_causes_a_full_refresh(
    published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(published_warehouse.warehouse))

    monkeypatch.setattr(shutil, "copyfile", damaged)
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert "Input/output error" in str(build_input.full_refresh_reason)
    assert not [result for result in results if result.failed]
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]


def test_files_are_flushed_before_they_are_published(
    published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # dbt's profile turns off DuckDB's flushing.
    flushed: list[Path] = []
    original_fsync = files.fsync_file

    def flush(path: Path) -> None:
        flushed.append(path)
        original_fsync(path)

    monkeypatch.setattr(files, "fsync_file", flush)
    add_day(published_warehouse)
    build_and_publish(published_warehouse)
    record = published_warehouse.dbt_target
    assert [path for path in flushed if not path.is_relative_to(record)][-1] == published_warehouse.warehouse_build


@pytest.mark.parametrize("full_refresh", [False, True])
def test_build_on_a_full_disk_is_not_published(published_warehouse: Settings, full_refresh: bool) -> None:
    # DuckDB reports no error if it cannot write its log into the file that it closes.
    published = published_warehouse.warehouse.read_bytes()
    add_day(published_warehouse)
    if full_refresh:
        # Without the record no increment is possible.
        (published_warehouse.dbt_target / "build_record.json").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(0.95 * len(published)), limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(build.PublishError, match=r"File too large.*Free space on the disk"):
                build_and_publish(published_warehouse)
            assert published_warehouse.warehouse.read_bytes() == published
            assert not published_warehouse.warehouse_build.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    build_and_publish(published_warehouse)
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]


def test_publish_writes_the_log_to_the_file_once_the_disk_has_space(published_warehouse: Settings) -> None:
    add_day(published_warehouse)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with build.build_lock(published_warehouse):
        resource.setrlimit(resource.RLIMIT_FSIZE, (published_warehouse.warehouse.stat().st_size, limits[1]))
        try:
            build_input, _ = build.build_warehouse(
                published_warehouse, now=datetime(2026, 6, 1, tzinfo=UTC), progress=lambda *_: None
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert published_warehouse.warehouse_build.with_name(published_warehouse.warehouse_build.name + ".wal").exists()
        build.publish_warehouse(published_warehouse, build_input)
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]

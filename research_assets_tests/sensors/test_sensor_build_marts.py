"""The sensor builds the marts once per batch, and not while a collection runs or a blocking check fails."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.sensors import build_marts
from research_assets.sensors.build_marts import BuildState, build_blocker
from research_assets.sensors.study_files import InvalidStudyFiles
from research_assets.storage.raw_writer import write_rows
from research_assets.study.loader import StudyError, StudyIssue
from research_assets.study.spec import StudySpec
from research_assets.warehouse.changes import Publications
from research_assets_tests.assets.harness import NO_COMMENTS
from research_assets_tests.sensors.sensor_harness import SensorHarness

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
QUIET = timedelta(minutes=2)
HOUR_AGO = NOW - timedelta(hours=1)
NEW_DATA = BuildState(Publications(HOUR_AGO, "digest", HOUR_AGO), requested=None, collecting=0, building=False)


def test_finished_batch_is_built() -> None:
    assert build_blocker(NEW_DATA, NOW, QUIET) is None
    assert build_blocker(NEW_DATA, NOW - timedelta(days=400), QUIET) is None, "stored while the clock was ahead"
    assert build_blocker(replace(NEW_DATA, requested="earlier data"), NOW, QUIET) is None


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (replace(NEW_DATA, data=Publications(None, "", None)), "No data collected yet"),
        (replace(NEW_DATA, data=Publications(HOUR_AGO, "", None)), "contain all data collected"),
        (replace(NEW_DATA, building=True), "A build is running"),
        (replace(NEW_DATA, collecting=2), "2 collection runs in progress"),
        (replace(NEW_DATA, data=Publications(NOW, "digest", NOW - QUIET / 2)), "no data has arrived for 2 minutes"),
        (replace(NEW_DATA, failing_checks=["gardening/videos: ids"]), "gardening/videos: ids"),
        (replace(NEW_DATA, requested="digest"), "was not published"),
    ],
)
def test_skipped_tick_names_what_blocks_the_build(state: BuildState, message: str) -> None:
    assert message in str(build_blocker(state, NOW, QUIET))


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SensorHarness]:
    # Files have the machine's time. The tests above cover the time without new data before a build.
    monkeypatch.setattr(build_marts, "QUIET_INTERVALS", 0)
    with ExitStack() as stack:
        config = SandboxConfig(fixed_volume=3, start_time=NOW, search_lifetime=40 * 86_400)
        yield SensorHarness(stack.enter_context(run_in_thread(config)), tmp_path / "data", (NO_COMMENTS,))


def build(harness: SensorHarness) -> bool | None:
    """Tick the sensor and execute the build that it requests: return whether it succeeded, None without a request."""
    requests = harness.tick("build_marts_on_new_data")
    return harness.launch(requests[0], "build_marts_on_new_data").success if requests else None


def test_sensor_builds_once_per_batch(harness: SensorHarness) -> None:
    assert build(harness) is None
    assert "No data collected yet" in str(harness.skipped)
    harness.advance()
    assert build(harness)
    assert build(harness) is None
    assert "contain all data collected" in str(harness.skipped)
    assert harness.builds == 1


@pytest.mark.parametrize("is_built", [True, False], ids=["built-then", "not-built-then"])
def test_data_is_built_after_the_machine_had_a_clock_a_year_ahead(harness: SensorHarness, is_built: bool) -> None:
    harness.studies = (replace(NO_COMMENTS, reobserve_days=(40,)),)
    harness.advance()
    year_ahead = time.time() + 365 * 86_400
    for path in harness.settings.raw.glob("coverage/study=[!_]*/day=*/*.parquet"):
        os.utime(path, (year_ahead, year_ahead))
    harness.build_fails |= set() if is_built else {"marts"}
    assert build(harness) is is_built
    assert build(harness) is None
    harness.build_fails.clear()
    harness.at(NOW + timedelta(days=30))
    harness.advance()
    assert build(harness), "of data that is older than the newest file"
    assert build(harness) is None


def test_restored_data_is_built_although_it_is_older_than_the_marts(harness: SensorHarness, tmp_path: Path) -> None:
    harness.advance()
    backup = tmp_path / "backup"
    harness.settings.raw.rename(backup)
    harness.settings.raw.mkdir()
    other = replace(NO_COMMENTS, name="allotment")
    harness.studies = (other,)
    harness.advance()
    assert build(harness)
    assert build(harness) is None
    week_ago = time.time() - 7 * 86_400
    for path in backup.glob("coverage/study=[!_]*/day=*/*.parquet"):
        os.utime(path, (week_ago, week_ago))
    shutil.copytree(backup, harness.settings.raw, dirs_exist_ok=True)
    assert build(harness)
    assert build(harness) is None


def test_invalid_study_file_fails_the_ticks_and_the_next_one_builds_once_it_is_corrected(
    harness: SensorHarness,
) -> None:
    """Otherwise the build would fail, and not be repeated until new data arrives."""

    def invalid() -> list[StudySpec]:
        raise StudyError([StudyIssue(Path("a/defs.yaml"), 3, "name", "is missing")])

    harness.advance()
    harness.read_studies = invalid
    for sensor in ("quota_window", "build_marts_on_new_data"):
        with pytest.raises(InvalidStudyFiles, match="No run was started"):
            harness.tick(sensor)
    harness.read_studies = None
    assert build(harness)


def test_failed_build_is_repeated_only_for_new_data(harness: SensorHarness) -> None:
    harness.studies = (replace(NO_COMMENTS, reobserve_days=(40,)),)
    harness.advance()
    harness.build_fails.add("marts")
    assert build(harness) is False
    assert build(harness) is None
    assert "was not published" in str(harness.skipped)
    harness.build_fails.clear()
    harness.at(NOW + timedelta(days=30))
    harness.advance()
    assert build(harness)
    assert harness.builds == 2


def test_wrong_data_prevents_a_build_before_any_run_has_checked_them(harness: SensorHarness) -> None:
    harness.advance()
    # The state after a run that paused after it published: rows, and no check results.
    rows = [{"id": None, "capture": "c", "observed_at": NOW}]
    write_rows(harness.settings.raw, "videos", study="gardening", day=date(2026, 2, 3), name="c", rows=rows)
    assert build(harness) is False
    assert harness.builds == 0
    assert build(harness) is None
    assert "gardening/videos: ids_are_whole" in str(harness.skipped)
    next(harness.settings.raw.glob("videos/study=gardening/day=2026-02-03/c.parquet")).unlink()
    [coverage] = (harness.settings.raw / "coverage" / "study=gardening").glob("day=*/*.parquet")
    coverage.touch()
    assert build(harness) is None, "until the check runs again"


def test_build_waits_for_a_running_collection(harness: SensorHarness) -> None:
    [request] = harness.tick()
    harness.launch(request)
    repository = harness.definitions().get_repository_def()
    harness.instance.create_run_for_job(
        repository.get_job(str(request.job_name)),
        asset_selection=frozenset(request.asset_selection or ()),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert build(harness) is None
    assert "1 collection run in progress" in str(harness.skipped)
